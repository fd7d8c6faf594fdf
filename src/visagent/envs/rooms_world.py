"""A robot that looks for a lamp in a furnished room, by velocities (dissertation Section 5.5.5): our own rooms in place
of iGibson's, whose interface they have.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.envs.frames import FrameStack
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.envs.world import Observation
from visagent.errors import ConfigError
from visagent.scenes.layout import ROOM_TYPES, Room, build_room, touches
from visagent.scenes.render import SceneRenderer
from visagent.scenes.room_model import Lamp
from visagent.textures import coloured_field

HERTZ = 10.0
SPEED, TURN = 0.7, 90.0
"""At an action of 1: metres and degrees a second; a LoCoBot's."""
RADIUS, CAMERA, PITCH = 0.2, 1.0, 5.0
"""Of the robot, and of its camera: metres, metres, degrees upwards. The dissertation says nothing of them."""
GLOBE, HANGS = 0.25, 1.4
"""The lamp's radius and height, metres: a twentieth of the view from 1.4 metres."""
SHARE, IN_A_ROW = 0.05, 10
"""Success: more than this share of the pixels in so many steps in a row."""
GREY = (0.5, 0.5, 0.5)
FACE = 64
KEPT = 2
"""Rooms that a world keeps open."""


@dataclass(frozen=True)
class Place:
    """A room, and what it looks like.

    Attributes:
        kind: of `visagent.scenes.layout.ROOM_TYPES`.
        layout: seed of its furniture, where that stands and what colours it has.
        style: seed of walls, floor and whatever else.
        grey: whether the lamp is, as in training; else it has a pattern.
    """

    kind: str
    layout: int
    style: int
    grey: bool = False


def places(look: str) -> list[Place]:
    """The rooms of a look: one to train in; ten `easy` ones of the same kind, and ten `hard` ones of other kinds, which
    share neither furniture nor colours with it; `narrow`, for domain randomization, is the training's with other walls
    and floors, ten times.
    """
    first, *others = sorted(ROOM_TYPES, key=lambda kind: kind != "living_room")
    return {
        "train": [Place(first, 0, 0, True)],
        "narrow": [Place(first, 0, 100 + number, True) for number in range(10)],
        "easy": [Place(first, number, number) for number in range(1, 11)],
        "hard": [Place(others[number % len(others)], number, number) for number in range(11, 21)],
    }[look]


LOOKS = ("train", "narrow", "easy", "hard")


@dataclass(frozen=True)
class RoomsWorlds:
    """Makes worlds in which a robot looks for a lamp.

    Actions are the linear and the angular velocity, in [-1, 1]; the reward is the lamp's share of the pixels.

    Args:
        pixels: side of the picture.
        max_steps: time limit in steps of a tenth of a second.
        frame_stack: observations joined, the newest last.
        look: of `LOOKS`; an episode's room follows from its seed.
    """

    pixels: int = 84
    max_steps: int = 200
    frame_stack: int = 1
    look: str = "train"

    def __post_init__(self) -> None:
        if self.look not in LOOKS:
            raise ConfigError(f"a look of env=rooms: expected one of {', '.join(LOOKS)}, got {self.look!r}")

    @property
    def name(self) -> str:
        """Its name in messages."""
        return "env=rooms"

    def spaces(self) -> WorldSpaces:
        """Shapes."""
        frame: dict[str, tuple[int, ...]] = {"pixels": (3, self.pixels, self.pixels)}
        shapes = FrameStack(self.frame_stack).shapes(frame)
        return WorldSpaces(shapes, ActionSpace("continuous", 2), self.frame_stack)

    def make(self, drawn: bool = False) -> RoomsWorld:
        """A world of its own.

        Raises:
            RenderingUnavailable: where nothing can be drawn.
        """
        return RoomsWorld(self)


