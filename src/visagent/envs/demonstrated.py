"""What somebody else did in a world: observations, actions and rewards of whole episodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Demonstrated:
    """N steps of episodes, one after the other.

    Attributes:
        name: where they are from, in messages.
        observation: parts `[N, ...]`, before each action.
        action: `[N]` int64, `[N, A]` int64 or `[N, A]` float32 in [-1, 1].
        reward: `[N]`.
        last: `[N]` bool, the episode's last step.
    """

    name: str
    observation: Mapping[str, Tensor]
    action: Tensor
    reward: Tensor
    last: Tensor

    def __len__(self) -> int:
        return len(self.action)

    @property
    def episodes(self) -> int:
        """How many there are."""
        return int(self.last.sum())

    def returns(self, gamma: float) -> Tensor:
        """Discounted rewards from each step to the end of its episode, `[N]`; the world is worth nothing after it."""
        returns, following = torch.empty_like(self.reward), 0.0
        for step in range(len(self) - 1, -1, -1):
            following = float(self.reward[step]) + (0.0 if self.last[step] else gamma * following)
            returns[step] = following
        return returns
