"""Running statistics that standardise what a network reads or learns; buffers, so that weights, normaliser and what
actors get are one.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from visagent.video.transforms import MEAN, STD

VARIANCE_FLOOR = 1e-2
"""Of a critic's targets."""
REWARD_CLAMP = 10.0
"""Of normalised rewards, in standard deviations of the return."""


class Gather(Protocol):
    """Who knows the other processes that learn; see `visagent.learning.ranks.Ranks`."""

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, in their order."""
        ...


class RunningNormalizer(nn.Module):
    """The z-filter: standardises vectors by the mean and variance of all that was seen, and clamps.

    Its statistics are buffers, so that weights, normaliser and what actors receive are one thing.

    Args:
        size: D.
        clamp: standard deviations.
    """

    count: Tensor
    mean: Tensor
    spread: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(self, size: int, clamp: float = 5.0) -> None:
        super().__init__()
        self.clamp = clamp
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("spread", torch.zeros(size, dtype=torch.float64))
        # what `forward` needs of them, so that acting need not compute it
        self.register_buffer("offset", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    @torch.no_grad()
    def update(self, x: Tensor, ranks: Gather | None = None) -> None:
        """Take in samples `[..., D]` (Chan et al. 1979, the pairwise update).

        Args:
            x: of this rank.
            ranks: whose samples are taken in as well, `[..., D]` of each; None for this one's alone.
        """
        count, mean, spread = self.statistics(x)
        own = torch.cat([count[None], mean, spread])
        for of_rank in [own] if ranks is None else ranks.all_gather(own):
            self.merge(of_rank[0], *of_rank[1:].chunk(2))

    @staticmethod
    @torch.no_grad()
    def statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Number of samples `[..., D]`, their mean `[D]` and their sum of squared distances from it `[D]`, for
        `merge`.
        """
        samples = x.reshape(-1, x.shape[-1]).double()
        mean = samples.mean(dim=0)
        return (
            torch.tensor(float(len(samples)), device=x.device, dtype=torch.float64),
            mean,
            (samples - mean).square().sum(dim=0),
        )

    @torch.no_grad()
    def merge(self, count: Tensor, mean: Tensor, spread: Tensor) -> None:
        """Take in other samples by their number, mean `[D]` and sum of squared distances from it `[D]`."""
        total = self.count + count
        apart = mean - self.mean
        self.spread += spread + apart.square() * (self.count * count / total)
        self.mean += apart * (count / total)
        self.count.copy_(total)
        self.offset.copy_(self.mean)
        self.scale.copy_(1.0 / self.std)

    @property
    def std(self) -> Tensor:
        """`[D]`; 1 before anything was seen."""
        variance = torch.where(self.count > 1, self.spread / self.count.clamp_min(1), torch.ones_like(self.spread))
        return variance.sqrt().clamp_min(1e-2)

    def forward(self, x: Tensor) -> Tensor:
        return ((x - self.offset) * self.scale).clamp_(-self.clamp, self.clamp)


class RewardNormalizer(RunningNormalizer):
    """Divides rewards by the running standard deviation of discounted returns, as Stable-Baselines3's `VecNormalize`
    does, so that a critic learns numbers of order one whatever the task pays.

    Args:
        gamma: discount of a step.
    """

    def __init__(self, gamma: float) -> None:
        super().__init__(1)
        self.gamma = gamma
        self.returned: Tensor | None = None  # of the episodes under way `[B]`; a resumed run begins new episodes

    @torch.no_grad()
    def normalize(self, reward: Tensor, first: Tensor, ranks: Gather) -> Tensor:
        """Take rewards in, then scale and clamp them.

        Args:
            reward: `[T, B]`.
            first: `[T, B]` bool, the episode began with this step.
            ranks: whose rewards are taken in.
        """
        before = torch.zeros_like(reward[0]) if self.returned is None else self.returned
        returns = discounted_so_far(reward, first, before, self.gamma)
        self.returned = returns[-1]
        self.update(returns[..., None], ranks)
        return (reward * self.scale).clamp_(-REWARD_CLAMP, REWARD_CLAMP)


def discounted_so_far(reward: Tensor, first: Tensor, before: Tensor, gamma: float) -> Tensor:
    """What an episode has brought until each step, G_t = gamma G_(t-1) + r_t, whose spread is that of returns.

    Args:
        reward: `[T, B]`.
        first: `[T, B]` bool, the episode began with this step: G begins at 0.
        before: `[B]`, G after the step before the first one.
        gamma: discount of a step.

    Returns:
        `[T, B]`.
    """
    returns = []
    for t in range(len(reward)):
        before = gamma * before.masked_fill(first[t], 0.0) + reward[t]
        returns.append(before)
    return torch.stack(returns)


class ValueNormalizer(nn.Module):
    """Running mean and standard deviation of returns (ValueNorm of MAPPO's code: exponential averages whose bias is
    divided out).

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
        mean, std = self._moments()
        return (returns - mean) / std

    def denormalize(self, values: Tensor) -> Tensor:
        """What the critic says `[...]` as returns."""
        mean, std = self._moments()
        return values * std + mean


class PictureNormalizer(nn.Module):
    """uint8 RGB pictures `[..., 3, H, W]` as networks that know ImageNet take them."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        return (pictures.float() / 255 - self.mean) / self.std
