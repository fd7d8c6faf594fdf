"""The exponential moving average of a network's weights while it learns (`trainer.ema`)."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from visagent.errors import ConfigError

PREFIX = "network."
STATISTICS = ("running_mean", "running_var")
"""Ends of the names of what batch normalisation has measured, with the weights that it belongs to."""
WHILE_TRAINED = "trained_weights"
"""In a checkpoint: the weights that go on learning, whose average stands in their place."""


class WeightAverage(Callback):
    """Averages the network's parameters and its batch statistics after every step of the optimizer; in methods that
    take several for a batch (reinforcement learning), after every batch.

    The average is what is validated, tested, and in checkpoints, so that it is what others read from them. Of other
    parts, such as counters and normalisers of observations, the newest values count.

    Early weights are forgotten sooner: at step t the decay is at most (1 + t) / (10 + t), as
    `tf.train.ExponentialMovingAverage` has it.

    Lightning's own callback averages counters and everything else that a module holds, too, and sees no steps but
    those of its own loop.

    Args:
        decay: of the average, below 1.
    """

    def __init__(self, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.seen = 0
        self.average: dict[str, Tensor] | None = None
        self._apart: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "seen": self.seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.seen = state_dict["steps"], state_dict["seen"]

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.average is None:
            self.average = {name: tensor.clone() for name, tensor in averaged(pl_module).items()}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if pl_module.automatic_optimization and trainer.global_step == self.seen:
            return  # gradients are still accumulated
        self.seen = trainer.global_step
        assert self.average is not None
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        get_ema_multi_avg_fn(decay)(list(self.average.values()), list(averaged(pl_module).values()), self.steps)
        self.steps += 1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._apart = {name: tensor.clone() for name, tensor in averaged(pl_module).items()}
            self._put(pl_module, self.average or {})

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._apart:
            self._put(pl_module, self._apart)
            self._apart = {}

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._put(pl_module, self.average or {})

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self.average is None:
            return
        state = checkpoint["state_dict"]
        checkpoint[WHILE_TRAINED] = {name: state[name] for name in self.average}
        checkpoint["state_dict"] = {**state, **self.average}

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn != "fit":  # what is tested is the average
            return
        self.average = {name: tensor.clone() for name, tensor in averaged(pl_module).items()}
        self._put(pl_module, checkpoint[WHILE_TRAINED])

    @staticmethod
    @torch.no_grad()
    def _put(module: pl.LightningModule, values: dict[str, Tensor]) -> None:
        there = averaged(module)
        for name, value in values.items():
            there[name].copy_(value)


def averaged(module: pl.LightningModule) -> dict[str, Tensor]:
    """What is averaged of a module, by its names there, without gradients.

    Raises:
        ConfigError: where it has no network that learns.
    """
    found = {name: part.detach() for name, part in module.named_parameters() if _is_averaged(name, part)}
    if not found:
        raise ConfigError(
            f"trainer.ema: expected null for {type(module).__name__}, which has no network that learns by gradients"
        )
    statistics = {name: part for name, part in module.named_buffers() if name.endswith(STATISTICS)}
    return found | {name: part for name, part in statistics.items() if _is_averaged(name, part)}


def _is_averaged(name: str, part: Tensor) -> bool:
    return name.startswith(PREFIX) and part.is_floating_point()
