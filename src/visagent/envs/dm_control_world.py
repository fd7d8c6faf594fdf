"""Tasks of the DeepMind Control Suite (Tassa et al. 2018): states, pictures or both."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visagent.envs.frames import FrameStack
from visagent.envs.look_data import StoredFilm, path_of, stored_colours, stored_films
from visagent.envs.looks import LOOKS, STORED, VIDEOS, Colours, colours_of, dressed, green_key
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.envs.world import Observation
from visagent.errors import ConfigError
from visagent.headless import prefer_headless, require_headless
from visagent.textures import DriftingFields

LOOK = 5
"""Tells the random numbers of looks from others of the same seed."""
FILM_SIDE = 240
"""Of the pictures that a person sees."""
SAMPLES = 4
"""Of a pixel, which keep thin parts of a small picture from vanishing."""
SKY_SIDE = 64
"""Of the sky's texture where drawing is fast: its six sides are most of a drawn world's memory and of a new look's
time.
"""
DRESSED = ("ball_in_cup", "cartpole", "cheetah", "finger", "reacher", "walker")
"""Domains that have looks."""


@dataclass(frozen=True)
class DMControlWorlds:
    """Makes worlds of a task of the suite.

    Args:
        domain, task: as in `dm_control.suite.load`.
        observe: `state`, the task's observables joined; `pixels`, a picture; `both`.
        pixels: side of the picture.
        camera: its number.
        render_quality: `reference` draws as the suite does; `fast` without shadows and reflections, several times
            faster. Scores of the two do not compare.
        max_steps: time limit in control steps, whatever `action_repeat`.
        action_repeat: control steps for each action; rewards add up.
        frame_stack: observations joined, the newest last.
        look: of `visagent.envs.looks.LOOKS`; colours and films of an episode follow from its seed.
        look_data: a folder of DMControl-GB's colours and films, from which looks of these names are drawn; None: they
            are made. See `visagent.envs.look_data`.
    """

    domain: str
    task: str
    observe: str = "state"
    pixels: int = 84
    camera: int = 0
    render_quality: str = "fast"
    max_steps: int = 1000
    action_repeat: int = 1
    frame_stack: int = 1
    look: str = "train"
    look_data: str | None = None

    def __post_init__(self) -> None:
        if self.look == "train":
            return
        if self.look not in LOOKS:
            raise ConfigError(f"a look of env=dm_control: expected one of {', '.join(LOOKS)}, got {self.look!r}")
        if self.domain not in DRESSED:
            raise ConfigError(
                f"look={self.look}: expected a domain that has looks, {', '.join(DRESSED)}, got {self.domain}"
            )
        if self.observe == "state":
            raise ConfigError(
                f"look={self.look}: expected worlds that show pictures, got the state alone; type "
                "datamodule.env.observe=pixels, or datamodule.test_looks=[]"
            )
        if self.stored:
            path_of(str(self.look_data), self.look)

    @property
    def stored(self) -> bool:
        """Whether its look is drawn from a user's files."""
        return self.look_data is not None and self.look in STORED

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"datamodule.env.domain={self.domain} datamodule.env.task={self.task}"

    def spaces(self) -> WorldSpaces:
        """Shapes, from a world that is made and closed."""
        world = self.make()
        world.close()
        return world.spaces

    def make(self, drawn: bool = False) -> DMControlWorld:
        """A world of its own.

        Raises:
            ConfigError: when dm_control is missing, or does not know the task or the camera.
            RenderingUnavailable: when pictures are asked for where nothing can be drawn.
        """
        return DMControlWorld(self, drawn)


