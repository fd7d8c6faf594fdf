"""Any gymnasium environment with a vector, a picture or both as observation."""

from __future__ import annotations

import inspect
import logging
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import gymnasium
import gymnasium.vector
import numpy as np
from gymnasium.utils.passive_env_checker import env_reset_passive_checker, env_step_passive_checker
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from PIL import Image

from visagent.envs.border import WorldError, failed, finite
from visagent.envs.demonstrated import Demonstrated
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
from visagent.envs.minari_data import demonstrated
from visagent.envs.spaces import WorldSpaces
from visagent.envs.vector_episodes import VectorEpisodes
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
        wrappers: `name` of one of gymnasium.wrappers or MODULE:CLASS, and its arguments, the innermost first.
        action_mask: the environment says which actions are valid, by `action_mask` in its observation or info, or by a
            method `action_masks()`.
        clip_reward: policies that learn are given the signs of rewards (Mnih et al. 2015); evaluated ones get them as
            they are.
        vectorization: how gymnasium steps several environments at once; `none`: not at all, see
            `visagent.envs.vector_episodes`.
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    max_steps: int | None = None
    observe: str = "own"
    pixels: int = 84
    action_repeat: int = 1
    frame_stack: int = 1
    wrappers: Sequence[Mapping[str, Any]] = ()
    action_mask: bool = False
    clip_reward: bool = False
    vectorization: str = "none"

    @property
    def name(self) -> str:
        """Its name in messages."""
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
        if self.vectorization != "none":
            together = self.together(1)
            assert together is not None
            together.close()
            return together.spaces
        world = self.make()
        try:
            kind = f"{self.id} {self.kwargs}"
            if kind not in _CHECKED:
                check(world)
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
        with self.making(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is not in the possible render_modes.*")  # said below
            env = gymnasium.make(self.id, max_episode_steps=self.max_steps, disable_env_checker=True, **kwargs)
        try:
            for wrap in self.wrapping():
                env = wrap(env)
            if kwargs.get("render_mode") == "rgb_array" and "rgb_array" not in env.metadata.get("render_modes", ()):
                raise ConfigError(
                    f"datamodule.env.id={self.id}: it cannot be drawn as an array; type datamodule.film_episodes=0 "
                    "datamodule.env.observe=own"
                )
            return GymnasiumWorld(env, self)
        except BaseException:
            env.close()
            raise

    def together(self, count: int) -> VectorEpisodes | None:
        """Worlds that gymnasium steps; None where they are stepped one by one.

        Raises:
            ConfigError: see `make`, and for settings that go with single ones alone.
        """
        if self.vectorization == "none":
            return None
        single = {"observe": "own", "action_repeat": 1}
        for name, expected in single.items():
            if getattr(self, name) != expected:
                raise ConfigError(
                    f"datamodule.env.{name}: expected {expected} where gymnasium steps several environments together, "
                    f"got {getattr(self, name)}; type datamodule.env.vectorization=none"
                )
        return VectorEpisodes(self, count)

    def demonstrated(self, name: str, episodes: int | None) -> Demonstrated:
        """Episodes of a data set of Minari; see `visagent.envs.minari_data.demonstrated`."""
        return demonstrated(self, name, episodes)

    def make_vector(self, count: int) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
        """A vector environment of gymnasium.

        Raises:
            ConfigError: when gymnasium does not know or cannot make it.
        """
        kwargs = dict(self.kwargs) | ({} if self.max_steps is None else {"max_episode_steps": self.max_steps})
        options: dict[str, Any] = {}
        if self.vectorization != "vector_entry_point":
            options = {"vector_kwargs": {"autoreset_mode": AutoresetMode.SAME_STEP}, "wrappers": self.wrapping()}
        elif self.wrappers:
            raise ConfigError(
                "datamodule.env.wrappers: expected [] where datamodule.env.vectorization=vector_entry_point, got "
                f"{[dict(said) for said in self.wrappers]}; type datamodule.env.vectorization=sync"
            )
        prefer_headless()
        with self.making():
            return gymnasium.make_vec(self.id, count, self.vectorization, **options, **kwargs)

    @contextmanager
    def making(self) -> Iterator[None]:
        """Say what gymnasium cannot make.

        Raises:
            ConfigError: for what it raises.
        """
        ale = self.id.startswith("ALE/")
        try:
            if ale:
                import_module("ale_py")  # which tells gymnasium of its games
            yield
        except ConfigError:  # of a wrapper
            raise
        except Exception as error:
            hint = "; pip install 'visagent[atari]'" if ale and isinstance(error, ImportError) else ""
            raise ConfigError(
                f"datamodule.env.id={self.id}: gymnasium cannot make it ({type(error).__name__}: {error}){hint}"
            ) from error

    def wrapping(self) -> list[Callable[[Any], Any]]:
        """What is put around an environment, the innermost first.

        Raises:
            ConfigError: for what is not there; what is returned raises it for arguments that a wrapper does not take.
        """
        return [self._wrapper(dict(said), number) for number, said in enumerate(self.wrappers)]

    def _wrapper(self, arguments: dict[str, Any], number: int) -> Callable[[Any], Any]:
        key, name = f"datamodule.env.wrappers[{number}]", str(arguments.pop("name", ""))
        module, _, attribute = name.rpartition(":")
        try:
            wrapper: Any = getattr(import_module(module or "gymnasium.wrappers"), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(
                f"{key}: expected name=NAME of gymnasium.wrappers, or MODULE:CLASS, got {name!r} ({error}); such as "
                "datamodule.env.wrappers=[{name:AtariPreprocessing,grayscale_newaxis:true}]"
            ) from error

        def wrap(env: Any) -> Any:
            try:
                return wrapper(env, **arguments)
            except Exception as error:  # others' code, each with errors of its own
                raise ConfigError(
                    f"{key}: {name} cannot be put around {self.id} ({type(error).__name__}: {error})"
                ) from error

        return wrap


def check(world: GymnasiumWorld) -> None:
    """Take a step of a world's environment, a valid one, under the eyes of gymnasium's own checker, whose advice is
    logged.

    Raises:
        WorldError: where it cannot be acted in.
    """
    env, name = world.env.unwrapped, world.factory.name
    taken = inspect.signature(env.reset).parameters.values()
    if not any(parameter.name == "seed" or parameter.kind == parameter.VAR_KEYWORD for parameter in taken):
        raise WorldError(
            f"{name}: expected reset(*, seed=None, options=None) as in gymnasium, got "
            f"reset{inspect.signature(env.reset)}, as before gym 0.26"
        )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            shown = env_reset_passive_checker(env, seed=0)
            _returned(name, "reset", shown, "(observation, info)", 2)
            env.action_space.seed(0)
            action = env.action_space.sample()
            # a wrapper may be what says which are valid: then any action is the environment's to bear
            if world.masks is not None and (valid := masks_of(method_of(env, MASKS))(*shown)) is not None:
                action = world.actions.write(world.actions.first_of(world.actions.mask(valid)))
            expected = "(observation, reward, terminated, truncated, info)"
            _returned(name, "step", env_step_passive_checker(env, action), expected, 5)
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
        self.reads = Observations(factory.name, env.observation_space, factory.action_mask)
        self.actions = Actions(factory.name, env.action_space)
        shapes = dict(self.reads.shapes) if factory.observe != "pixels" else {}
        if factory.observe != "own":
            if "pixels" in shapes:
                raise ConfigError(
                    f"datamodule.env.observe={factory.observe}: {factory.id} observes pictures itself; type "
                    "datamodule.env.observe=own"
                )
            shapes["pixels"] = (3, factory.pixels, factory.pixels)
        self.spaces = spaces_of(factory, shapes, self.reads, self.actions)
        self.masks = masks_of(method_of(env, MASKS)) if factory.action_mask else None

    def reset(self, seed: int | None) -> Observation:
        observation, self.info = self.env.reset(seed=None if seed is None else seed % 2**32)
        return self._with_mask(self.stack.begin(self._frame(observation)), observation, False)

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        given = self.actions.write(action)
        total = 0.0
        for _ in range(self.factory.action_repeat):
            observation, reward, terminated, truncated, self.info = self.env.step(given)
            total += finite(self.factory.name, reward)
            if terminated or truncated:
                break
        if self.factory.clip_reward and self.epoch is not None:
            total = float(np.sign(total))
        shown = self._with_mask(self.stack.add(self._frame(observation)), observation, terminated or truncated)
        return shown, total, bool(terminated), bool(truncated)

    @property
    def success(self) -> bool | None:
        """What the environment says of it as `is_success` or `success`."""
        return success_of(self.info)

    def _frame(self, observation: Any) -> dict[str, NDArray[Any]]:
        frame = self.reads.read(observation) if self.factory.observe != "pixels" else {}
        if self.factory.observe == "own":
            return frame
        side, began = self.factory.pixels, time.perf_counter()
        picture = np.asarray(Image.fromarray(self.picture()).resize((side, side), Image.Resampling.BOX))
        self.drawing += time.perf_counter() - began
        return {**frame, "pixels": picture.transpose(2, 0, 1)}

    def _with_mask(self, shown: dict[str, NDArray[Any]], observation: Any, over: bool) -> Observation:
        if self.masks is None:
            return shown
        return {**shown, "mask": read_mask(self.factory.name, self.actions, self.masks(observation, self.info), over)}

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
