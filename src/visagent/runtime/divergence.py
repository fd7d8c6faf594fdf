"""Numbers that are not finite end a run: nothing is learned from them, and nothing that is measured afterwards means
anything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from visagent.errors import DivergedError

EVERY = 100
"""Batches between two looks where a batch is a step of the optimizer: a look waits for the device."""


def is_decisive(metric: str) -> bool:
    """Whether a metric must be finite: what is trained by, and returns.

    Others may be undefined, such as the mean length of no successes.
    """
    return metric.startswith("train/") or metric.rpartition("/")[2] in ("return", "episode_return")


def undefined_metric(metrics: Mapping[str, Any]) -> tuple[str, float] | None:
    """The first decisive metric that is not finite, and its value."""
    for name, value in metrics.items():
        if is_decisive(name) and not math.isfinite(value):
            return name, float(value)
    return None


def undefined_weight(module: torch.nn.Module) -> tuple[str, float] | None:
    """The first entry of a state dict with an element that is not finite, and such an element; a sum of each tells,
    read at once.
    """
    state = {
        name: tensor
        for name, tensor in module.state_dict().items()
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel()
    }
    if not state:
        return None
    sums = torch.stack(
        [tensor.sum(dtype=torch.promote_types(tensor.dtype, torch.float32)).double() for tensor in state.values()]
    )
    for name, is_finite in zip(state, sums.isfinite().tolist(), strict=True):
        if not is_finite:
            values = state[name].flatten()
            broken = values[~values.isfinite()]
            if len(broken):  # else only the sum is too large
                return name, float(broken[0])
    return None


class StopWhereDiverged(Checkpoint):
    """Looks at losses, weights and returns, and ends the run where one of them is not finite.

    A `Checkpoint` by type, so that at an epoch's end it comes after the module's own hook; in the list of callbacks it
    stands between the record, which is to hold such numbers, and the checkpoint, which is not. All methods are watched
    alike: after every iteration where a batch is many steps of an optimizer, else after every `EVERY` of them, and
    before anything is evaluated or saved. Ranks decide together.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[int, Tensor, Tensor]] = []  # batch, loss and clock, which stay on the device

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not pl_module.automatic_optimization:
            self._look(trainer, pl_module, batch_idx)
            return
        if isinstance(outputs, Mapping) and isinstance(outputs.get("loss"), Tensor):
            self._losses.append((batch_idx, outputs["loss"], clock(pl_module).clone()))
        if (batch_idx + 1) % EVERY == 0:
            self._look(trainer, pl_module, batch_idx)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "fit":
            self._look(trainer, pl_module, None)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._look(trainer, pl_module, None)

    def _look(self, trainer: pl.Trainer, module: pl.LightningModule, batch: int | None) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if is_decisive(name)}
        moment = clock(module)
        undefined = undefined_metric(metrics)
        if self._losses:
            wrong = (~torch.stack([loss for _, loss, _ in self._losses]).isfinite()).nonzero()
            if len(wrong):
                batch, loss, moment = self._losses[int(wrong[0])]
                undefined = (undefined[0] if undefined else "train/loss", float(loss))
            self._losses = []
        undefined = undefined or undefined_weight(module)
        together = (
            bool(undefined)
            if trainer.world_size == 1
            else trainer.strategy.reduce_boolean_decision(bool(undefined), all=False)
        )
        if together:
            raise diverged(trainer, module, undefined, batch, int(moment))


def clock(module: pl.LightningModule) -> Tensor:
    """The buffer that is a module's time: `env_steps`, or what its `clock` names; of a module without one, Lightning's
    steps.
    """
    clock = getattr(module, getattr(module, "clock", "env_steps"), None)
    return clock if isinstance(clock, Tensor) else torch.tensor(module.global_step)


def diverged(
    trainer: pl.Trainer, module: pl.LightningModule, undefined: tuple[str, float] | None, batch: int | None, time: int
) -> DivergedError:
    """The error that says what is not finite, when, and what to try.

    Args:
        trainer: whose optimizers and precision are named.
        module: may have `remedies`, overrides to try.
        undefined: name and value; None where another rank found it.
        batch: of the epoch; None for the end of it.
        time: of the module's clock.
    """
    name, value = undefined or ("a number of another rank", math.nan)
    where = f"epoch {trainer.current_epoch}" + ("" if batch is None else f", batch {batch}")
    remedies = []
    for optimizer in trainer.optimizers[:1]:
        group = optimizer.param_groups[0]
        remedies.append(f"optimizer.lr={group.get('initial_lr', group['lr']) / 3:.2g} or less")
    remedies += getattr(module, "remedies", list)()
    if trainer.precision not in ("32-true", "64-true"):
        remedies.append("trainer.precision=32-true")
    what = ", ".join(remedies) or "other settings"
    return DivergedError(
        f"the run diverged: {name} is {value} at step {time:,} ({where}): expected finite numbers; try {what}"
    )
