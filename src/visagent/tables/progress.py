"""What a table's runs are doing, read from their records: the same for every launcher."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from visagent.errors import ConfigError
from visagent.runtime.record import Record
from visagent.tables.runs import TableRun

INTERVAL = 1.0
"""Seconds between two looks at the records."""


class RunsProgress:
    """A bar over some runs while a launcher works on them, with the epochs of those at work; a line per ended run where
    it is no terminal.
    """

    def __init__(self, runs: Sequence[TableRun], console: Console | None = None) -> None:
        self.runs = runs
        self.console = console or Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[now]}", markup=False),
        )
        self.progress = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self.task = self.progress.add_task("runs", total=len(runs), now="")
        before = {run.signature: self._load(run) for run in runs}
        # what ended earlier is no news
        self._attempts = {name: 0 if record is None else record.attempts for name, record in before.items()}
        self._ended: set[str] = set()
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> RunsProgress:
        self.progress.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.update()
        self.progress.stop()

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.update()

    def update(self) -> None:
        """Read the records once."""
        working = []
        for run in self.runs:
            record = self._load(run)
            if record is None or run.signature in self._ended or record.attempts <= self._attempts[run.signature]:
                continue
            state = run.folder.state(record)
            if state == "RUNNING":
                working.append(f"{run.label} ({len(record.history)}/{run.config['trainer']['max_epochs']} epochs)")
            else:
                self._ended.add(run.signature)
                if not self.console.is_terminal:
                    minutes = (time.monotonic() - self._began) / 60
                    said = f"{minutes:6.1f} min  {len(self._ended)}/{len(self.runs)} {state.lower()}: {run.label}"
                    self.console.print(said, soft_wrap=True, markup=False)
        self.progress.update(self.task, completed=len(self._ended), now="; ".join(working))

    def _load(self, run: TableRun) -> Record | None:
        try:
            return run.folder.load()
        except ConfigError:  # the table says so at the end
            return None
