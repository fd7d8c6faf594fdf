"""The processes of a run, as Lightning has them: who starts them, how long they wait for each other, and how long the
first may outlive one of them.
"""

from __future__ import annotations

import os
import subprocess
import time
from datetime import timedelta
from typing import Any

from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from pytorch_lightning.strategies.launchers import subprocess_script

from visagent.errors import ConfigError
from visagent.runtime.allocation import Task, this_task

PATIENCE = 20.0
"""Seconds from the end of one process to the killing of all others."""
FIRST_PORT, PORTS = 25_000, 7_000
"""Where the tasks of a step meet: between Lightning's own ports (15,000 to 24,999) and those that Linux gives away."""


class PatientObserver(_ChildProcessObserver):
    """Lightning's watch kills all processes within five seconds of the first that fails, in the middle of writing down
    why. This one waits for that.

    A process that waits in vain for another one, as NCCL has it do, is killed in the end all the same.
    """

    def _terminate_all(self) -> None:
        time.sleep(PATIENCE)
        super()._terminate_all()


def leave_time_for_last_words() -> None:
    """Have Lightning use it; its launcher has no setting for that."""
    subprocess_script._launch_process_observer = _observe  # type: ignore[attr-defined]


def _observe(child_processes: list[subprocess.Popen[Any]]) -> None:
    PatientObserver(main_pid=os.getpid(), child_processes=child_processes).start()


def cluster_environment() -> list[Any]:
    """Lightning's view of a run's processes where Slurm is about; it would guess, and put jobs back into the queue."""
    if "SLURM_JOB_ID" not in os.environ or "RANK" in os.environ:
        return []
    task = this_task()
    return [LightningEnvironment() if task is None or task.count == 1 else SLURMEnvironment(auto_requeue=False)]


def wait_for_others(within_s: float) -> None:
    """Return where all tasks of a step have come to this, at a port beside the one that Lightning's processes use.

    PyTorch waits for half an hour, its limit of what processes do together, too.

    Args:
        within_s: seconds for which this task waits.

    Raises:
        ConfigError: naming the tasks that have not come.
    """
    task = this_task()
    if task is not None and task.count > 1:
        _wait(task, within_s)


def _wait(task: Task, within_s: float) -> None:
    from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

    host, limit = os.environ["MASTER_ADDR"], timedelta(seconds=within_s)
    own, job = os.environ.get("MASTER_PORT"), os.environ.get("SLURM_JOB_ID", "0")
    port = int(own) + 1 if own else FIRST_PORT + int(job) % PORTS
    missing = [0]
    try:
        store = TCPStore(host, port, None, task.number == 0, timeout=limit, wait_for_workers=False)
        if task.number != 0:
            store.set(_here(task.number), "")
            return
        missing = list(range(1, task.count))
        store.wait([_here(number) for number in missing], limit)
    except DistError as error:
        late = [number for number in missing if number == 0 or not store.check([_here(number)])]
        raise ConfigError(
            f"Slurm job {task.job}: expected all {task.count} tasks at {host}:{port} within {within_s:g} s "
            f"(launcher.meeting_s), task {task.number} waited in vain for {', '.join(map(str, late))} ({error}); type "
            f"launcher.meeting_s={4 * within_s:g} where nodes start slowly, or have MASTER_ADDR and MASTER_PORT in the "
            "environment where they reach each other elsewhere"
        ) from error


def _here(task: int) -> str:
    return f"here/{task}"
