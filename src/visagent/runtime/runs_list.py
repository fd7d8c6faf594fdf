"""`visagent-info runs`: which runs there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from visagent.charts import shown
from visagent.config.quoting import plain
from visagent.errors import ConfigError
from visagent.runtime.headline import headline
from visagent.runtime.queue import shown_state
from visagent.runtime.record import Record
from visagent.runtime.report import plain_console
from visagent.runtime.run_folder import RunFolder
from visagent.words import counted

STATES = ("running", "finished", "failed", "killed", "cut off", "waiting")
AGES = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


@dataclass(frozen=True)
class Run:
    """One run of the list.

    Attributes:
        folder, record: of the run.
        state: as it is shown.
    """

    folder: RunFolder
    record: Record
    state: str


def runs_of(outputs: Path) -> tuple[list[Run], list[str]]:
    """All runs of an outputs folder, the newest last, and what cannot be read."""
    found, unreadable = list[Run](), list[str]()
    for path in sorted((outputs / "runs").glob("*/record.json"), key=lambda path: path.stat().st_mtime):
        folder = RunFolder(path.parent)
        try:
            record = folder.load()
        except ConfigError as error:
            unreadable.append(str(error))
            continue
        if record is not None:
            found.append(Run(folder, record, shown_state(folder, record)))
    return found, unreadable


def matches(run: Run, word: str) -> bool:
    """Whether a run matches a word of a filter: a state, part of its name or scale, the beginning of its
    signature, or KEY=VALUE of its config.

    Raises:
        ConfigError: when the run's config cannot be read, which the word asks about.
    """
    key, equals, value = word.partition("=")
    if equals:
        return plain(_setting(run, key)) == value
    low = word.lower()
    if low in STATES:
        return run.state.lower().startswith(low)
    return run.record.signature.startswith(word) or low in run.record.name.lower() or low == run.record.scale


def _setting(run: Run, key: str) -> Any:
    if key in ("name", "seed", "scale"):
        return getattr(run.record, key)
    node: Any = run.folder.config()
    for part in key.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def age(record: Record, now: datetime) -> str:
    """How long ago a run ended, or began where it has not."""
    then = datetime.fromisoformat(record.finished or record.created)
    seconds = max(0, int((now - then).total_seconds()))
    unit, name = next((unit, name) for unit, name in (*AGES, (0, "s")) if seconds >= unit)
    return f"{seconds // max(1, unit)} {name}"


def list_runs(outputs: Path, words: Sequence[str]) -> int:
    """Print the runs that all words match; the exit status is 1 where there is none.

    Args:
        outputs: folder of runs.
        words: of the filter.
    """
    runs, unreadable = runs_of(outputs)
    chosen = [run for run in runs if all(matches(run, word) for word in words)]
    console, now = plain_console(), datetime.now(UTC)
    if chosen:
        console.print(f"{_counted(chosen)}, in {outputs / 'runs'}", highlight=False, soft_wrap=True)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for title in ("run", "name", "state"):
            table.add_column(title, no_wrap=title == "run", overflow="fold")
        for title in ("seed", "epochs", "key metric", "ago"):
            table.add_column(title, justify="right", overflow="fold")
        for run in chosen:
            record, key = run.record, headline(run.record)
            told = "-" if key is None else f"{key[0].removeprefix('test/')} {shown(key[1])}"
            name = record.name + ("" if record.scale == "laptop" else f" ({record.scale})")
            cells = (record.signature, name, run.state.lower(), str(record.seed), str(len(record.history)))
            table.add_row(*cells, told, age(record, now))
            if run.folder.path.name != record.signature:
                table.add_row("", str(run.folder.path))
        console.print(table)
    else:
        what = f"{' and '.join(words)}: none of {counted(len(runs), 'run')} in {outputs / 'runs'}"
        told = what if runs else f"there is no run in {outputs / 'runs'}"
        console.print(told, highlight=False, soft_wrap=True)
    for line in unreadable:
        console.print(f"unreadable: {line}", highlight=False, soft_wrap=True)
    return 0 if chosen else 1


def _counted(runs: Sequence[Run]) -> str:
    states = [run.state.partition(" (")[0].lower() for run in runs]
    return f"{counted(len(runs), 'run')}: " + ", ".join(
        f"{states.count(state)} {state}" for state in dict.fromkeys(states)
    )
