"""The metrics of the epoch in progress, as MLflow was told them: a file that a killed run leaves, so that the epoch's
second try neither loses one nor says one twice.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visagent.runtime.record import write_atomically

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
        self._known = Counter(_key(item) for item in self.before)
        self._written, self._marked = len(self.before), 0

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
        """Those of some metrics that were not told before."""
        found = []
        for item in items:
            if self._known[_key(item)] > 0:
                self._known[_key(item)] -= 1
            else:
                found.append(item)
        return found

    def expect_again(self, items: Sequence[list[Any]]) -> None:
        """Some metrics were told early: they come once more, and are then no news."""
        self._known.update(_key(item) for item in items)

    def write(self, items: Sequence[list[Any]]) -> None:
        """Have metrics on the disk, before MLflow is told."""
        if not items:
            return
        with self.path.open("a") as file:
            file.write("".join(json.dumps(item) + "\n" for item in items))
            file.flush()
            os.fsync(file.fileno())
        self._written += len(items)

    def mark(self) -> None:
        """What was written so far is of an epoch that has its checkpoint."""
        self._marked = self._written

    def forget_marked(self) -> None:
        """Drop what is marked: MLflow has it, or an outbox keeps it."""
        if not self._marked:
            return
        left = self.path.read_text().splitlines(keepends=True)[self._marked :] if self.path.is_file() else []
        if left:
            write_atomically(self.path, "".join(left))
        else:
            self.path.unlink(missing_ok=True)
        self._written -= self._marked
        self._marked = 0


def _key(item: Sequence[Any]) -> tuple[str, int]:
    return str(item[0]), int(item[3])
