"""Every training episode of a run in a table, `episodes.csv`."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from visagent.experience.rollouts import Episode

COLUMNS = ("env_steps", "return", "steps", "success")


class EpisodeLog(pl.Callback):
    """Writes what the first rank's actors say of each episode: after how many steps of all worlds it was learned from,
    its return, its length, and whether it ended with the task done (empty where the world does not say).

    A resumed run goes on with the file as it was at the checkpoint.

    Args:
        path: of the table; it is not written where no episode ends.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[tuple[int, Episode]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave out what is done again."""
        self.rows.clear()
        if not trainer.is_global_zero or not self.path.is_file():
            return
        done = int(getattr(pl_module, "env_steps", 0))
        with self.path.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["env_steps"].isdigit() and int(row["env_steps"]) <= done]
        written = self.path.with_suffix(".part")
        with written.open("w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
            table.writeheader()
            table.writerows(kept)
        os.replace(written, self.path)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        episodes: Sequence[Episode] = getattr(batch, "episodes", ())
        if trainer.is_global_zero and episodes:
            done = int(pl_module.env_steps)  # type: ignore[arg-type]
            self.rows += [(done, episode) for episode in episodes]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Before the checkpoint is written."""
        if not self.rows:
            return
        fresh = not self.path.is_file()
        with self.path.open("a", newline="") as file:
            table = csv.writer(file)
            if fresh:
                table.writerow(COLUMNS)
            for done, episode in self.rows:
                success = "" if episode.success is None else int(episode.success)
                table.writerow((done, f"{episode.total_reward:.8g}", episode.steps, success))
        self.rows.clear()
