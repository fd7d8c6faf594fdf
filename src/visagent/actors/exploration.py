"""How actors explore that fill a replay: by noise on a policy's actions (SURREAL-DDPG), or by what it samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from visagent.errors import ConfigError

KINDS = ("normal", "ornstein_uhlenbeck", "policy")


@dataclass(frozen=True)
class Exploration:
    """Noise whose strength differs from world to world: some explore widely, some hardly.

    World i of n has sigma = max_sigma i / n; a single world has max_sigma / 3 (the released SURREAL configuration).

    Args:
        kind: `normal`, independent in each step, `ornstein_uhlenbeck`, which goes on, or `policy`: no noise, actions
            are sampled from a stochastic policy.
        max_sigma: standard deviation, actions being in [-1, 1].
        theta, dt: pull towards zero and time step of the Ornstein-Uhlenbeck process.
    """

    kind: str
    max_sigma: float
    theta: float
    dt: float

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"datamodule.exploration.kind: expected {', '.join(KINDS[:-1])} or {KINDS[-1]}, got {self.kind!r}"
            )

    @property
    def samples(self) -> bool:
        """Whether the policy's own distribution is sampled."""
        return self.kind == "policy"

    def sigma(self, first: int, count: int, worlds: int) -> Tensor:
        """`[count, 1]` of worlds `first`, `first + 1`, ... of all `worlds`."""
        if worlds == 1:
            return torch.full((1, 1), self.max_sigma / 3)
        return self.max_sigma * torch.arange(first, first + count, dtype=torch.float32)[:, None] / worlds

    def next(self, before: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
        """Noise `[B, A]` of a step, given that of the step before (zeros when an episode begins)."""
        if self.samples:
            return before
        drawn = torch.randn(before.shape, generator=generator)
        if self.kind == "normal":
            return sigma * drawn
        return before * (1 - self.theta * self.dt) + sigma * math.sqrt(self.dt) * drawn
