"""What a table's runs are doing, read from their records: the same for every launcher."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from visagent.errors import ConfigError
from visagent.tables.runs import TableRun

INTERVAL = 1.0


class RunsProgress:
    """A progress bar over the epochs of some runs while a launcher works on them."""

    def __init__(self, runs: Sequence[TableRun], console: Console | None = None) -> None:
        self.runs = runs
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}"),
        )
        self.progress = Progress(*columns, console=console or Console(stderr=True))
        self.task = self.progress.add_task("runs", total=len(runs), now="")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> RunsProgress:
        self.progress.start()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self.update()
        self.progress.stop()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.update()

    def update(self) -> None:
        """Read the records once."""
        done, working = 0, []
        for run in self.runs:
            try:
                record = run.folder.load()
            except ConfigError:
                continue
            if record is not None and record.status in ("FINISHED", "FAILED"):
                done += 1
            elif record is not None and run.folder.is_locked():
                working.append(f"{run.label} ({len(record.history)}/{run.config['trainer']['max_epochs']} epochs)")
        self.progress.update(self.task, completed=done, now="; ".join(working))
