"""A few worlds that one process steps, one after the other: numpy in, numpy out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from visagent.envs.border import Border
from visagent.envs.world import Observation, World, WorldFactory


def make_all(factory: WorldFactory, count: int) -> list[World]:
    """`count` worlds of a factory, or none where one of them cannot be made."""
    worlds: list[World] = []
    try:
        for _ in range(count):
            worlds.append(factory.make())
    except BaseException:
        close_all(worlds)
        raise
    return worlds


def close_all(worlds: Sequence[World]) -> None:
    """Close worlds, all of them even if one cannot be closed."""
    with ExitStack() as stack:
        for world in worlds:
            stack.callback(world.close)


def empty_observations(shapes: Mapping[str, tuple[int, ...]], count: int) -> dict[str, NDArray[Any]]:
    """Arrays for the observations of `count` worlds, by part."""
    return {
        name: np.zeros((count, *shape), np.uint8 if name == "pixels" else np.float32) for name, shape in shapes.items()
    }


@dataclass(frozen=True)
class EpisodeEnd:
    """An episode that is over: its summed reward, its steps, its success, and the observation that no policy acted
    on.
    """

    index: int
    total_reward: float
    steps: int
    truncated: bool
    success: bool | None
    final_observation: Observation


class Episodes:
    """B worlds in step, each reset at once when its episode ends (same-step autoreset).

    Args:
        factory: makes them.
        count: B.
    """

    def __init__(self, factory: WorldFactory, count: int) -> None:
        self.worlds = make_all(factory, count)
        self.border = Border.of(factory, self.worlds[0])
        self.observation = empty_observations(self.border.shapes, count)
        self.max_steps: int | None = getattr(self.worlds[0], "max_steps", None)
        self.total_reward, self.steps = np.zeros(count), np.zeros(count, np.int64)

    def of_epoch(self, epoch: int) -> None:
        """Say which epoch of the training episodes that begin from now on belong to."""
        for world in self.worlds:
            world.epoch = epoch

    @property
    def drawing(self) -> float:
        """Seconds that all worlds have spent on drawing."""
        return sum(world.drawing for world in self.worlds)

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin everywhere; `observation` then holds the first observations."""
        for index, (world, seed) in enumerate(zip(self.worlds, seeds, strict=True)):
            self._show(index, self.border.reset(world, seed))
        self.total_reward[:], self.steps[:] = 0, 0

    def _show(self, index: int, observation: Observation) -> None:
        for name, part in observation.items():
            self.observation[name][index] = part

    def step(
        self, actions: NDArray[Any], reward: NDArray[Any], terminated: NDArray[Any], truncated: NDArray[Any]
    ) -> list[EpisodeEnd]:
        """Take one step everywhere.

        Args:
            actions: `[B]` or `[B, A]`.
            reward, terminated, truncated: `[B]`, written.

        Returns:
            The episodes that ended; `observation` shows the first observation of the next one there.

        Raises:
            WorldError: for what no world may return.
        """
        ended = []
        for index, world in enumerate(self.worlds):
            observation, gained, over, cut = self.border.step(world, actions[index])
            reward[index], terminated[index], truncated[index] = gained, over, cut and not over
            self.total_reward[index] += gained
            self.steps[index] += 1
            if over or cut:
                final = self.border.kept(observation)
                ended.append(
                    EpisodeEnd(
                        index,
                        float(self.total_reward[index]),
                        int(self.steps[index]),
                        cut and not over,
                        world.success,
                        final,
                    )
                )
                self.total_reward[index], self.steps[index] = 0, 0
                observation = self.border.reset(world, None)
            self._show(index, observation)
        self.border.require_finite(self.observation)
        return ended

    def close(self) -> None:
        """Close all worlds."""
        close_all(self.worlds)


class ManyEpisodes(Protocol):
    """The interface of `Episodes`, whoever steps the worlds."""

    observation: dict[str, NDArray[Any]]
    steps: NDArray[np.int64]
    max_steps: int | None

    @property
    def drawing(self) -> float:
        """Seconds that all worlds have spent on drawing."""
        ...

    def of_epoch(self, epoch: int) -> None:
        """See `Episodes.of_epoch`."""
        ...

    def reset(self, seeds: Sequence[int]) -> None:
        """See `Episodes.reset`."""
        ...

    def step(
        self, actions: NDArray[Any], reward: NDArray[Any], terminated: NDArray[Any], truncated: NDArray[Any]
    ) -> list[EpisodeEnd]:
        """See `Episodes.step`."""
        ...

    def close(self) -> None:
        """Close all worlds."""
        ...


def episodes_of(factory: WorldFactory, count: int) -> ManyEpisodes:
    """`count` worlds of a factory, stepped one by one, or together where the factory has a way of its own
    (`together(count)`).
    """
    own = getattr(factory, "together", None)
    return (None if own is None else own(count)) or Episodes(factory, count)
