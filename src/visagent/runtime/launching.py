"""Processes that the first one of a run starts: how long it may outlive one of them."""

from __future__ import annotations

import os
import subprocess
import time
from typing import Any

from lightning_fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from pytorch_lightning.strategies.launchers import subprocess_script

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
