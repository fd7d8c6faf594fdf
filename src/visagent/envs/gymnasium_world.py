"""Any gymnasium environment with a vector, a picture or both as observation."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from PIL import Image

from visagent.envs.episodes import Observation
from visagent.envs.frames import FrameStack
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
        observe: `own`, what the environment observes; `pixels`, its rendered picture; `both`.
        pixels: side of that picture.
        action_repeat: steps of the environment for each action; rewards add up.
        frame_stack: observations joined, the newest last; the first of an episode stands for those before it.
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    observe: str = "own"
    pixels: int = 84
    action_repeat: int = 1
    frame_stack: int = 1

    @property
    def solved_return(self) -> float | None:
        """The return of an episode that gymnasium calls solved; None where it does not say, or where episodes have another length than it says it of."""
        registered = gymnasium.registry.get(self.id)
        return registered.reward_threshold if registered is not None and self.max_steps is None else None

    def spaces(self) -> WorldSpaces:
        """Shapes, from a world that is made and closed."""
        world = self.make()
        world.close()
        return world.spaces

    def make(self, drawn: bool = False) -> GymnasiumWorld:
        """A world of its own.

        Raises:
            ConfigError: when gymnasium does not know or cannot make it, or its spaces are of other kinds.
        """
        kwargs = dict(self.kwargs)
        if drawn or self.observe != "own":
            kwargs.setdefault("render_mode", "rgb_array")
            for device in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # pygame, which draws the simple environments, asks for both
                os.environ.setdefault(device, "dummy")
        prefer_headless()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*is not in the possible render_modes.*")  # said below
                env = gymnasium.make(self.id, max_episode_steps=self.max_steps, disable_env_checker=True, **kwargs)
        except (gymnasium.error.Error, TypeError, ImportError) as error:
            raise ConfigError(f"datamodule.env.id={self.id}: gymnasium cannot make it ({error})") from error
        if kwargs.get("render_mode") == "rgb_array" and "rgb_array" not in env.metadata.get("render_modes", ()):
            raise ConfigError(f"datamodule.env.id={self.id}: it cannot be drawn as an array; type datamodule.film_episodes=0 datamodule.env.observe=own")
        return GymnasiumWorld(env, self)


class GymnasiumWorld:
    """One gymnasium environment; see `GymnasiumWorlds`."""

    epoch: int | None = None
    drawing = 0.0

    def __init__(self, env: gymnasium.Env[Any, Any], made: GymnasiumWorlds) -> None:
        self.env, self.made, self.name = env, made, made.id
        self.fps = float(env.metadata.get("render_fps", 30)) / made.action_repeat
        self.stack = FrameStack(made.frame_stack)
        self.info: Mapping[str, Any] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        if made.observe != "pixels":
            shapes |= self._own(env.observation_space)
        if made.observe != "own":
            if "pixels" in shapes:
                raise ConfigError(f"datamodule.env.observe={made.observe}: {made.id} observes pictures itself; type datamodule.env.observe=own")
            shapes["pixels"] = (3, made.pixels, made.pixels)
        self.spaces = WorldSpaces(self.stack.shapes(shapes), self._actions(env.action_space), made.frame_stack)

    def _own(self, space: spaces.Space[Any]) -> dict[str, tuple[int, ...]]:
        if isinstance(space, spaces.Box) and len(space.shape) == 1:
            return {"state": space.shape}
        if isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8:
            return {"pixels": (space.shape[2], *space.shape[:2])}
        raise ConfigError(f"datamodule.env.id={self.name}: expected observations of one vector or one uint8 picture [H, W, C], got {space}")

    def _actions(self, space: spaces.Space[Any]) -> ActionSpace:
        if isinstance(space, spaces.Discrete):
            self.first = int(space.start)
            return ActionSpace("discrete", int(space.n))
        if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.is_bounded():
            self.low, self.span = space.low.astype(np.float64), (space.high.astype(np.float64) - space.low) / 2
            self.dtype = space.dtype
            return ActionSpace("continuous", space.shape[0])
        raise ConfigError(f"datamodule.env.id={self.name}: expected Discrete or bounded one-dimensional Box actions, got {space}")

    def reset(self, seed: int | None) -> Observation:
        observation, _ = self.env.reset(seed=None if seed is None else seed % 2**32)
        return self.stack.begin(self._frame(observation))

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        given = self._action(action)
        total = 0.0
        for _ in range(self.made.action_repeat):
            observation, reward, terminated, truncated, self.info = self.env.step(given)
            total += float(reward)
            if terminated or truncated:
                break
        return self.stack.add(self._frame(observation)), total, bool(terminated), bool(truncated)

    @property
    def success(self) -> bool | None:
        """What the environment says of it as `is_success` or `success`."""
        found = self.info.get("is_success", self.info.get("success"))
        return None if found is None else bool(found)

    def _action(self, action: NDArray[Any]) -> Any:
        if self.spaces.action.kind == "discrete":
            return int(action) + self.first
        return (self.low + (np.clip(action, -1.0, 1.0) + 1.0) * self.span).astype(self.dtype)

    def _frame(self, observation: NDArray[Any]) -> dict[str, NDArray[Any]]:
        if self.made.observe == "own":
            return {"pixels": observation.transpose(2, 0, 1)} if observation.ndim == 3 else {"state": observation}
        side, began = self.made.pixels, time.perf_counter()
        picture = np.asarray(Image.fromarray(self.picture()).resize((side, side), Image.Resampling.BOX))
        self.drawing += time.perf_counter() - began
        frame = {"pixels": picture.transpose(2, 0, 1)}
        return frame if self.made.observe == "pixels" else {"state": observation, **frame}

    def picture(self) -> NDArray[np.uint8]:
        try:
            return np.asarray(self.env.render(), np.uint8)
        except (gymnasium.error.Error, ImportError) as error:
            raise ConfigError(f"datamodule.env.id={self.name}: it cannot be drawn ({error}); type datamodule.film_episodes=0 and observe=own") from error

    def close(self) -> None:
        self.env.close()
