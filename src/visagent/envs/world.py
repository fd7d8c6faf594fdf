"""What a world with one agent is, and what makes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from visagent.envs.spaces import WorldSpaces

Observation = Mapping[str, NDArray[Any]]
"""Parts of one observation; see `WorldSpaces.observation`."""


class World(Protocol):
    """One world with one agent, in gymnasium's sense: `terminated` is not `truncated`."""

    def reset(self, seed: int | None) -> Observation:
        """Begin an episode; a seed begins its random numbers anew, None goes on with them."""
        ...

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        """Observation, reward, terminated, truncated.

        A continuous action is `[A]` in [-1, 1], a discrete one a number.
        """
        ...

    fps: float
    """Steps in a second of the world's own time."""

    epoch: int | None
    """Of the training that acts in it, for worlds that change with it; None where a policy is evaluated."""

    drawing: float
    """Seconds spent on drawing what is observed, so far."""

    @property
    def success(self) -> bool | None:
        """Whether the task is done now; None where the world does not say."""
        ...

    def picture(self) -> NDArray[np.uint8]:
        """`[H, W, 3]`, as a person would see it; of a world that was made to be drawn."""
        ...

    def close(self) -> None:
        """Give back what the world holds."""
        ...


class WorldFactory(Protocol):
    """Makes worlds; it crosses process borders, so it is small and can be pickled."""

    def spaces(self) -> WorldSpaces:
        """What the worlds show and take."""
        ...

    def make(self, drawn: bool = False) -> World:
        """A world of its own; `drawn` where pictures will be asked for."""
        ...
