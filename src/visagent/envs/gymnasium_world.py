"""Any gymnasium environment with a vector, a picture or both as observation."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from visagent.envs.episodes import Observation
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.errors import ConfigError
from visagent.headless import prefer_headless


@dataclass(frozen=True)
class GymnasiumWorlds:
    """Makes worlds from a gymnasium id.

    Args:
        id: as in `gymnasium.make`.
        kwargs: further arguments of `gymnasium.make`.
        max_steps: time limit in steps of the environment; None for its own.
        action_repeat: steps of the environment for each action; rewards add up.
        frame_stack: observations joined, the newest last; the first of an episode stands for those before it.
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    action_repeat: int = 1
    frame_stack: int = 1

    def spaces(self) -> WorldSpaces:
        """Shapes, from a world that is made and closed."""
        world = self.make()
        world.close()
        return world.spaces

    def make(self) -> GymnasiumWorld:
        """A world of its own.

        Raises:
            ConfigError: when gymnasium does not know or cannot make it, or its spaces are of other kinds.
        """
        prefer_headless()
        try:
            env = gymnasium.make(self.id, max_episode_steps=self.max_steps, disable_env_checker=True, **self.kwargs)
        except (gymnasium.error.Error, TypeError, ImportError) as error:
            raise ConfigError(f"datamodule.env.id={self.id}: gymnasium cannot make it ({error})") from error
        return GymnasiumWorld(env, self.id, self.action_repeat, self.frame_stack)


class GymnasiumWorld:
    """One gymnasium environment; see `GymnasiumWorlds`."""

    def __init__(self, env: gymnasium.Env[Any, Any], name: str, action_repeat: int, frame_stack: int) -> None:
        self.env, self.repeat, self.stack = env, action_repeat, frame_stack
        shapes = {part: self._stacked(part, box.shape) for part, box in self._parts(env.observation_space, name).items()}
        self.spaces = WorldSpaces(shapes, self._actions(env.action_space, name), frame_stack)
        self.frames: deque[NDArray[Any]] = deque(maxlen=frame_stack)

    @staticmethod
    def _parts(space: spaces.Space[Any], name: str) -> dict[str, spaces.Box]:
        if isinstance(space, spaces.Box) and len(space.shape) == 1:
            return {"state": space}
        if isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8:
            return {"pixels": space}
        raise ConfigError(f"datamodule.env.id={name}: expected observations of one vector or one uint8 picture [H, W, C], got {space}")

    def _stacked(self, part: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        if part == "pixels":
            return (shape[2] * self.stack, shape[0], shape[1])
        return (shape[0] * self.stack,)

    def _actions(self, space: spaces.Space[Any], name: str) -> ActionSpace:
        if isinstance(space, spaces.Discrete):
            self.first = int(space.start)
            return ActionSpace("discrete", int(space.n))
        if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.is_bounded():
            self.low, self.span = space.low.astype(np.float64), (space.high.astype(np.float64) - space.low) / 2
            self.dtype = space.dtype
            return ActionSpace("continuous", space.shape[0])
        raise ConfigError(f"datamodule.env.id={name}: expected Discrete or bounded one-dimensional Box actions, got {space}")

    def reset(self, seed: int | None) -> Observation:
        observation, _ = self.env.reset(seed=None if seed is None else seed % 2**32)
        self.frames.extend([observation] * self.stack)
        return self._observation()

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        given = self._action(action)
        total = 0.0
        for _ in range(self.repeat):
            observation, reward, terminated, truncated, _ = self.env.step(given)
            total += float(reward)
            if terminated or truncated:
                break
        self.frames.append(observation)
        return self._observation(), total, bool(terminated), bool(truncated)

    def _action(self, action: NDArray[Any]) -> Any:
        if self.spaces.action.kind == "discrete":
            return int(action) + self.first
        return (self.low + (np.clip(action, -1.0, 1.0) + 1.0) * self.span).astype(self.dtype)

    def _observation(self) -> Observation:
        if "pixels" in self.spaces.observation:
            return {"pixels": np.concatenate([frame.transpose(2, 0, 1) for frame in self.frames])}
        newest = self.frames[-1] if self.stack == 1 else np.concatenate(list(self.frames))
        return {"state": newest}

    def picture(self) -> NDArray[np.uint8]:
        return np.asarray(self.env.render(), np.uint8)

    def close(self) -> None:
        self.env.close()
