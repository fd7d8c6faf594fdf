"""Targets of a critic with mean 0 and standard deviation 1, whatever the task pays."""

from __future__ import annotations

import torch
from torch import Tensor, nn

VARIANCE_FLOOR = 1e-2


class ValueNormalizer(nn.Module):
    """Running mean and standard deviation of returns (ValueNorm of MAPPO's code: exponential averages whose bias is divided out).

    Args:
        decay: of what was seen before, with each batch.
    """

    mean: Tensor
    square: Tensor
    weight: Tensor

    def __init__(self, decay: float = 0.99999) -> None:
        super().__init__()
        self.decay = decay
        for name in ("mean", "square", "weight"):
            self.register_buffer(name, torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, mean: Tensor, square: Tensor) -> None:
        """Take in a batch of returns by their mean and that of their squares."""
        for buffer, seen in ((self.mean, mean), (self.square, square), (self.weight, torch.ones_like(self.weight))):
            buffer.mul_(self.decay).add_((1.0 - self.decay) * seen)

    def _moments(self) -> tuple[Tensor, Tensor]:
        weight = self.weight.clamp_min(torch.finfo(torch.float64).tiny)
        mean = self.mean / weight
        variance = torch.where(self.weight > 0, self.square / weight - mean.square(), torch.ones_like(mean))
        return mean.float(), variance.clamp_min(VARIANCE_FLOOR).sqrt().float()

    def normalize(self, returns: Tensor) -> Tensor:
        """Returns `[...]` as the critic learns them."""
        mean, spread = self._moments()
        return (returns - mean) / spread

    def denormalize(self, values: Tensor) -> Tensor:
        """What the critic says `[...]` as returns."""
        mean, spread = self._moments()
        return values * spread + mean
