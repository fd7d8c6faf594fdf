"""Worlds that gymnasium steps together, each reset in the step in which its episode ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import concatenate, create_empty_array, iterate
from numpy.typing import NDArray

from visagent.envs.border import Border, WorldError, failed
from visagent.envs.episodes import EpisodeEnd, empty_observations
from visagent.envs.frames import FrameStack
from visagent.envs.gymnasium_spaces import (
    MASKS,
    Actions,
    Observations,
    masks_of,
    method_of,
    read_mask,
    spaces_of,
    success_of,
)
from visagent.envs.world import Observation
from visagent.errors import ConfigError

if TYPE_CHECKING:
    from visagent.envs.gymnasium_world import GymnasiumWorlds

TOGETHER = ("sync", "async", "vector_entry_point")
"""How gymnasium makes several environments one: one after the other, in processes, or as the environment's author
does it.
"""


class VectorEpisodes:
    """B worlds of one vector environment; see `visagent.envs.episodes.Episodes`.

    Args:
        factory: with its `vectorization`.
        count: B.

    Raises:
        ConfigError: when gymnasium cannot make it, or it does not reset in the step in which an episode ends
            (gymnasium's same-step autoreset): a step that does nothing but reset is nothing to learn from.
    """

    drawing = 0.0

    def __init__(self, factory: GymnasiumWorlds, count: int) -> None:
        self.factory, self.max_steps = factory, factory.max_steps
        self.epoch: int | None = None
        self.env = env = factory.make_vector(count)
        try:
            mode = env.metadata.get("autoreset_mode")
            if AutoresetMode(mode) is not AutoresetMode.SAME_STEP:
                raise ConfigError(
                    f"datamodule.env.vectorization={factory.vectorization}: expected worlds that are reset in the step "
                    f"in which an episode ends (autoreset mode SameStep), got {mode} of {factory.id}; type "
                    "datamodule.env.vectorization=sync, or give it the mode with datamodule.env.kwargs where it takes "
                    "one"
                )
            self.reads = Observations(factory.name, env.single_observation_space, factory.action_mask)
            self.actions = Actions(factory.name, env.single_action_space)
            self.spaces = spaces_of(factory, dict(self.reads.shapes), self.reads, self.actions)
        except BaseException:
            env.close()
            raise
        self.given: Any = create_empty_array(env.single_action_space, count)
        self.masks = [masks_of(self._masks_method(index)) for index in range(count)]
        self.answers: Sequence[Any] | None = None
        self.stacks = [FrameStack(factory.frame_stack) for _ in range(count)]
        self.border = Border(factory.name, self.spaces)
        self.observation = empty_observations(self.spaces.observation, count)
        self.total_reward, self.steps = np.zeros(count), np.zeros(count, np.int64)
        self.direct = self.reads.plain and factory.frame_stack == 1 and not factory.action_mask

    def _masks_method(self, index: int) -> Callable[[], Any] | None:
        """Asks an environment for its valid actions, wherever it is; None where it cannot be asked."""
        if (here := getattr(self.env, "envs", None)) is not None:
            return method_of(here[index], MASKS)
        asked = self.factory.action_mask and self.factory.vectorization == "async" and self._have_method
        return partial(self._asked, index) if asked else None

    @cached_property
    def _have_method(self) -> bool:
        """Whether those in other processes can be asked: one that could not would end with an error."""
        world = self.factory.make()
        try:
            return method_of(world.env, MASKS) is not None
        finally:
            world.close()

    def _asked(self, index: int) -> Any:
        """What an environment of another process says of its valid actions; all are asked at once."""
        if self.answers is None:
            try:
                self.answers = self.env.call(MASKS)  # type: ignore[attr-defined]
            except Exception as error:
                raise failed(self.factory.name, MASKS, error) from error
        return self.answers[index]

    def of_epoch(self, epoch: int) -> None:
        """Say which epoch of the training episodes that begin from now on belong to."""
        self.epoch = epoch

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin everywhere. An environment of its author's own draws for all of its parts from the first seed."""
        each = [seed % 2**32 for seed in seeds]
        own = self.factory.vectorization == "vector_entry_point"
        self.answers = None
        try:
            seed: Any = each[0] if own else each
            shown, infos = self.env.reset(seed=seed)
        except Exception as error:
            raise failed(self.factory.name, "reset", error) from error
        for index, row in enumerate(self._rows(shown)):
            frame = self.stacks[index].begin(self.reads.read(row))
            self._show(index, self._seen(index, frame, row, _row(infos, index)))
        self.total_reward[:], self.steps[:] = 0, 0
        self.border.require_finite(self.observation)

    def step(
        self, actions: NDArray[Any], reward: NDArray[Any], terminated: NDArray[Any], truncated: NDArray[Any]
    ) -> list[EpisodeEnd]:
        """Take one step everywhere; see `Episodes.step`."""
        space, self.answers = self.env.single_action_space, None
        given = concatenate(space, [self.actions.write(action) for action in actions], self.given)
        try:
            shown, gained, over, cut, infos = self.env.step(given)
        except Exception as error:
            raise failed(self.factory.name, "step", error) from error
        gained = np.asarray(gained, np.float64)
        if not np.isfinite(gained).all():
            raise WorldError(f"{self.factory.name}: expected finite rewards, got {gained}")
        if self.factory.clip_reward and self.epoch is not None:
            gained = np.sign(gained)
        reward[:], terminated[:], truncated[:] = gained, over, cut & ~over
        self.total_reward += gained
        self.steps += 1
        ended = over | cut
        ends = [self._end(int(index), infos, bool(truncated[index])) for index in np.flatnonzero(ended)]
        if self.direct:
            self.observation["state"][:] = shown
        else:
            for index, row in enumerate(self._rows(shown)):
                frame, stack = self.reads.read(row), self.stacks[index]
                joined = stack.begin(frame) if ended[index] else stack.add(frame)
                self._show(index, self._seen(index, joined, row, _row(infos, index)))
        self.border.require_finite(self.observation)
        return ends

    def _end(self, index: int, infos: Mapping[str, Any], truncated: bool) -> EpisodeEnd:
        if "final_obs" not in infos:
            raise WorldError(
                f"{self.factory.name}: expected final_obs in the info of a step in which an episode ends, as gymnasium "
                f"has it with same-step autoreset, got {', '.join(infos) or 'nothing'}"
            )
        final, info = infos["final_obs"][index], _row(infos.get("final_info", {}), index)
        seen = self._seen(index, self.stacks[index].add(self.reads.read(final)), final, info, over=True)
        end = EpisodeEnd(
            index,
            float(self.total_reward[index]),
            int(self.steps[index]),
            truncated,
            success_of(info),
            self.border.kept(seen),
        )
        self.total_reward[index], self.steps[index] = 0, 0
        return end

    def _rows(self, shown: Any) -> list[Any]:
        return list(iterate(self.env.observation_space, shown))

    def _seen(
        self, index: int, frame: dict[str, NDArray[Any]], shown: Any, info: Mapping[str, Any], over: bool = False
    ) -> Observation:
        if not self.factory.action_mask:
            return frame
        said = None if over and "action_mask" not in info else self.masks[index](shown, info)
        return {**frame, "mask": read_mask(self.factory.name, self.actions, said, over)}

    def _show(self, index: int, observation: Observation) -> None:
        for name, part in observation.items():
            self.observation[name][index] = part

    def close(self) -> None:
        """Close all worlds."""
        self.env.close()


def _row(infos: Mapping[str, Any], index: int) -> dict[str, Any]:
    """What one environment says, taken from the arrays of what all say; those named `_...` tell who said something."""
    row: dict[str, Any] = {}
    for name, value in infos.items():
        if name.startswith("_") or (f"_{name}" in infos and not infos[f"_{name}"][index]):
            continue
        row[name] = _row(value, index) if isinstance(value, Mapping) else value[index]
    return row
