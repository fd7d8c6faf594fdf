"""Which job a run belongs to, and what Slurm says of it: a run that waits in a queue again is not lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from visagent.runtime.record import Record, now, write_atomically
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.slurm import QueueSilent, live_jobs

FILE = "job.json"


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


def tail(path: Path, lines: int = 20) -> Sequence[str]:
    """The last lines of a log."""
    try:
        return path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
