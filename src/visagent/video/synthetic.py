"""Synthetic actions in time-reversal pairs: no single frame, and no bag of frames, tells the two of a pair apart.

The second action of a pair is the first one's clip played backwards, drawn with other random numbers, so that the
frames of both have the same distribution: a network that averages over frames is right in half of the cases at best.
Names follow Something-Something's templates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from visagent.seeding import derive_seed
from visagent.video.decode import Frames

FPS = 12
OBJECTS = ("box", "cup", "stone", "book", "shoe", "bottle")
SUPERSAMPLING = 2
Point = tuple[float, float]


@dataclass(frozen=True)
class Action:
    """An action: its template, and how a clip of it is drawn and in which direction played."""

    template: str
    scene: str
    backwards: bool

    @property
    def label(self) -> str:
        """The template without its brackets, the class's name in Something-Something."""
        return self.template.replace("[", "").replace("]", "")

    @property
    def camel(self) -> str:
        """Its name as UCF-101 and Kinetics would write it."""
        return "".join(word.capitalize() for word in self.label.split() if word != "something")

    @property
    def snake(self) -> str:
        """Its name as HMDB-51 would write it."""
        return "_".join(word.lower() for word in self.label.split() if word != "something")


ACTIONS = (
    Action("Covering [something] with [something]", "cover", False),
    Action("Uncovering [something]", "cover", True),
    Action("Moving [something] closer to the camera", "approach", False),
    Action("Moving [something] away from the camera", "approach", True),
    Action("Pushing [something] from left to right", "push", False),
    Action("Pushing [something] from right to left", "push", True),
    Action("Turning [something] clockwise", "turn", False),
    Action("Turning [something] counterclockwise", "turn", True),
)


@dataclass(frozen=True)
class Example:
    """One clip to be drawn: everything follows from it."""

    action: Action
    seed: int
    size: int

    def objects(self) -> list[str]:
        """What the placeholders of the template stand for."""
        rng = np.random.default_rng(derive_seed(self.seed, "objects"))
        return [str(name) for name in rng.choice(OBJECTS, self.action.template.count("["), replace=False)]

    def frames(self) -> Frames:
        """`[T, size, size, 3]`, T from 20 to 28."""
        rng = np.random.default_rng(derive_seed(self.seed, "frames"))
        count = int(rng.integers(20, 29))
        frames = _draw(SCENES[self.action.scene], count, self.size, rng)
        return frames[::-1] if self.action.backwards else frames


def examples(split: str, count: int, size: int, seed: int) -> list[Example]:
    """`count` clips, each action in turn; those of another split or seed have nothing in common with them."""
    return [Example(ACTIONS[index % len(ACTIONS)], derive_seed(seed, split, index), size) for index in range(count)]


# Drawing, in coordinates from 0 to 1

Colour = tuple[int, int, int]
Scene = Callable[[ImageDraw.ImageDraw, float, "Cast", float], None]


@dataclass(frozen=True)
class Cast:
    """What is the same in all frames of a clip."""

    shape: NDArray[np.float64]
    colour: Colour
    cloth: Colour
    radius: float
    angle: float
    place: Point
    travel: float


def _draw(scene: Scene, count: int, size: int, rng: np.random.Generator) -> Frames:
    big = size * SUPERSAMPLING
    background = _background(big, rng)
    drift, phase, sway = rng.uniform(-0.06, 0.06, 2), rng.uniform(0, 2 * np.pi, 2), rng.uniform(0, 0.015, 2)
    corners = int(rng.integers(3, 8))
    radii = rng.uniform(0.75, 1.0, corners + 1)
    radii[0] = 1.8  # a nose, so that turning can be seen
    turn = np.linspace(0, 2 * np.pi, corners + 1, endpoint=False)
    cast = Cast(
        np.stack([radii * np.cos(turn), radii * np.sin(turn)], axis=1),
        _colour(rng),
        _colour(rng),
        float(rng.uniform(0.12, 0.18)),
        float(rng.uniform(0, 2 * np.pi)),
        (float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.35, 0.65))),
        float(rng.uniform(0.8, 1.2)),
    )
    start, end = rng.uniform(0.0, 0.12), rng.uniform(0.88, 1.0)  # some stillness before and after
    frames = np.empty((count, size, size, 3), np.uint8)
    for index in range(count):
        moment = index / (count - 1)
        picture = background.copy()
        shift = drift * (moment - 0.5) + sway * np.sin(2 * np.pi * moment + phase)
        canvas = ImageDraw.Draw(picture)
        progress = float(np.clip((moment - start) / (end - start), 0, 1))
        jitter = rng.normal(0, 0.004, 2)
        moved = replace(
            cast, place=(cast.place[0] + float(shift[0] + jitter[0]), cast.place[1] + float(shift[1] + jitter[1]))
        )
        scene(canvas, progress, moved, float(big))
        small = np.asarray(picture.resize((size, size), Image.Resampling.BOX), np.float64)
        frames[index] = np.clip(small * rng.uniform(0.97, 1.03) + rng.normal(0, 4, small.shape), 0, 255).astype(
            np.uint8
        )
    return frames


def _colour(rng: np.random.Generator) -> Colour:
    red, green, blue = rng.integers(30, 256, 3).tolist()
    return (red, green, blue)


def _background(size: int, rng: np.random.Generator) -> Image.Image:
    coarse = rng.integers(70, 186, (int(rng.integers(2, 5)), int(rng.integers(2, 5)), 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    canvas = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(0, 4))):
        x, y, w, h = (rng.uniform(0, 1, 4) * np.array([1, 1, 0.2, 0.2]) * size).tolist()
        canvas.rectangle((x, y, x + w, y + h), fill=_colour(rng))
    return picture


def _polygon(canvas: ImageDraw.ImageDraw, cast: Cast, place: Point, radius: float, angle: float, size: float) -> None:
    cos, sin = np.cos(angle), np.sin(angle)
    points = cast.shape @ np.array([[cos, sin], [-sin, cos]]) * radius + np.asarray(place)
    canvas.polygon([(float(x) * size, float(y) * size) for x, y in points], fill=cast.colour, outline=(20, 20, 20))


def _push(canvas: ImageDraw.ImageDraw, progress: float, cast: Cast, size: float) -> None:
    x = cast.place[0] + (progress - 0.5) * 0.6 * cast.travel
    _polygon(canvas, cast, (x, cast.place[1]), cast.radius, cast.angle, size)


def _approach(canvas: ImageDraw.ImageDraw, progress: float, cast: Cast, size: float) -> None:
    _polygon(canvas, cast, cast.place, cast.radius * (0.45 + 1.5 * cast.travel * progress), cast.angle, size)


def _turn(canvas: ImageDraw.ImageDraw, progress: float, cast: Cast, size: float) -> None:
    _polygon(canvas, cast, cast.place, cast.radius * 1.3, cast.angle + (progress - 0.5) * 2.6 * cast.travel, size)


def _cover(canvas: ImageDraw.ImageDraw, progress: float, cast: Cast, size: float) -> None:
    _polygon(canvas, cast, cast.place, cast.radius, cast.angle, size)
    x, y = cast.place
    reach = cast.radius * 2.0
    top = y - reach + (progress - 1.0) * (y + 1.2 * reach)  # a cloth comes down from above
    canvas.rectangle(
        ((x - reach) * size, (top - 0.2) * size, (x + reach) * size, (top + 2 * reach) * size),
        fill=cast.cloth,
        outline=(20, 20, 20),
    )


SCENES: dict[str, Scene] = {"push": _push, "approach": _approach, "turn": _turn, "cover": _cover}
