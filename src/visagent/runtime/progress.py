"""What a run shows while it learns: a bar in a terminal, a line for each epoch in its log and in a file."""

from __future__ import annotations

import time

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, RichProgressBar
from rich.console import Console

from visagent.charts import shown
from visagent.runtime.headline import title_of
from visagent.runtime.run_log import FILE_ALONE
from visagent.words import clock

MOST_NUMBERS = 4
"""In a line."""


class Progress(RichProgressBar):
    """Rich's bar with what the module chose to show (`prog_bar=True`); epochs are counted from 1, as everywhere."""

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return items

    def _get_train_description(self, current_epoch: int) -> str:
        last = self.trainer.max_epochs
        told = f"Epoch {current_epoch + 1}" + (f"/{last}" if last is not None else "")
        return f"{told:{len(self.validation_description)}}"


class EpochLines(Callback):
    """A line after each epoch: what the module chose to show, and how long the rest will take.

    Args:
        aloud: whether the console gets it too, or the run's log alone.
    """

    def __init__(self, aloud: bool) -> None:
        self.aloud = aloud
        self.began = 0.0
        self.first_epoch = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began, self.first_epoch = time.monotonic(), trainer.current_epoch

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        numbers = {name: float(value) for name, value in trainer.progress_bar_metrics.items() if name != "v_num"}
        if not trainer.is_global_zero:
            return
        line = epoch_line(trainer, numbers, time.monotonic() - self.began, self.first_epoch)
        if self.aloud:
            print(line, flush=True)
        else:
            FILE_ALONE.info("%s", line)


def epoch_line(trainer: pl.Trainer, numbers: dict[str, float], passed: float, first_epoch: int = 0) -> str:
    """What is said of an epoch that ends.

    Args:
        trainer: at the end of the epoch.
        numbers: those of validation stand first, and of many the first are told.
        passed: seconds since the training, or this attempt, began.
        first_epoch: with which it began.
    """
    done = trainer.current_epoch + 1
    head = f"epoch {done}" + (f" of {trainer.max_epochs}" if trainer.max_epochs else "")
    whole = [name for name in numbers if not name.endswith("_step")]  # of which there is the mean, too
    first = sorted(whole, key=lambda name: not name.startswith("val/"))[:MOST_NUMBERS]
    said = ", ".join(
        f"{title_of(name.removesuffix('_epoch').replace('/', ' '))} {shown(numbers[name])}" for name in first
    )
    rest = ""
    if trainer.max_epochs and done < trainer.max_epochs:
        rest = f", about {clock(passed / (done - first_epoch) * (trainer.max_epochs - done))} left"
    return f"{head}: {said + '; ' if said else ''}{clock(passed)} elapsed{rest}"


def is_seen() -> bool:
    """Whether a bar on the console would be seen: a file gets it as it stands at the end."""
    console = Console()
    return console.is_terminal or console.is_jupyter
