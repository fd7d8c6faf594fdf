"""Any gymnasium environment with a vector, a picture or both as observation."""

from __future__ import annotations

import inspect
import logging
import os
import re
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils.passive_env_checker import env_reset_passive_checker, env_step_passive_checker
from numpy.typing import NDArray
from PIL import Image

from visagent.envs.border import WorldError, failed, finite
from visagent.envs.frames import FrameStack
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.envs.world import Observation
from visagent.errors import ConfigError
from visagent.headless import prefer_headless

log = logging.getLogger(__name__)
_CHECKED: set[str] = set()
"""Environments that gymnasium's checker has seen in this process."""


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
    def name(self) -> str:
        """In messages."""
        return f"datamodule.env.id={self.id}"

    @property
    def solved_return(self) -> float | None:
        """The return of an episode that gymnasium calls solved; None where it does not say, or where episodes have
        another length than it says it of.
        """
        registered = gymnasium.registry.get(self.id)
        return registered.reward_threshold if registered is not None and self.max_steps is None else None

    def spaces(self) -> WorldSpaces:
        """Shapes, from a world that is made, shown to gymnasium's checker where none of its kind was, and closed.

        Raises:
            ConfigError: see `make`.
            WorldError: when the environment is not gymnasium's of today.
        """
        world = self.make()
        try:
            kind = f"{self.id} {self.kwargs}"
            if kind not in _CHECKED:
                check(world.env.unwrapped, self.name)
                _CHECKED.add(kind)
        finally:
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
            # pygame, which draws the simple environments, asks for both
            for device in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
                os.environ.setdefault(device, "dummy")
        prefer_headless()
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*is not in the possible render_modes.*")  # said below
                env = gymnasium.make(self.id, max_episode_steps=self.max_steps, disable_env_checker=True, **kwargs)
        except Exception as error:
            raise ConfigError(
                f"datamodule.env.id={self.id}: gymnasium cannot make it ({type(error).__name__}: {error})"
            ) from error
        try:
            if kwargs.get("render_mode") == "rgb_array" and "rgb_array" not in env.metadata.get("render_modes", ()):
                raise ConfigError(
                    f"datamodule.env.id={self.id}: it cannot be drawn as an array; type datamodule.film_episodes=0 "
                    "datamodule.env.observe=own"
                )
            return GymnasiumWorld(env, self)
        except BaseException:
            env.close()
            raise


def check(env: gymnasium.Env[Any, Any], name: str) -> None:
    """Take a step of an environment under the eyes of gymnasium's own checker, whose advice is logged.

    Raises:
        WorldError: where it cannot be acted in.
    """
    taken = inspect.signature(env.reset).parameters.values()
    if not any(parameter.name == "seed" or parameter.kind == parameter.VAR_KEYWORD for parameter in taken):
        raise WorldError(
            f"{name}: expected reset(*, seed=None, options=None) as in gymnasium, got "
            f"reset{inspect.signature(env.reset)}, as before gym 0.26"
        )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            _returned(name, "reset", env_reset_passive_checker(env, seed=0), "(observation, info)", 2)
            env.action_space.seed(0)
            expected = "(observation, reward, terminated, truncated, info)"
            _returned(name, "step", env_step_passive_checker(env, env.action_space.sample()), expected, 5)
        except (AssertionError, gymnasium.error.Error) as error:
            raise WorldError(f"{name}: gymnasium's checker refuses it: {error}") from error
        except Exception as error:
            raise failed(name, "its first step", error) from error
    for message in dict.fromkeys(
        re.sub(r"\x1b\[\d+m", "", str(warning.message)) for warning in said if "WARN" in str(warning.message)
    ):
        log.warning("%s: gymnasium's checker says: %s", name, message)


def _returned(name: str, what: str, returned: Any, expected: str, count: int) -> None:
    if not isinstance(returned, tuple) or len(returned) != count:
        got = f"{len(returned)} values" if isinstance(returned, tuple) else type(returned).__name__
        raise WorldError(
            f"{name}: expected {what} to return {count} values, {expected}, as gymnasium's do; got {got}, as before "
            "gym 0.26"
        )


