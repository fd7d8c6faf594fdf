"""The metrics of the epoch in progress, as MLflow was told them: a file that a killed run leaves, so that the epoch's
second try neither loses one nor says one twice.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visagent.runtime.record import write_atomically

log = logging.getLogger(__name__)
FILE = "mlflow-epoch.jsonl"


class Journal:
    """Metrics handed to MLflow since the last checkpoint, one a line: `[name, value, milliseconds, step]`.

    MLflow keeps one of two metrics that agree in all four, so that what stands here may be sent again. A metric of the
    second try agrees with the first one's in all but the time: it is known by name and step.

    Args:
        folder: the run's.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.before: list[list[Any]] = self._read()
        """What an attempt that was cut off has left."""
        self._told_before = Counter(_key(item) for item in self.before)
        self._told_early: Counter[tuple[str, int]] = Counter()
        self._written, self._marked = len(self.before), 0
        self._refused = False

    def _read(self) -> list[list[Any]]:
        if not self.path.is_file():
            return []
        items = []
        for line in self.path.read_text().splitlines():
            try:
                items.append(json.loads(line))
            except ValueError:  # the process ended while it wrote: the last line
                write_atomically(self.path, "".join(json.dumps(item) + "\n" for item in items))
                break
        return items

    def fresh(self, items: Sequence[list[Any]]) -> list[list[Any]]:
        """Those among some metrics that have not been sent before."""
        found = []
        for item in items:
            told = next((told for told in (self._told_before, self._told_early) if told[_key(item)] > 0), None)
            if told is None:
                found.append(item)
            else:
                told[_key(item)] -= 1
        return found

    def expect_again(self, items: Sequence[list[Any]]) -> None:
        """Some metrics were told early: they come once more, and are then no news."""
        self._told_early.update(_key(item) for item in items)

    def write(self, items: Sequence[list[Any]]) -> None:
        """Have metrics on the disk, before MLflow is told."""
        if not items or self._refused:
            return
        try:
            with self.path.open("a") as file:
                file.write("".join(json.dumps(item) + "\n" for item in items))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self._give_up(error)
        self._written += len(items)

    def mark(self) -> None:
        """What was written so far is of an epoch that has its checkpoint, and what was left is not said again."""
        self._marked = self._written
        self._told_before.clear()

    def forget_marked(self) -> None:
        """Drop what is marked: MLflow has it, or an outbox keeps it."""
        if not self._marked or self._refused:
            return
        try:
            left = self.path.read_text().splitlines(keepends=True)[self._marked :] if self.path.is_file() else []
            if left:
                write_atomically(self.path, "".join(left))
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            self._give_up(error)
        self._written -= self._marked
        self._marked = 0

    def _give_up(self, error: OSError) -> None:
        """Say it once, and go on without: metrics of an epoch that is cut off may then stand in MLflow twice."""
        self._refused = True
        log.warning("%s cannot be written (%s): the run goes on without it", self.path, error.strerror)


def _key(item: Sequence[Any]) -> tuple[str, int]:
    return str(item[0]), int(item[3])
