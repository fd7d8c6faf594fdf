"""Tiny worlds whose every number is known."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from visagent.envs.frames import FrameStack
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.envs.world import Observation


@dataclass(frozen=True)
class CountingWorlds:
    """Makes worlds that show how many steps they took, and end after `length` of them.

    Args:
        length: steps of an episode.
        truncates: whether the end is a time limit.
        fails_at: the step of an episode, in the process of a worker, at which the world raises; None for never.
        learner: the process that may step it without failing.
    """

    length: int
    truncates: bool = False
    fails_at: int | None = None
    learner: int = 0

    def spaces(self) -> WorldSpaces:
        """One number, two actions."""
        return WorldSpaces({"state": (1,)}, ActionSpace("discrete", 2))

    def make(self, drawn: bool = False) -> CountingWorld:
        """A world of its own."""
        return CountingWorld(self)


class CountingWorld:
    """See `CountingWorlds`. The reward of a step is the action."""

    fps = 10.0
    epoch: int | None = None
    success: bool | None = None
    drawing = 0.0

    def __init__(self, factory: CountingWorlds) -> None:
        self.factory, self.steps = factory, 0

    def reset(self, seed: int | None) -> Observation:
        self.steps = 0
        return {"state": np.zeros(1, np.float32)}

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        self.steps += 1
        if self.steps == self.factory.fails_at and os.getpid() != self.factory.learner:
            raise RuntimeError("the world is broken")
        over = self.steps >= self.factory.length
        return (
            {"state": np.full(1, self.steps, np.float32)},
            float(action),
            over and not self.factory.truncates,
            over and self.factory.truncates,
        )

    def picture(self) -> NDArray[np.uint8]:
        return np.full((8, 8, 3), self.steps, np.uint8)

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True)
class ReusingWorlds(CountingWorlds):
    """Makes worlds that count, and show each count in the place of the one before.

    Args:
        spoils: the step, of all that a world takes in the process of a worker, whose observation is no number; None for
            never.
        hangs: the one that does not end.
    """

    spoils: int | None = None
    hangs: int | None = None

    def make(self, drawn: bool = False) -> ReusingWorld:
        """A world of its own."""
        return ReusingWorld(self)


class ReusingWorld(CountingWorld):
    """See `ReusingWorlds`."""

    factory: ReusingWorlds

    def __init__(self, factory: ReusingWorlds) -> None:
        super().__init__(factory)
        self.shown, self.taken = np.zeros(1, np.float32), 0

    def reset(self, seed: int | None) -> Observation:
        self.shown[:] = super().reset(seed)["state"]
        return {"state": self.shown}

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        observation, reward, terminated, truncated = super().step(action)
        self.taken += 1
        elsewhere = os.getpid() != self.factory.learner
        while elsewhere and self.taken == self.factory.hangs:
            time.sleep(1.0)
        self.shown[:] = np.nan if elsewhere and self.taken == self.factory.spoils else observation["state"]
        return {"state": self.shown}, reward, terminated, truncated


@dataclass(frozen=True)
class SleepingWorlds:
    """Makes worlds whose steps take time but no work: a simulator elsewhere.

    Args:
        seconds: of a step.
        pixels: side of a picture to show, three frames of three channels; 0 for a vector.
    """

    seconds: float
    pixels: int = 0

    def spaces(self) -> WorldSpaces:
        """A vector or a picture, two actions."""
        shapes: dict[str, tuple[int, ...]] = (
            {"pixels": (9, self.pixels, self.pixels)} if self.pixels else {"state": (8,)}
        )
        return WorldSpaces(shapes, ActionSpace("discrete", 2), 3 if self.pixels else 1)

    def make(self, drawn: bool = False) -> SleepingWorld:
        """A world of its own."""
        return SleepingWorld(self)


class SleepingWorld:
    """See `SleepingWorlds`; it never ends."""

    fps = 10.0
    epoch: int | None = None
    success: bool | None = None
    drawing = 0.0

    def __init__(self, factory: SleepingWorlds) -> None:
        self.factory = factory
        name, shape = next(iter(factory.spaces().observation.items()))
        self.shown = {name: np.zeros(shape, np.uint8 if name == "pixels" else np.float32)}

    def reset(self, seed: int | None) -> Observation:
        return self.shown

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        if self.factory.seconds:
            time.sleep(self.factory.seconds)
        return self.shown, 0.0, False, False

    def picture(self) -> NDArray[np.uint8]:
        return np.zeros((8, 8, 3), np.uint8)

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True)
class SpotWorlds:
    """Makes worlds that show a spot whose place is the action to take; the state is that place, the background may
    change.

    Args:
        steps: of an episode.
        look: `train`, in which the background is always the same, or `any`, in which each episode has another one.
        observe: `state`, `pixels` or `both`.
        frame_stack: observations joined.
    """

    steps: int = 8
    look: str = "train"
    observe: str = "both"
    frame_stack: int = 1
    side: ClassVar[int] = 16

    def spaces(self) -> WorldSpaces:
        """A picture of 16 x 16, the place, one action."""
        shapes: dict[str, tuple[int, ...]] = {"state": (1,), "pixels": (3, self.side, self.side)}
        stacked = FrameStack(self.frame_stack).shapes(shapes)
        spaces = WorldSpaces(stacked, ActionSpace("continuous", 1), self.frame_stack)
        return spaces if self.observe == "both" else spaces.only([self.observe])

    def make(self, drawn: bool = False) -> SpotWorld:
        """A world of its own."""
        return SpotWorld(self)


class SpotWorld:
    """See `SpotWorlds`. The reward is 1 less the distance of the action to the place; the spot is white."""

    fps = 10.0
    epoch: int | None = None
    success: bool | None = None
    drawing = 0.0

    def __init__(self, factory: SpotWorlds) -> None:
        self.factory, self.taken = factory, 0
        self.random, self.looks = np.random.default_rng(0), np.random.default_rng(1)
        self.background, self.stack = np.array([20, 30, 60]), FrameStack(factory.frame_stack)

    def _show(self) -> Observation:
        self.place = self.random.uniform(-0.9, 0.9)
        left = round((self.place + 1) / 2 * (self.factory.side - 4))
        self.drawn = np.empty((self.factory.side, self.factory.side, 3), np.uint8)
        self.drawn[:] = self.background
        self.drawn[6:10, left : left + 4] = 255
        place, pixels = np.array([self.place], np.float32), self.drawn.transpose(2, 0, 1)
        parts: dict[str, NDArray[Any]] = {"state": place, "pixels": pixels}
        return {name: parts[name] for name in self.factory.spaces().observation}

    def reset(self, seed: int | None) -> Observation:
        if seed is not None:
            self.random, self.looks = np.random.default_rng(seed), np.random.default_rng([1, seed])
        if self.factory.look == "any":  # drawn apart: places are the same in every look
            self.background = self.looks.integers(0, 200, 3)
        self.taken = 0
        return self.stack.begin(self._show())

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        self.taken += 1
        reward = 1.0 - abs(float(action[0]) - self.place)
        return self.stack.add(self._show()), reward, False, self.taken >= self.factory.steps

    def picture(self) -> NDArray[np.uint8]:
        return self.drawn

    def close(self) -> None:
        """Nothing to give back."""
