"""What Slurm's client commands say."""

from __future__ import annotations

import getpass
import subprocess
import time

SECONDS = 30.0
"""How long a client command may take."""
FRESH_SECONDS = 1.0
"""How long one answer of the queue serves, for a program that asks for many runs."""


class QueueSilent(Exception):
    """Slurm does not answer, so that nothing can be said of its jobs."""


_answer: tuple[float, dict[str, str]] | None = None


def live_jobs() -> dict[str, str]:
    """This user's jobs that have not ended, by id, and their states.

    Raises:
        QueueSilent: when there is no Slurm, or it does not answer.
    """
    global _answer
    if _answer is None or time.monotonic() - _answer[0] > FRESH_SECONDS:
        lines = _ask("squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i|%T").splitlines()
        _answer = time.monotonic(), {job: state for job, _, state in (line.strip().partition("|") for line in lines)}
    return _answer[1]


def last_state(job: str) -> str:
    """How a job that is not in the queue any more has ended, as Slurm's accounting or its controller says it."""
    if said := ask("sacct", "-X", "-n", "-P", "-j", job, "-o", "State").strip():
        return said.splitlines()[-1]
    words = ask("scontrol", "show", "job", "-o", job).split()
    return next((word.removeprefix("JobState=") for word in words if word.startswith("JobState=")), "UNKNOWN")


def ask(*command: str) -> str:
    """What a client command answers; nothing where there is none, or it fails."""
    try:
        return _ask(*command)
    except QueueSilent:
        return ""


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise QueueSilent(f"{command[0]}: {error}") from error
    if done.returncode:
        raise QueueSilent(f"{command[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout
