"""Parametric furniture: each piece is a handful of boxes, cylinders and ellipsoids.

A piece stands in its own frame: the origin is the middle of its back edge on the floor, x runs along its width, y to its front,
z up; metres. Pieces that hang on a wall use the same frame with the origin on the wall.

What stands in which room, `visagent.scenes.layout.PROGRAMMES` says. A change of what is drawn counts up
`visagent.scenes.make.GENERATOR`, so that rooms in caches are made again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from visagent.scenes.textures import Colour, colour

Shape = Literal["box", "cylinder", "ellipsoid", "panel"]
Vector = tuple[float, float, float]
Finish = Colour | str


@dataclass(frozen=True)
class Part:
    """One primitive: `size` is the full extent (x, y, z) in metres; a `panel` is a thin picture facing the front (y)."""

    shape: Shape
    centre: Vector
    size: Vector
    finish: Finish


@dataclass(frozen=True)
class Piece:
    """A piece of furniture and the room it takes: width along the wall, depth from it, from `bottom` to `height`."""

    name: str
    width: float
    depth: float
    height: float
    parts: tuple[Part, ...]
    bottom: float = 0.0
    flat: bool = False


@dataclass
class Palette:
    """The colours of one room, drawn from the style seed."""

    rng: np.random.Generator
    wood: Colour = field(init=False)
    dark: Colour = (0.13, 0.12, 0.12)
    white: Colour = (0.93, 0.93, 0.91)
    metal: Colour = (0.66, 0.68, 0.7)
    cabinet: Colour = field(init=False)
    counter: Colour = field(init=False)
    fabric: Colour = field(init=False)
    cushion: Colour = field(init=False)
    bedding: Colour = field(init=False)

    def __post_init__(self) -> None:
        rng = self.rng
        self.wood = colour(rng.uniform(0.05, 0.1), rng.uniform(0.4, 0.65), rng.uniform(0.4, 0.75))
        self.cabinet = colour(rng.random(), rng.uniform(0.05, 0.4), rng.uniform(0.6, 0.92))
        self.counter = colour(rng.random(), 0.1, rng.uniform(0.25, 0.55))
        hue = rng.random()
        self.fabric = colour(hue, rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.65))
        self.cushion = colour(hue + rng.uniform(0.3, 0.6), 0.65, 0.8)
        self.bedding = colour(rng.random(), rng.uniform(0.25, 0.6), rng.uniform(0.55, 0.9))

    def any(self, saturation: float = 0.6, value: float = 0.7) -> Colour:
        """A fresh accent colour."""
        return colour(self.rng.random(), saturation, value)


def box(x: float, y: float, z: float, width: float, depth: float, height: float, finish: Finish) -> Part:
    """A box by the middle of its back-bottom edge: x centre, y back, z bottom."""
    return Part("box", (x, y + depth / 2, z + height / 2), (width, depth, height), finish)


def round_(x: float, y: float, z: float, diameter: float, height: float, finish: Finish) -> Part:
    """An upright cylinder by its axis (x, y) and bottom z."""
    return Part("cylinder", (x, y, z + height / 2), (diameter, diameter, height), finish)


def ball(x: float, y: float, z: float, width: float, depth: float, height: float, finish: Finish) -> Part:
    """An ellipsoid by its centre and full extents."""
    return Part("ellipsoid", (x, y, z), (width, depth, height), finish)


def panel(x: float, y: float, z: float, width: float, height: float, texture: str) -> Part:
    """A textured picture by its centre, its face at y."""
    return Part("panel", (x, y, z), (width, 0.01, height), texture)


def bed(p: Palette) -> Piece:
    width = float(p.rng.choice([1.0, 1.4, 1.7]))
    parts = [
        box(0, 0, 0, width, 0.08, float(p.rng.uniform(0.8, 1.2)), "wood"),
        box(0, 0.05, 0.08, width, 2.0, 0.22, "wood"),
        box(0, 0.08, 0.3, width - 0.06, 1.95, 0.18, p.white),
        box(0, 0.7, 0.36, width + 0.04, 1.36, 0.15, p.bedding),
        box(0, 0.62, 0.48, width - 0.04, 0.2, 0.04, p.white),
    ]
    spots = [-width / 4, width / 4] if width > 1.2 else [0.0]
    parts += [ball(x, 0.32, 0.52, 0.55, 0.36, 0.16, p.cushion if p.rng.random() < 0.3 else p.white) for x in spots]
    return Piece("bed", width, 2.06, 1.0, tuple(parts))


def nightstand(p: Palette) -> Piece:
    shade = p.any(0.35, 0.95)
    return Piece(
        "nightstand", 0.45, 0.42, 0.95,
        (
            box(0, 0, 0.05, 0.45, 0.4, 0.47, "wood"),
            box(0, 0.39, 0.3, 0.38, 0.015, 0.17, p.wood),
            box(0, 0.39, 0.1, 0.38, 0.015, 0.17, p.wood),
            round_(0, 0.2, 0.52, 0.06, 0.22, p.metal),
            round_(0, 0.2, 0.7, 0.24, 0.22, shade),
        ),
    )  # fmt: skip


def wardrobe(p: Palette) -> Piece:
    width, doors = [(1.0, 2), (1.5, 3), (1.8, 3)][int(p.rng.integers(3))]
    finish: Finish = "wood" if p.rng.random() < 0.5 else p.cabinet
    parts = [box(0, 0, 0, width, 0.58, 2.15, finish), box(0, 0, 2.15, width + 0.06, 0.62, 0.06, p.wood)]
    leaf = width / doors
    mirror = int(p.rng.integers(doors + 1))
    for index in range(doors):
        x = -width / 2 + leaf * (index + 0.5)
        parts.append(box(x, 0.575, 0.1, leaf - 0.03, 0.02, 1.98, (0.72, 0.8, 0.84) if index == mirror else finish))
        parts.append(box(x + leaf * 0.38, 0.6, 0.95, 0.025, 0.03, 0.25, p.metal))
    return Piece("wardrobe", width, 0.62, 2.2, tuple(parts))


def dresser(p: Palette) -> Piece:
    width, rows = float(p.rng.choice([0.8, 1.1, 1.4])), int(p.rng.integers(3, 5))
    parts = [box(0, 0, 0.06, width, 0.45, 0.79, "wood"), box(0, 0, 0.85, width + 0.04, 0.48, 0.03, p.wood)]
    step = 0.76 / rows
    front = p.cabinet if p.rng.random() < 0.5 else p.wood
    for row in range(rows):
        parts.append(box(0, 0.445, 0.08 + row * step, width - 0.05, 0.02, step - 0.03, front))
        parts += [
            ball(x, 0.475, 0.08 + (row + 0.45) * step, 0.04, 0.03, 0.04, p.metal) for x in (-width / 4, width / 4)
        ]
    parts += [
        round_(width / 3, 0.22, 0.88, 0.13, 0.26, p.any()),
        ball(width / 3, 0.22, 1.22, 0.26, 0.24, 0.26, p.any(0.7, 0.8)),
    ]
    parts += [
        box(-width / 4, 0.15, 0.88, 0.3, 0.2, 0.06, p.any()),
        box(-width / 4, 0.17, 0.94, 0.26, 0.17, 0.05, p.any()),
    ]
    return Piece("dresser", width, 0.48, 1.3, tuple(parts))


def chair_parts(p: Palette, x: float, y: float, front: int, seat: Finish) -> list[Part]:
    """A dining chair with its seat at (x, y); `front` is +1 or -1, the side the sitter looks to."""
    legs = [box(x + dx, y + dy - 0.02, 0, 0.04, 0.04, 0.44, "wood") for dx in (-0.17, 0.17) for dy in (-0.17, 0.17)]
    back = y - front * 0.19
    return [*legs, box(x, y - 0.2, 0.44, 0.42, 0.4, 0.05, seat), box(x, back - 0.02, 0.49, 0.4, 0.04, 0.45, "wood")]


def desk(p: Palette) -> Piece:
    width = float(p.rng.choice([1.1, 1.4]))
    parts = [
        box(0, 0, 0.72, width, 0.6, 0.04, "wood"),
        box(-width / 2 + 0.2, 0.05, 0, 0.36, 0.5, 0.72, p.cabinet),
        box(width / 2 - 0.04, 0.05, 0, 0.05, 0.5, 0.72, "wood"),
        box(0.1, 0.15, 0.76, 0.2, 0.16, 0.03, p.dark),
        box(0.1, 0.2, 0.85, 0.56, 0.03, 0.34, p.dark),
        panel(0.1, 0.235, 1.02, 0.52, 0.3, "art1"),
        box(0.1, 0.4, 0.76, 0.4, 0.13, 0.02, p.white),
        box(-width / 2 + 0.2, 0.12, 0.76, 0.24, 0.3, 0.09, p.any()),
        *chair_parts(p, 0.12, 0.72, -1, p.cushion),
    ]
    return Piece("desk", width, 0.95, 1.25, tuple(parts))


def bookshelf(p: Palette) -> Piece:
    width, shelves = float(p.rng.choice([0.8, 1.2])), int(p.rng.integers(4, 6))
    parts = [
        box(0, 0, 0, width, 0.02, 1.95, p.wood),
        box(-width / 2 + 0.02, 0, 0, 0.04, 0.34, 1.95, "wood"),
        box(width / 2 - 0.02, 0, 0, 0.04, 0.34, 1.95, "wood"),
    ]
    step = 1.9 / shelves
    for row in range(shelves + 1):
        parts.append(box(0, 0, row * step, width - 0.06, 0.34, 0.035, "wood"))
    for row in range(shelves):
        share = float(p.rng.uniform(0.5, 0.95))
        span = (width - 0.1) * share
        left = -width / 2 + 0.05 + span / 2
        parts.append(box(left, 0.05, row * step + 0.04, span, 0.2, step * 0.72, p.dark))
        parts.append(
            panel(left, 0.265, row * step + 0.04 + step * 0.36, span, step * 0.72, f"books{int(p.rng.integers(3))}")
        )
        if share < 0.75:
            parts.append(ball(width / 2 - 0.16, 0.2, row * step + 0.14, 0.16, 0.14, 0.2, p.any()))
    return Piece("bookshelf", width, 0.36, 2.0, tuple(parts))


def sofa(p: Palette) -> Piece:
    width = float(p.rng.choice([1.6, 1.9, 2.2]))
    parts = [
        box(0, 0, 0.08, width, 0.85, 0.3, p.fabric),
        box(0, 0, 0.3, width, 0.25, 0.52, p.fabric),
        box(-width / 2 + 0.1, 0, 0.1, 0.2, 0.87, 0.5, p.fabric),
        box(width / 2 - 0.1, 0, 0.1, 0.2, 0.87, 0.5, p.fabric),
    ]
    seats = 2 if width < 2 else 3
    span = (width - 0.4) / seats
    light = tuple(min(1.0, c * 1.15) for c in p.fabric)
    for seat in range(seats):
        x = -width / 2 + 0.2 + span * (seat + 0.5)
        parts.append(box(x, 0.24, 0.38, span - 0.02, 0.6, 0.1, (light[0], light[1], light[2])))
    parts += [ball(x, 0.33, 0.62, 0.4, 0.18, 0.36, p.cushion) for x in (-width / 3.2, width / 3.2)]
    return Piece("sofa", width, 0.88, 0.85, tuple(parts))


def armchair(p: Palette) -> Piece:
    fabric = p.any(0.5, 0.55)
    return Piece(
        "armchair", 0.85, 0.85, 0.9,
        (
            box(0, 0, 0.1, 0.85, 0.82, 0.3, fabric),
            box(0, 0, 0.3, 0.85, 0.22, 0.6, fabric),
            box(-0.34, 0, 0.1, 0.16, 0.84, 0.5, fabric),
            box(0.34, 0, 0.1, 0.16, 0.84, 0.5, fabric),
            ball(0, 0.4, 0.52, 0.45, 0.4, 0.16, p.cushion),
        ),
    )  # fmt: skip


def television(p: Palette) -> Piece:
    width = float(p.rng.choice([1.4, 1.8]))
    parts = [box(0, 0, 0.05, width, 0.42, 0.42, "wood"), box(0, 0.12, 0.47, 0.4, 0.2, 0.04, p.dark)]
    parts += [box(x, 0.415, 0.1, width / 3 - 0.04, 0.02, 0.32, p.cabinet) for x in (-width / 3, 0, width / 3)]
    parts += [box(0, 0.18, 0.53, 1.15, 0.05, 0.66, p.dark), panel(0, 0.235, 0.86, 1.08, 0.6, "art0")]
    return Piece("television", width, 0.44, 1.2, tuple(parts))


def fireplace(p: Palette) -> Piece:
    stone = colour(0.05, 0.15, float(p.rng.uniform(0.5, 0.75)))
    return Piece(
        "fireplace", 1.5, 0.5, 2.6,
        (
            box(-0.55, 0, 0, 0.4, 0.45, 1.1, stone),
            box(0.55, 0, 0, 0.4, 0.45, 1.1, stone),
            box(0, 0, 0.75, 1.5, 0.45, 0.35, stone),
            box(0, 0, 0, 0.7, 0.12, 0.75, (0.07, 0.06, 0.06)),
            box(0, 0.15, 0.0, 0.5, 0.2, 0.12, (0.25, 0.14, 0.08)),
            ball(0, 0.25, 0.22, 0.34, 0.12, 0.3, (0.98, 0.55, 0.12)),
            box(0, 0, 1.1, 1.6, 0.5, 0.07, "wood"),
            box(0, 0, 1.17, 1.0, 0.3, 1.43, stone),
            panel(0, 0.31, 1.75, 0.7, 0.6, "art2"),
        ),
    )  # fmt: skip


def piano(p: Palette) -> Piece:
    black = (0.09, 0.07, 0.07) if p.rng.random() < 0.5 else (0.33, 0.17, 0.1)
    return Piece(
        "piano", 1.45, 0.95, 1.2,
        (
            box(0, 0, 0, 1.45, 0.35, 1.2, black),
            box(0, 0.3, 0.62, 1.45, 0.3, 0.12, black),
            box(0, 0.38, 0.74, 1.3, 0.16, 0.02, p.white),
            box(0, 0.38, 0.755, 1.3, 0.09, 0.02, (0.05, 0.05, 0.05)),
            panel(0, 0.36, 0.98, 0.4, 0.28, "books1"),
            box(0, 0.62, 0.42, 0.8, 0.32, 0.07, p.cushion),
            box(-0.35, 0.65, 0, 0.05, 0.26, 0.42, black),
            box(0.35, 0.65, 0, 0.05, 0.26, 0.42, black),
        ),
    )  # fmt: skip


def plant(p: Palette) -> Piece:
    green = colour(float(p.rng.uniform(0.24, 0.38)), 0.6, float(p.rng.uniform(0.35, 0.6)))
    parts = [round_(0, 0.22, 0, 0.36, 0.4, p.any(0.45, 0.6)), round_(0, 0.22, 0.4, 0.05, 0.4, (0.35, 0.25, 0.15))]
    for _ in range(5):
        x, y, z = p.rng.uniform(-0.14, 0.14), p.rng.uniform(0.12, 0.32), p.rng.uniform(0.75, 1.45)
        size = p.rng.uniform(0.25, 0.4)
        shade = float(p.rng.uniform(0.8, 1.2))
        parts.append(ball(x, y, z, size, size, size * 1.1, (green[0] * shade, green[1] * shade, green[2] * shade)))
    return Piece("plant", 0.45, 0.45, 1.6, tuple(parts))


def floor_lamp(p: Palette) -> Piece:
    parts = (
        round_(0, 0.2, 0, 0.3, 0.03, p.dark),
        round_(0, 0.2, 0, 0.04, 1.5, p.metal),
        round_(0, 0.2, 1.45, 0.38, 0.3, p.any(0.3, 1.0)),
    )
    return Piece("floor lamp", 0.4, 0.4, 1.75, parts)


def coffee_table(p: Palette) -> Piece:
    parts = [box(0, 0, 0.36, 1.0, 0.55, 0.05, "wood"), box(0, 0.05, 0.12, 0.9, 0.45, 0.03, p.wood)]
    parts += [box(x, y, 0, 0.06, 0.06, 0.36, "wood") for x in (-0.45, 0.45) for y in (0.02, 0.47)]
    parts += [round_(0.2, 0.25, 0.41, 0.2, 0.1, p.any()), box(-0.25, 0.15, 0.41, 0.28, 0.2, 0.04, p.any())]
    return Piece("coffee table", 1.0, 0.55, 0.55, tuple(parts))


def dining_table(p: Palette) -> Piece:
    width = float(p.rng.choice([1.2, 1.6]))
    seat = p.any(0.5, 0.6)
    parts = [box(0, 0.42, 0.72, width, 0.86, 0.05, "wood")]
    parts += [
        box(x, y, 0, 0.07, 0.07, 0.72, "wood") for x in (-width / 2 + 0.08, width / 2 - 0.08) for y in (0.47, 1.17)
    ]
    for x in (-width / 4, width / 4):
        parts += chair_parts(p, x, 0.24, 1, seat) + chair_parts(p, x, 1.46, -1, seat)
    parts += [round_(0, 0.85, 0.77, 0.14, 0.22, p.any()), ball(0, 0.85, 1.08, 0.3, 0.3, 0.28, p.any(0.75, 0.8))]
    parts += [round_(x, 0.62, 0.77, 0.22, 0.02, p.white) for x in (-width / 3, width / 3)]
    return Piece("dining table", width, 1.7, 1.2, tuple(parts))


def bathtub(p: Palette) -> Piece:
    parts = (
        box(0, 0, 0, 1.7, 0.75, 0.1, p.white),
        box(0, 0, 0, 1.7, 0.07, 0.56, p.white),
        box(0, 0.68, 0, 1.7, 0.07, 0.56, p.white),
        box(-0.8, 0, 0, 0.1, 0.75, 0.56, p.white),
        box(0.8, 0, 0, 0.1, 0.75, 0.56, p.white),
        box(0, 0.07, 0.3, 1.5, 0.61, 0.03, (0.62, 0.8, 0.88)),
        round_(0.7, 0.2, 0.56, 0.05, 0.2, p.metal),
        box(0.7, 0.2, 0.72, 0.04, 0.2, 0.04, p.metal),
        box(-0.5, 0.67, 0.3, 0.5, 0.1, 0.28, p.any()),
    )
    return Piece("bathtub", 1.7, 0.76, 0.62, parts)


def shower(p: Palette) -> Piece:
    glass = (0.7, 0.84, 0.88)
    parts = [box(0, 0, 0, 0.9, 0.9, 0.12, p.white)]
    parts += [box(x, 0.86, 0.12, 0.04, 0.04, 1.85, p.metal) for x in (-0.43, 0.43)]
    parts += [box(x, 0.43, 0.12, 0.02, 0.86, 1.8, glass) for x in (-0.43, 0.43)]
    parts += [
        box(0, 0.86, 1.93, 0.9, 0.04, 0.04, p.metal),
        round_(0, 0.12, 0.9, 0.03, 1.1, p.metal),
        round_(0, 0.25, 1.98, 0.2, 0.03, p.metal),
    ]
    parts += [box(-0.22, 0.87, 0.15, 0.4, 0.02, 1.78, p.any(0.5, 0.75))]
    return Piece("shower", 0.92, 0.92, 2.05, tuple(parts))


def toilet(p: Palette) -> Piece:
    parts = (
        box(0, 0, 0.38, 0.4, 0.18, 0.4, p.white),
        box(0, 0.05, 0, 0.24, 0.4, 0.36, p.white),
        ball(0, 0.4, 0.36, 0.38, 0.5, 0.2, p.white),
        round_(0, 0.4, 0.42, 0.36, 0.03, p.any(0.3, 0.85)),
        ball(0, 0.09, 0.8, 0.06, 0.04, 0.04, p.metal),
    )
    return Piece("toilet", 0.5, 0.66, 0.8, parts)


def washbasin(p: Palette) -> Piece:
    width = float(p.rng.choice([0.7, 1.0, 1.3]))
    parts = (
        box(0, 0, 0.12, width, 0.44, 0.66, p.cabinet),
        box(-width / 4, 0.435, 0.18, width / 2 - 0.04, 0.02, 0.54, p.wood),
        box(width / 4, 0.435, 0.18, width / 2 - 0.04, 0.02, 0.54, p.wood),
        box(0, 0, 0.78, width + 0.02, 0.48, 0.08, p.white),
        ball(0, 0.27, 0.86, 0.44, 0.3, 0.05, (0.75, 0.8, 0.84)),
        round_(0, 0.08, 0.86, 0.04, 0.18, p.metal),
        box(0, 0.08, 1.02, 0.03, 0.16, 0.03, p.metal),
        round_(width / 2 - 0.1, 0.2, 0.86, 0.08, 0.16, p.any()),
        box(0, 0, 1.15, width, 0.05, 0.75, p.wood),
        panel(0, 0.06, 1.525, width - 0.08, 0.67, "mirror"),
    )
    return Piece("washbasin", width, 0.48, 1.9, parts)


def washing_machine(p: Palette) -> Piece:
    parts = (
        box(0, 0, 0, 0.6, 0.58, 0.85, p.white),
        ball(0, 0.585, 0.42, 0.38, 0.06, 0.38, (0.25, 0.3, 0.35)),
        box(0, 0.575, 0.74, 0.56, 0.02, 0.08, p.dark),
        round_(0.12, 0.3, 0.85, 0.24, 0.28, p.any()),
    )
    return Piece("washing machine", 0.62, 0.62, 1.1, parts)


def laundry_basket(p: Palette) -> Piece:
    parts = (round_(0, 0.22, 0, 0.4, 0.55, p.any(0.45, 0.65)), ball(0, 0.22, 0.55, 0.36, 0.36, 0.16, p.any(0.3, 0.9)))
    return Piece("laundry basket", 0.44, 0.44, 0.65, parts)


def towel_cabinet(p: Palette) -> Piece:
    parts = [box(0, 0, 0, 0.5, 0.35, 1.85, p.cabinet), box(0, 0.34, 0.05, 0.44, 0.02, 0.8, p.wood)]
    parts += [box(0, 0.2, 0.98 + 0.28 * row, 0.4, 0.17, 0.16, p.any(0.4, 0.85)) for row in range(3)]
    return Piece("towel cabinet", 0.5, 0.38, 1.9, tuple(parts))


def kitchen_counter(p: Palette) -> Piece:
    """A run of base cabinets with worktop, wall cabinets and one of: sink, hob with oven, plain worktop."""
    units = int(p.rng.integers(2, 5))
    width = 0.6 * units
    parts = [
        box(0, 0.05, 0, width, 0.5, 0.1, p.dark),
        box(0, 0, 0.1, width, 0.58, 0.76, p.cabinet),
        box(0, 0, 0.86, width + 0.02, 0.63, 0.04, p.counter),
    ]
    for unit in range(units):
        x = -width / 2 + 0.6 * (unit + 0.5)
        if p.rng.random() < 0.4:
            parts += [box(x, 0.575, 0.14 + 0.235 * row, 0.56, 0.02, 0.21, p.cabinet) for row in range(3)]
            parts += [box(x, 0.6, 0.3 + 0.235 * row, 0.2, 0.02, 0.025, p.metal) for row in range(3)]
        else:
            parts += [
                box(x, 0.575, 0.14, 0.56, 0.02, 0.68, p.wood),
                box(x + 0.22, 0.6, 0.6, 0.025, 0.025, 0.16, p.metal),
            ]
    kind = int(p.rng.integers(3))
    if kind == 0:
        parts += [
            box(0, 0.14, 0.895, 0.55, 0.36, 0.012, (0.45, 0.48, 0.5)),
            round_(0, 0.1, 0.9, 0.04, 0.3, p.metal),
            box(0, 0.1, 1.17, 0.03, 0.2, 0.03, p.metal),
        ]
        top = "window"
    elif kind == 1:
        parts += [
            box(0, 0.06, 0.9, 0.58, 0.5, 0.012, p.dark),
            box(0, 0.58, 0.14, 0.56, 0.03, 0.6, (0.2, 0.2, 0.22)),
            box(0, 0.61, 0.68, 0.44, 0.03, 0.03, p.metal),
        ]
        parts += [round_(x, y, 0.912, 0.18, 0.008, (0.35, 0.33, 0.33)) for x in (-0.14, 0.14) for y in (0.18, 0.42)]
        parts += [
            round_(0.14, 0.42, 0.92, 0.2, 0.14, p.any()),
            box(0, 0, 1.55, 0.6, 0.42, 0.14, p.metal),
            box(0, 0, 1.69, 0.26, 0.26, 0.7, p.metal),
        ]
        top = "hood"
    else:
        parts += [round_(-0.2, 0.2, 0.9, 0.14, 0.24, p.any()), box(0.15, 0.12, 0.9, 0.3, 0.2, 0.2, p.any(0.5, 0.6))]
        top = "cabinets"
    for unit in range(units):
        x = -width / 2 + 0.6 * (unit + 0.5)
        if top == "cabinets" or abs(x) > 0.35:
            parts += [
                box(x, 0, 1.45, 0.59, 0.33, 0.7, p.cabinet),
                box(x, 0.325, 1.48, 0.54, 0.02, 0.64, p.wood if (unit % 2) else p.cabinet),
            ]
        if abs(x) > 0.4:
            parts.append(round_(x, 0.25, 0.9, float(p.rng.uniform(0.08, 0.2)), float(p.rng.uniform(0.1, 0.3)), p.any()))
    return Piece("kitchen counter", width, 0.63, 2.2, tuple(parts))


def fridge(p: Palette) -> Piece:
    skin = p.metal if p.rng.random() < 0.5 else p.any(0.35, 0.75)
    parts = (
        box(0, 0, 0, 0.7, 0.62, 1.85, skin),
        box(0, 0.615, 0.62, 0.68, 0.05, 1.21, skin),
        box(0, 0.615, 0.04, 0.68, 0.05, 0.55, skin),
        box(-0.27, 0.665, 0.75, 0.03, 0.04, 0.5, p.dark),
        box(-0.27, 0.665, 0.3, 0.03, 0.04, 0.25, p.dark),
        panel(0.1, 0.68, 1.35, 0.24, 0.3, "art3"),
    )
    return Piece("fridge", 0.72, 0.7, 1.9, parts)


def island(p: Palette) -> Piece:
    parts = [box(0, 0, 0, 1.5, 0.75, 0.86, p.cabinet), box(0, -0.03, 0.86, 1.6, 0.85, 0.05, "wood")]
    parts += [box(x, 0.745, 0.1, 0.45, 0.02, 0.7, p.wood) for x in (-0.5, 0, 0.5)]
    parts += [
        round_(0.4, 0.4, 0.91, 0.3, 0.1, p.any()),
        ball(0.4, 0.4, 1.02, 0.22, 0.22, 0.14, (0.9, 0.5, 0.15)),
        box(-0.4, 0.3, 0.91, 0.35, 0.25, 0.03, p.wood),
    ]
    return Piece("island", 1.6, 0.85, 1.1, tuple(parts))


def pantry(p: Palette) -> Piece:
    parts = [
        box(0, 0, 0, 0.8, 0.55, 2.1, p.cabinet),
        box(-0.2, 0.545, 0.05, 0.38, 0.02, 2.0, "wood"),
        box(0.2, 0.545, 0.05, 0.38, 0.02, 2.0, "wood"),
    ]
    parts += [box(x, 0.57, 1.0, 0.025, 0.03, 0.3, p.metal) for x in (-0.05, 0.05)]
    return Piece("pantry", 0.8, 0.58, 2.1, tuple(parts))


# What hangs on a wall. `bottom` keeps it above furniture that is lower.


def door(p: Palette) -> Piece:
    leaf = p.any(0.3, 0.8) if p.rng.random() < 0.5 else p.wood
    parts = [box(0, 0, 0, 1.02, 0.04, 2.12, p.white), box(0, 0.02, 0, 0.86, 0.04, 2.03, leaf)]
    dim = (leaf[0] * 0.8, leaf[1] * 0.8, leaf[2] * 0.8)
    parts += [box(0, 0.055, z, 0.6, 0.012, 0.7, dim) for z in (0.2, 1.1)]
    parts += [ball(0.34, 0.1, 1.02, 0.07, 0.07, 0.07, p.metal)]
    return Piece("door", 1.02, 0.1, 2.12, tuple(parts), flat=True)


def window(p: Palette, view: str) -> Piece:
    width = float(p.rng.choice([1.0, 1.3, 1.6]))
    curtain = p.any(0.45, 0.75)
    parts = [
        box(0, 0, 0.9, width + 0.1, 0.03, 1.3, p.white),
        panel(0, 0.045, 1.55, width, 1.2, view),
        box(0, 0, 0.86, width + 0.2, 0.14, 0.05, p.white),
    ]
    parts += [box(x, 0.05, 0.75, 0.22, 0.08, 1.62, curtain) for x in (-width / 2 - 0.1, width / 2 + 0.1)]
    parts += [box(0, 0.06, 2.36, width + 0.6, 0.04, 0.04, p.metal)]
    return Piece("window", width + 0.5, 0.15, 2.4, tuple(parts), bottom=0.72, flat=True)


def picture(p: Palette, texture: str) -> Piece:
    width, height = float(p.rng.uniform(0.35, 0.8)), float(p.rng.uniform(0.4, 0.8))
    middle = float(p.rng.uniform(1.45, 1.65))
    frame = p.wood if p.rng.random() < 0.5 else p.any(0.5, 0.4)
    parts = (
        box(0, 0, middle - height / 2 - 0.04, width + 0.08, 0.03, height + 0.08, frame),
        panel(0, 0.04, middle, width, height, texture),
    )
    return Piece(
        "picture", width + 0.08, 0.05, middle + height / 2 + 0.04, parts, bottom=middle - height / 2 - 0.04, flat=True
    )


def wall_shelf(p: Palette) -> Piece:
    width, z = float(p.rng.choice([0.6, 0.9])), float(p.rng.uniform(1.35, 1.6))
    parts = [box(0, 0, z, width, 0.2, 0.03, "wood")]
    x = -width / 2 + 0.08
    while x < width / 2 - 0.08:
        parts.append(box(x, 0.04, z + 0.03, 0.08, 0.12, float(p.rng.uniform(0.1, 0.3)), p.any()))
        x += float(p.rng.uniform(0.09, 0.22))
    return Piece("wall shelf", width, 0.2, z + 0.33, tuple(parts), bottom=z, flat=True)


def clock(p: Palette) -> Piece:
    return Piece("clock", 0.36, 0.05, 2.05, (panel(0, 0.03, 1.87, 0.34, 0.34, "clock"),), bottom=1.68, flat=True)


def towel_rail(p: Palette) -> Piece:
    parts = [box(0, 0.06, 1.4, 0.7, 0.03, 0.03, p.metal)]
    parts += [box(x, 0.05, 0.85, 0.26, 0.05, 0.57, p.any(0.5, 0.8)) for x in (-0.17, 0.15)]
    return Piece("towel rail", 0.72, 0.1, 1.45, tuple(parts), bottom=0.85, flat=True)


def radiator(p: Palette) -> Piece:
    parts = [box(x, 0.03, 0.12, 0.06, 0.07, 0.58, p.white) for x in np.arange(-0.36, 0.37, 0.09)]
    return Piece("radiator", 0.82, 0.1, 0.7, tuple(parts), bottom=0.1, flat=True)


def coat_hooks(p: Palette) -> Piece:
    parts = [box(0, 0, 1.62, 0.7, 0.03, 0.1, "wood")]
    parts += [
        box(x, 0.03, float(z), 0.2, 0.1, 1.62 - float(z), p.any(0.5, 0.5))
        for x, z in zip((-0.22, 0.04, 0.25), p.rng.uniform(0.9, 1.3, 3), strict=True)
    ]
    return Piece("coat hooks", 0.75, 0.14, 1.72, tuple(parts), bottom=0.9, flat=True)


def hanging(p: Palette, texture: str) -> Piece:
    """A tall tapestry or poster."""
    width, height = float(p.rng.uniform(0.6, 0.9)), float(p.rng.uniform(1.0, 1.4))
    bottom = float(p.rng.uniform(0.75, 0.95))
    return Piece(
        "hanging",
        width,
        0.03,
        bottom + height,
        (panel(0, 0.015, bottom + height / 2, width, height, texture),),
        bottom=bottom,
        flat=True,
    )


FLOOR_PIECES: dict[str, Callable[[Palette], Piece]] = {
    "bed": bed, "nightstand": nightstand, "wardrobe": wardrobe, "dresser": dresser, "desk": desk, "bookshelf": bookshelf, "sofa": sofa,
    "armchair": armchair, "television": television, "fireplace": fireplace, "piano": piano, "plant": plant, "floor lamp": floor_lamp,
    "coffee table": coffee_table, "dining table": dining_table, "bathtub": bathtub, "shower": shower, "toilet": toilet,
    "washbasin": washbasin, "washing machine": washing_machine, "laundry basket": laundry_basket, "towel cabinet": towel_cabinet,
    "kitchen counter": kitchen_counter, "fridge": fridge, "island": island, "pantry": pantry,
}  # fmt: skip