def _suite() -> Any:
    """dm_control's suite, without the greetings of what it imports."""
    for chatty in ("OpenGL.acceleratesupport", "absl"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        return importlib.import_module("dm_control.suite")
    except ImportError as error:
        raise ConfigError(
            f"env=dm_control: dm_control cannot be imported ({error}); type pip install 'visagent[secant]'"
        ) from error


class DMControlWorld:
    """One environment of the suite; see `DMControlWorlds`."""

    epoch: int | None = None
    drawing = 0.0
    success: bool | None = None

    def __init__(self, factory: DMControlWorlds, drawn: bool) -> None:
        self.factory = factory
        drawn = drawn or factory.observe != "state"
        (require_headless if drawn else prefer_headless)()
        self.random = np.random.RandomState(0)
        self.env = self._load(_suite())
        self.steps = 0
        self.fps = 1.0 / (self.env.control_timestep() * factory.action_repeat)
        actions = self.env.action_spec()
        self.low, self.span = actions.minimum, (actions.maximum - actions.minimum) / 2
        self.film: Callable[[int], NDArray[np.uint8]] | None = None
        self.stored_colours: list[Colours] | None = None
        self.drawn = drawn
        if drawn:
            self._check_drawing()
            self._dress(np.random.default_rng(0))
        frame: dict[str, tuple[int, ...]] = {}
        if factory.observe != "pixels":
            size = sum(int(np.prod(spec.shape)) for spec in self.env.observation_spec().values())
            frame["state"] = (size,)
        if factory.observe != "state":
            frame["pixels"] = (3, factory.pixels, factory.pixels)
        self.stack = FrameStack(factory.frame_stack)
        self.spaces = WorldSpaces(
            self.stack.shapes(frame), ActionSpace("continuous", actions.shape[0]), factory.frame_stack
        )

    def _load(self, suite: Any) -> Any:
        factory = self.factory
        known = [f"{domain} {task}" for domain, task in suite.ALL_TASKS]
        if f"{factory.domain} {factory.task}" not in known:
            raise ConfigError(
                f"{factory.name}: expected a domain and a task of the suite, {', '.join(known)}; for example "
                "env=cartpole_swingup"
            )
        endless = {"random": self.random, "time_limit": float("inf")}  # the limit is ours
        return suite.load(factory.domain, factory.task, task_kwargs=endless)

    def _check_drawing(self) -> None:
        cameras = self.env.physics.model.ncam
        if self.factory.camera >= cameras:
            raise ConfigError(
                f"datamodule.env.camera: expected a camera of {self.factory.domain}, 0 to {cameras - 1}, got "
                f"{self.factory.camera}"
            )

    def _dress(self, rng: np.random.Generator) -> None:
        """Give the world an episode's look."""
        factory, physics = self.factory, self.env.physics
        fast = factory.render_quality == "fast"
        if factory.domain in DRESSED:
            domain = importlib.import_module(f"dm_control.suite.{factory.domain}")
            xml, assets = domain.get_model_and_assets()
            colours = self._colours(rng)
            dress = dressed(assets, colours, factory.look, SKY_SIDE if fast else None)
            physics.reload_from_xml_string(xml, dress)
        if fast:  # it must stand before the first picture
            physics.model.vis.quality.offsamples = SAMPLES
            physics.model.vis.quality.shadowsize = 0
        if factory.look in VIDEOS:
            self.film = self._new_film(rng)

    def _colours(self, rng: np.random.Generator) -> Colours:
        factory = self.factory
        if not factory.stored or factory.look in VIDEOS:
            return colours_of(factory.look, rng)
        if self.stored_colours is None:
            self.stored_colours = stored_colours(path_of(str(factory.look_data), factory.look))
        return self.stored_colours[int(rng.integers(len(self.stored_colours)))]

    def _new_film(self, rng: np.random.Generator) -> Callable[[int], NDArray[np.uint8]]:
        factory = self.factory
        if not factory.stored:
            return DriftingFields(rng, factory.pixels)
        films = stored_films(path_of(str(factory.look_data), factory.look))
        longest = factory.max_steps // factory.action_repeat + 2
        return StoredFilm(films[int(rng.integers(len(films)))], factory.pixels, longest)

    def reset(self, seed: int | None) -> Observation:
        if seed is not None:
            self.random.seed(seed % 2**32)
            self.looks = np.random.default_rng([LOOK, seed])
        # An evaluated episode has a seed; what begins after it is not looked at.
        if self.drawn and self.factory.look != "train" and (seed is not None or self.epoch is not None):
            self._dress(self.looks)
        self.steps = 0
        return self.stack.begin(self._frame(self.env.reset().observation))

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        given = self.low + (np.clip(action, -1.0, 1.0) + 1.0) * self.span
        total, over, cut = 0.0, False, False
        for _ in range(self.factory.action_repeat):
            moment = self.env.step(given)
            self.steps += 1
            total += float(moment.reward)
            over, cut = moment.last(), self.steps >= self.factory.max_steps
            if over or cut:
                break
        return self.stack.add(self._frame(moment.observation)), total, over, cut and not over

    def _frame(self, observation: Any) -> dict[str, NDArray[Any]]:
        frame: dict[str, NDArray[Any]] = {}
        if self.factory.observe != "pixels":
            frame["state"] = np.concatenate([np.ravel(part) for part in observation.values()]).astype(np.float32)
        if self.factory.observe != "state":
            began = time.perf_counter()
            frame["pixels"] = self._draw(self.factory.pixels).transpose(2, 0, 1)
            self.drawing += time.perf_counter() - began
        return frame

    def _draw(self, side: int) -> NDArray[np.uint8]:
        fast = self.factory.render_quality == "fast"
        flags = {"shadow": False, "reflection": False} if fast else None
        picture: NDArray[np.uint8] = self.env.physics.render(
            side, side, camera_id=self.factory.camera, render_flag_overrides=flags
        )
        if self.film is not None:
            behind = self.film(self.steps // self.factory.action_repeat)
            if side != self.factory.pixels:
                behind = np.asarray(Image.fromarray(behind).resize((side, side), Image.Resampling.BICUBIC))
            picture = np.where(green_key(picture)[..., None], behind, picture)
        return picture

    def picture(self) -> NDArray[np.uint8]:
        return self._draw(FILM_SIDE)

    def close(self) -> None:
        self.env.close()
        self.env.physics.free()
