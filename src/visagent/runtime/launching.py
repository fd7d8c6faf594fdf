"""The processes of a run, as Lightning has them: who starts them, and how long the first may outlive one of them."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from pytorch_lightning.strategies.launchers import subprocess_script

from visagent.runtime.allocation import this_task

PATIENCE = 20.0
"""Seconds from the end of one process to the killing of all others."""


class PatientObserver(_ChildProcessObserver):
    """Lightning's watch kills all processes within five seconds of the first that fails, in the middle of writing down
    why. This one waits for that.

    A process that waits in vain for another one, as NCCL has it do, is killed in the end all the same.
    """

    def _terminate_all(self) -> None:
        time.sleep(PATIENCE)
        super()._terminate_all()


def leave_time_for_last_words() -> None:
    """Have Lightning use it, of which its launcher has no setting."""
    subprocess_script._launch_process_observer = _observe  # type: ignore[attr-defined]


def _observe(child_processes: list[subprocess.Popen[Any]]) -> None:
    PatientObserver(main_pid=os.getpid(), child_processes=child_processes).start()


def cluster_environment() -> list[Any]:
    """Lightning's view of a run's processes where Slurm is about; it would guess, and put jobs back into the queue."""
    if "SLURM_JOB_ID" not in os.environ or "RANK" in os.environ:
        return []
    task = this_task()
    return [LightningEnvironment() if task is None or task.count == 1 else SLURMEnvironment(auto_requeue=False)]