class RoomsWorld:
    """See `RoomsWorlds`. Poses are x and z in metres and a heading in degrees, 0 along z and 90 along x."""

    fps = HERTZ
    epoch: int | None = None
    drawing = 0.0

    def __init__(self, factory: RoomsWorlds) -> None:
        self.factory, self.spaces = factory, factory.spaces()
        self.stack = FrameStack(factory.frame_stack)
        self.random, self.scene = np.random.default_rng(0), 0
        self.open: OrderedDict[Place, tuple[Room, SceneRenderer]] = OrderedDict()
        self.steps = self.in_a_row = 0
        self.success: bool | None = False

    def _enter(self, place: Place) -> None:
        """Go to a room, which is furnished where it was not lately."""
        if place not in self.open:
            while len(self.open) >= KEPT:
                self.open.popitem(last=False)[1][1].close()
            room = build_room(place.kind, place.layout, place.layout)
            side = self.factory.pixels
            self.open[place] = room, SceneRenderer(room, place.style, side, side, _lamp(room, place))
        self.open.move_to_end(place)
        self.room, self.renderer = self.open[place]

    def reset(self, seed: int | None) -> Observation:
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.scene = self.scene + 1 if seed is None else seed
        there = places(self.factory.look)
        self._enter(there[self.scene % len(there)])
        self.x, self.z = free_place(self.room, self.random, RADIUS)
        self.heading = float(self.random.uniform(0.0, 360.0))
        self.steps = self.in_a_row = 0
        self.success = False
        return self.stack.begin(self._frame())

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        forward, turn = np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        self.heading = (self.heading + float(turn) * TURN / HERTZ) % 360.0
        angle, way = math.radians(self.heading), float(forward) * SPEED / HERTZ
        self._move(way * math.sin(angle), way * math.cos(angle))
        frame = self._frame()
        share = self.renderer.share_of_lamp()
        self.steps += 1
        self.in_a_row = self.in_a_row + 1 if share > SHARE else 0
        self.success = self.success or self.in_a_row >= IN_A_ROW
        return self.stack.add(frame), share, False, self.steps >= self.factory.max_steps

    def _move(self, along_x: float, along_z: float) -> None:
        """Move as far as nothing is in the way, and slide along what is."""
        for dx, dz in ((along_x, along_z), (along_x, 0.0), (0.0, along_z)):
            if not blocked(self.room, self.x + dx, self.z + dz):
                self.x, self.z = self.x + dx, self.z + dz
                return

    def _frame(self) -> dict[str, NDArray[Any]]:
        began = time.perf_counter()
        picture = self.renderer.frame(self.x, self.z, self.heading, CAMERA, PITCH)
        self.drawing += time.perf_counter() - began
        return {"pixels": picture.transpose(2, 0, 1)}

    def picture(self) -> NDArray[np.uint8]:
        return self.renderer.frame(self.x, self.z, self.heading, CAMERA, PITCH)

    def close(self) -> None:
        while self.open:
            self.open.popitem()[1][1].close()


def _lamp(room: Room, place: Place) -> Lamp:
    """Where nothing stands below, drawn from the layout's seed."""
    x, z = free_place(room, np.random.default_rng([place.layout, 5]), GLOBE)
    finish = GREY if place.grey else coloured_field(np.random.default_rng([place.style, 6]), FACE)
    return Lamp(x, z, HANGS, GLOBE, finish)


def free_place(room: Room, rng: np.random.Generator, radius: float) -> tuple[float, float]:
    """A place of the room's grid around which a disc touches nothing, metres."""
    order = rng.permutation(len(room.location))
    return next((float(x), float(z)) for x, z in room.location[order] if not blocked(room, float(x), float(z), radius))


def blocked(room: Room, x: float, z: float, radius: float = RADIUS) -> bool:
    """Whether a disc around a point, metres, touches a wall or what stands on the floor."""
    if not (radius <= x <= room.width - radius and radius <= z <= room.depth - radius):
        return True
    standing = [placed.footprint() for placed in room.placed if not placed.piece.flat and placed.piece.bottom == 0]
    if room.partition is not None:
        standing.append(room.partition)
    return any(touches(rectangle, x, z, radius) for rectangle in standing)
