"""A tiny world of options whose every number is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagent.envs.option_worlds import IDLE, OptionSpaces, OptionStep
from visagent.errors import ConfigError


@dataclass(frozen=True)
class MeetingWorlds:
    """Makes episodes of two agents that see nothing and have options of 1, 2 and 3 steps; a step pays 1 when both run
    options of the same length.

    Args:
        horizon: steps of an episode, which terminates.
    """

    horizon: int

    def spaces(self) -> OptionSpaces:
        """Four zeros, three options each."""
        return OptionSpaces(("a", "b"), (4, 4), (("1", "2", "3"),) * 2)

    def primitives(self) -> MeetingWorlds:
        """None.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("datamodule.scheme=end2end: this world has no low-level actions; use another scheme")

    def make(self, count: int) -> MeetingWorld:
        """`count` episodes."""
        return MeetingWorld(self, count)


class MeetingWorld:
    """See `MeetingWorlds`."""

    success: NDArray[np.bool_] | None = None

    def __init__(self, factory: MeetingWorlds, count: int) -> None:
        self.factory, self.left, self.steps = factory, np.zeros((count, 2), np.int64), np.zeros(count, np.int64)
        self.observation = [np.zeros((count, 4), np.float32) for _ in range(2)]
        self.always, self.nobody = np.ones((count, 6), bool), np.zeros((count, 2), bool)
        self.state = np.zeros((count, 0), np.float32)

    def reset(self, which: NDArray[np.bool_], seeds: Sequence[int]) -> None:
        self.left[which], self.steps[which] = 0, 0

    def available(self) -> NDArray[np.bool_]:
        return self.always

    def waiting(self) -> NDArray[np.bool_]:
        return self.nobody

    def absent(self) -> NDArray[np.bool_]:
        return self.nobody

    def interrupt(self, which: NDArray[np.bool_]) -> None:
        self.left[which] = 0

    def step(self, options: NDArray[np.int64], active: NDArray[np.bool_]) -> OptionStep:
        acts = active[:, None] & (options != IDLE)
        self.left = np.where(acts & (self.left == 0), options + 1, self.left) - acts
        self.steps += active
        pays = (active & (options[:, 0] == options[:, 1])).astype(float)
        over = active & (self.steps >= self.factory.horizon)
        return OptionStep(pays, acts & (self.left == 0), over, np.zeros_like(over))

    def picture(self, episode: int) -> NDArray[np.uint8]:
        return np.full((8, 8, 3), self.steps[episode], np.uint8)

    def close(self) -> None:
        """Nothing to give back."""
