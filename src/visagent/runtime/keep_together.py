"""When the learners of a run exchange what they have learned, as Lightning's training goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from visagent.errors import ConfigError
from visagent.learning.exchange import floating
from visagent.learning.in_step import Synchronous
from visagent.learning.learners import Copy
from visagent.runtime.divergence import clock
from visagent.runtime.learners import Learner


class FirstBatches:
    """The beginning of a loader.

    Args:
        loader: of batches.
        count: how many of them.
    """

    def __init__(self, loader: Any, count: int) -> None:
        self.loader, self.count = loader, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self.loader), self.count)


class KeepTogether(Callback):
    """Has a learner exchange gradients before a step, weights after a batch, and measures at an epoch's end how far the
    learners are apart.

    The first learner logs `train/divergence`; `learners/alive`; `learners/samples`, of all together;
    `learners/updates`, batches of its own; `learners/seconds`, what these have taken, with all waiting for others.
    """

    def __init__(self, learner: Learner) -> None:
        self.learner, self.learners = learner, learner.learners
        self._batches, self._seconds, self._began, self._moving = 0, 0.0, 0.0, False
        self._copy: Copy

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self._batches, "seconds": self._seconds, "learners": self.learners.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._batches, self._seconds = state_dict["batches"], state_dict["seconds"]
        self.learners.load_state_dict(state_dict["learners"])

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Have all learners' epochs end together where they are in step.

        Raises:
            ConfigError: for a method or a precision with which learners cannot be in step.
        """
        if not self.learners.others:
            return
        if isinstance(self.learners, Synchronous) and not pl_module.automatic_optimization:
            raise ConfigError(
                f"learners=synchronous: expected a method of one step a batch, got {type(pl_module).__name__}, which "
                "takes its own steps; type learners=averaging, or leave learners out and type trainer.devices=2"
            )
        if isinstance(self.learners, Synchronous) and trainer.precision == "16-mixed":
            raise ConfigError(
                "learners=synchronous: expected a precision without a scale of its own for each learner, got 16-mixed; "
                "type trainer.precision=bf16-mixed"
            )
        if self.learners.in_step and getattr(pl_module, "unequal_batches", False):
            raise ConfigError(
                f"learners: expected batches that are alike, got {type(pl_module).__name__}, whose batches are of "
                "several kinds; type learners=gossip"
            )
        if stage == "fit" and self.learners.in_step:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            own = data.train_dataloader
            data.train_dataloader = lambda: self._as_long_as_all(own())

    def _as_long_as_all(self, loader: Any) -> Any:
        if not hasattr(loader, "__len__"):
            return loader
        self._began = time.perf_counter()
        count = self.learners.fewest(len(loader))
        self._seconds += time.perf_counter() - self._began
        return FirstBatches(loader, count)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Also of a learner that has finished already, which the others still ask."""

        def tensors() -> list[torch.Tensor]:
            return floating(pl_module.state_dict().values() if self.learners.buffers else pl_module.parameters())

        self._copy = Copy(tensors, lambda: float(clock(pl_module)), not pl_module.automatic_optimization)
        self.learners.begin(self._copy, self.learner.fresh)

    def on_train_batch_start(self, trainer: pl.Trainer, *others: Any) -> None:
        self._began = time.perf_counter()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        self.learners.gradients(optimizer)
        if not self._moving:
            self._moving = self._copy.moving.acquire()  # until the step is done

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *others: Any) -> None:
        if self._moving:
            self._moving = False
            self._copy.moving.release()
        if not pl_module.automatic_optimization:
            self._copy.keep()
        self._batches += 1
        self.learners.exchange(self._batches)
        self._seconds += time.perf_counter() - self._began

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.learner.check_errors()
        self._began = time.perf_counter()
        told = self.learners.report()
        self._seconds += time.perf_counter() - self._began
        if self.learner.meeting.number == 0:
            pl_module.log("train/divergence", told.pop("divergence"))
            told |= {"updates": float(self._batches), "seconds": self._seconds}
            pl_module.log_dict({f"learners/{name}": value for name, value in told.items()})
