"""A run's curves in the terminal while it learns: `visagent-train ... --watch`."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from visagent.charts import shown, sparkline
from visagent.runtime.record import Record
from visagent.words import clock

SECONDS = 0.5
"""Between two looks at the metrics."""
GROUPS = ("val", "train", "data")
"""What is shown, the most telling first; times are in the page."""


class Watch(Callback):
    """A table of metrics with their newest value, range and course, drawn anew as they change, in a terminal.

    Args:
        record: of the run, whose finished epochs are shown from the beginning.
        console: where to; the standard error's by default.
    """

    def __init__(self, record: Record, console: Console | None = None) -> None:
        self.record = record
        self.console = console or Console(stderr=True)
        self.values: dict[str, list[float]] = defaultdict(list)
        self.live: Live | None = None
        self.looked = self.began = 0.0
        self.first_epoch = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began, self.first_epoch = time.monotonic(), trainer.current_epoch
        for epoch in sorted(self.record.history, key=int):
            self._add(self.record.history[epoch])
        if trainer.is_global_zero and self.console.is_terminal:
            self.live = Live(console=self.console, auto_refresh=False)
            self.live.start()
            self._draw(trainer, 0)

    def _add(self, metrics: Any) -> None:
        for name, value in metrics.items():
            if str(name).partition("/")[0] in GROUPS:
                self.values[name].append(float(value))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if self.live is not None and now - self.looked >= SECONDS:
            self.looked = now
            # what validation said is added at an epoch's end
            self._add({name: value for name, value in trainer.logged_metrics.items() if not name.startswith("val/")})
            self._draw(trainer, batch_idx + 1)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._add({name: value for name, value in trainer.callback_metrics.items() if name.startswith("val/")})
        if self.live is not None:
            self._draw(trainer, int(trainer.num_training_batches))

    def _draw(self, trainer: pl.Trainer, batch: int) -> None:
        assert self.live is not None
        self.live.update(self.view(trainer, batch), refresh=True)

    def view(self, trainer: pl.Trainer, batch: int) -> Group:
        """What is seen after so many batches of the epoch."""
        whole, epochs = max(1, int(trainer.num_training_batches)), trainer.max_epochs or 1
        done = trainer.current_epoch + min(1.0, batch / whole)
        passed, share = time.monotonic() - self.began, done - self.first_epoch
        left = passed / share * (epochs - done) if share > 0.01 else None
        head = Text(f"{self.record.name}  {self.record.signature}  epoch {trainer.current_epoch + 1} of {epochs}  ")
        head.append(f"{clock(passed)} elapsed" + (f", about {clock(left)} left" if left is not None else ""))
        room = max(16, self.console.width - 64)
        table = Table(box=None, pad_edge=False, show_header=False)
        for style, justify in (("bold", "left"), ("", "right"), ("cyan", "left"), ("dim", "left")):
            table.add_column(style=style, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        names = sorted(self.values, key=lambda name: (GROUPS.index(name.partition("/")[0]), name))
        for name in names[: max(4, self.console.height - 4)]:
            values = self.values[name]
            span = f"{shown(min(values))} to {shown(max(values))}"
            table.add_row(name, shown(values[-1]), sparkline(values, room), span)
        return Group(head, ProgressBar(total=epochs, completed=done, width=min(60, self.console.width)), table)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None
