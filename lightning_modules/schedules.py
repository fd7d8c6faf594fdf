"""Learning rates as pure functions of the share of training that is done, so that a resumed run goes on where it
was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch


def rate(schedule: str, progress: float, warmup: float = 0.0, milestones: Sequence[float] = ()) -> float:
    """The learning rate's factor.

    Args:
        schedule: `constant`, `cosine` (ends at 0), or `steps` (a tenth after each milestone).
        progress: share of training that is done, from 0 to 1.
        warmup: share over which the rate rises linearly.
        milestones: of `steps`, as shares.
    """
    if progress < warmup:
        return (progress + 1e-3) / (warmup + 1e-3)
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    if schedule == "steps":
        return float(0.1 ** sum(progress >= milestone for milestone in milestones))
    return 1.0


def linear(progress: float, final: float) -> float:
    """The learning rate's factor, from 1 to `final` as `progress` goes from 0 to 1."""
    return 1.0 + (final - 1.0) * progress


def scale_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's rate to its initial one times the factor."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