class GymnasiumWorld:
    """One gymnasium environment; see `GymnasiumWorlds`."""

    epoch: int | None = None
    drawing = 0.0

    def __init__(self, env: gymnasium.Env[Any, Any], factory: GymnasiumWorlds) -> None:
        self.env, self.factory = env, factory
        self.max_steps = None if env.spec is None else env.spec.max_episode_steps
        self.fps = float(env.metadata.get("render_fps", 30)) / factory.action_repeat
        self.stack = FrameStack(factory.frame_stack)
        self.info: Mapping[str, Any] = {}
        shapes: dict[str, tuple[int, ...]] = {}
        if factory.observe != "pixels":
            shapes |= self._own(env.observation_space)
            self.shape = env.observation_space.shape
        if factory.observe != "own":
            if "pixels" in shapes:
                raise ConfigError(
                    f"datamodule.env.observe={factory.observe}: {factory.id} observes pictures itself; type "
                    "datamodule.env.observe=own"
                )
            shapes["pixels"] = (3, factory.pixels, factory.pixels)
        self.spaces = WorldSpaces(self.stack.shapes(shapes), self._actions(env.action_space), factory.frame_stack)

    def _own(self, space: spaces.Space[Any]) -> dict[str, tuple[int, ...]]:
        if isinstance(space, spaces.Box) and len(space.shape) == 1:
            return {"state": space.shape}
        if isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == np.uint8:
            height, width, channels = space.shape
            self.channels_first = height < min(width, channels)  # as wrappers that stack frames leave them
            return {"pixels": space.shape if self.channels_first else (channels, height, width)}
        raise ConfigError(
            f"{self.factory.name}: expected observations of one vector or one uint8 picture [H, W, C] or [C, H, W], "
            f"got {space}"
        )

    def _actions(self, space: spaces.Space[Any]) -> ActionSpace:
        if isinstance(space, spaces.Discrete):
            self.first = int(space.start)
            return ActionSpace("discrete", int(space.n))
        if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.is_bounded():
            self.low, self.span = space.low.astype(np.float64), (space.high.astype(np.float64) - space.low) / 2
            self.dtype, self.whole = space.dtype, np.issubdtype(space.dtype, np.integer)
            return ActionSpace("continuous", space.shape[0])
        raise ConfigError(f"{self.factory.name}: expected Discrete or bounded one-dimensional Box actions, got {space}")

    def reset(self, seed: int | None) -> Observation:
        observation, _ = self.env.reset(seed=None if seed is None else seed % 2**32)
        return self.stack.begin(self._frame(observation))

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        given = self._action(action)
        total = 0.0
        for _ in range(self.factory.action_repeat):
            observation, reward, terminated, truncated, self.info = self.env.step(given)
            total += finite(self.factory.name, reward)
            if terminated or truncated:
                break
        return self.stack.add(self._frame(observation)), total, bool(terminated), bool(truncated)

    @property
    def success(self) -> bool | None:
        """What the environment says of it as `is_success` or `success`."""
        success = self.info.get("is_success", self.info.get("success"))
        return None if success is None else bool(success)

    def _action(self, action: NDArray[Any]) -> Any:
        if self.spaces.action.kind == "discrete":
            return int(action) + self.first
        if self.whole:  # each number has an equal part of the range
            return (
                self.low + np.minimum((np.clip(action, -1.0, 1.0) + 1.0) * (self.span + 0.5) // 1, 2 * self.span)
            ).astype(self.dtype)
        return (self.low + (np.clip(action, -1.0, 1.0) + 1.0) * self.span).astype(self.dtype)

    def _frame(self, observation: NDArray[Any]) -> dict[str, NDArray[Any]]:
        if self.factory.observe != "pixels":
            observation = np.asarray(observation)
            if observation.shape != self.shape:
                got = f"{list(observation.shape)} from the environment"
                raise WorldError(
                    f"{self.factory.name}: expected observations of shape {list(self.shape or ())}, as its "
                    f"observation_space says, got {got}"
                )
        if self.factory.observe == "own":
            if observation.ndim == 1:
                return {"state": observation}
            return {"pixels": observation if self.channels_first else observation.transpose(2, 0, 1)}
        side, began = self.factory.pixels, time.perf_counter()
        picture = np.asarray(Image.fromarray(self.picture()).resize((side, side), Image.Resampling.BOX))
        self.drawing += time.perf_counter() - began
        frame = {"pixels": picture.transpose(2, 0, 1)}
        return frame if self.factory.observe == "pixels" else {"state": observation, **frame}

    def picture(self) -> NDArray[np.uint8]:
        advice = "type datamodule.film_episodes=0 datamodule.env.observe=own"
        try:
            drawn: Any = self.env.render()
        except (gymnasium.error.Error, ImportError) as error:
            raise ConfigError(f"{self.factory.name}: it cannot be drawn ({error}); {advice}") from error
        if not isinstance(drawn, np.ndarray) or drawn.ndim != 3 or drawn.shape[2] != 3:
            got = f"an array {list(drawn.shape)}" if isinstance(drawn, np.ndarray) else type(drawn).__name__
            raise WorldError(
                f"{self.factory.name}: expected render() to return a picture [H, W, 3], got {got}; {advice}"
            )
        return drawn.astype(np.uint8, copy=False)

    def close(self) -> None:
        self.env.close()
