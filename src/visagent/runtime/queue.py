"""Which job a run belongs to, and what Slurm says of it: a run that waits in a queue again is not lost."""

from __future__ import annotations

import getpass
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from visagent.runtime.allocation import SECONDS
from visagent.runtime.record import Record, RunFolder, now, write_atomically

FILE = "job.json"
FRESH_SECONDS = 1.0
"""How long one answer of the queue serves, for a program that asks for many runs."""


@dataclass(frozen=True)
class QueuedJob:
    """`job.json` in a run folder: the job that was last submitted for the run.

    Attributes:
        job: Slurm's id.
        folder: of submitit's files, with `%j` for the id.
        tasks: that it has.
        submitted: when.
    """

    job: str
    folder: str
    tasks: int
    submitted: str


def remember(folder: RunFolder, job: str, files: Path, tasks: int) -> None:
    """Keep which job was submitted for a run."""
    folder.path.mkdir(parents=True, exist_ok=True)
    kept = QueuedJob(job, str(files.resolve()), tasks, now())
    write_atomically(folder.path / FILE, json.dumps(asdict(kept), indent=1) + "\n")


def remembered(folder: RunFolder) -> QueuedJob | None:
    """The job that was submitted for a run; None where there was none, or where the file does not read."""
    try:
        return QueuedJob(**json.loads((folder.path / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


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
    for command in (("sacct", "-X", "-n", "-P", "-j", job, "-o", "State"), ("scontrol", "show", "job", "-o", job)):
        try:
            said = _ask(*command).strip()
        except QueueSilent:
            continue
        if command[0] == "sacct" and said:
            return said.splitlines()[-1]
        words = [word for word in said.split() if word.startswith("JobState=")]
        if words:
            return words[-1].removeprefix("JobState=")
    return "UNKNOWN"


def waiting(folder: RunFolder) -> str | None:
    """The job that a run waits with or runs in; None where there is none, or where nobody can say."""
    known = remembered(folder)
    if known is None:
        return None
    try:
        return known.job if known.job in live_jobs() else None
    except QueueSilent:
        return None


def shown_state(folder: RunFolder, record: Record) -> str:
    """The record's status as it is shown: WAITING where the run has made way and its job waits for its turn."""
    state = folder.state(record)
    if state not in ("KILLED", "CUT OFF") or (job := waiting(folder)) is None:
        return state
    return f"WAITING (job {job})"


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise QueueSilent(f"{command[0]}: {error}") from error
    if done.returncode:
        raise QueueSilent(f"{command[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def tail(path: Path, lines: int = 20) -> Sequence[str]:
    """The last lines of a log."""
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
