"""Which epochs of a run were its best, by a metric of validation: their checkpoints are kept, and a run that gets no
better ends early.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visagent.errors import ConfigError
from visagent.runtime.run_folder import RunFolder


class BestEpochs:
    """The epochs that were best so far.

    What it knows is in the checkpoint that each epoch leaves (`state_dict`), so that a resumed run goes on as an
    unbroken one; the kept checkpoints are further names of those files, and cost no time to write.

    Args:
        settings: `visagent.config.schemas.CheckpointConfig`, as a dict.
        folder: of the run.
    """

    def __init__(self, settings: Mapping[str, Any], folder: RunFolder) -> None:
        self.monitor, self.largest, self.every = settings["monitor"], settings["mode"] == "max", settings["every"]
        self.count, self.patience, self.folder = settings["keep"], settings["patience"], folder
        self.kept: dict[int, float] = {}
        """Epoch -> value, the best first."""
        self.looked = -1
        """The last epoch at which it was looked."""

    def state_dict(self) -> dict[str, Any]:
        return {"kept": [[epoch, value] for epoch, value in self.kept.items()], "looked": self.looked}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.kept = {int(epoch): float(value) for epoch, value in state["kept"]}
        self.looked = int(state["looked"])

    @property
    def best(self) -> tuple[int, float] | None:
        """The best epoch and its value; None while there is none."""
        return next(iter(self.kept.items()), None)

    @property
    def is_over(self) -> bool:
        """Whether the run has gone on for `patience` epochs without a better one."""
        return self.patience is not None and self.best is not None and self.looked - self.best[0] >= self.patience

    def look(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take note of a validated epoch, before its checkpoint is written.

        Raises:
            ConfigError: when nothing is called so.
        """
        if (epoch + 1) % self.every:
            return
        require_metric("checkpoint.monitor", self.monitor, metrics)
        self.looked = epoch
        value = float(metrics[self.monitor])
        if math.isfinite(value):
            ranked = sorted({**self.kept, epoch: value}.items(), key=lambda each: (self._worse(each[1]), each[0]))
            self.kept = dict(ranked[: self.count])

    def _worse(self, value: float) -> float:
        return -value if self.largest else value

    def keep(self, written: Path) -> None:
        """Keep an epoch's checkpoint if it is among the best, once it is written, and forget those that are no longer.

        Args:
            written: the file of the epoch at which it was last looked.
        """
        if self.looked in self.kept:
            _name(written, self.folder.epoch_checkpoint(self.looked))
        if self.best is not None:
            _name(self.folder.epoch_checkpoint(self.best[0]), self.folder.best_checkpoint)
        names = {self.folder.epoch_checkpoint(epoch) for epoch in self.kept}
        for path in written.parent.glob(self.folder.epoch_checkpoint(0).name.replace("0000", "*")):
            if path not in names:
                path.unlink()


def require_metric(key: str, name: str, metrics: Mapping[str, float]) -> None:
    """Check that a setting names what validation says.

    Args:
        key: of the setting.
        name: of the metric.
        metrics: of a validated epoch.

    Raises:
        ConfigError: when nothing is called so.
    """
    if name not in metrics:
        there = ", ".join(sorted(each for each in metrics if each.startswith("val/"))) or "none"
        raise ConfigError(f"{key}: expected a metric of validation, got {name!r}; there are {there}")


def _name(file: Path, name: Path) -> None:
    """Give a file one more name, instead of what had it."""
    partial = name.with_name(f"{name.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(file, partial)
    except OSError:  # a file system that has one name for each file
        shutil.copyfile(file, partial)
    os.replace(partial, name)
    partial.unlink(missing_ok=True)  # where both were names of the same file, nothing was replaced
