"""Procedural rooms: what stands where, and where an agent can go.

A room is a rectangle of `width` (x) by `depth` (z) metres, perhaps with a partition wall. Furniture stands against the
surfaces (the four walls and both faces of a partition) or free in the room. The layout comes from one seed, the look
from another. A change of what is drawn counts up `visagent.scenes.make.GENERATOR`, so that rooms in caches are made
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from visagent.scenes import furniture
from visagent.scenes.furniture import Palette, Piece
from visagent.scenes.graph import GRID, HEADINGS, IntArray, grid_graph, mean_distance, shortest_path_distance

AGENT_RADIUS = 0.28
CEILING = 2.6
PARTITION = 0.12
ATTEMPTS = 400

Rectangle = tuple[float, float, float, float]
"""left, near, right, far in metres (x0, z0, x1, z1)."""


@dataclass(frozen=True)
class Programme:
    """What a room type holds. `mean_path` is the paper's average shortest length (Table 1, imitation learning)."""

    mean_path: float
    widths: tuple[float, float]
    depths: tuple[float, float]
    required: tuple[str, ...]
    optional: tuple[str, ...]
    free: tuple[str, ...]
    partition: float = 0.0
    windows: int = 1
    hangings: tuple[str, ...] = ()


PROGRAMMES: dict[str, Programme] = {
    "bathroom": Programme(
        6.6, (4.0, 5.0), (4.0, 5.0), ("washbasin", "toilet"),
        ("bathtub", "shower", "washing machine", "laundry basket", "towel cabinet", "plant"), (),
        hangings=("towel rail", "radiator", "clock", "wall shelf"),
    ),
    "bedroom": Programme(
        13.0, (7.0, 8.5), (6.5, 8.0), ("bed", "nightstand", "wardrobe", "desk"),
        ("nightstand", "dresser", "bookshelf", "armchair", "plant", "floor lamp", "laundry basket", "wardrobe"),
        ("coffee table",),
        partition=0.45, windows=2, hangings=("clock", "wall shelf", "radiator", "coat hooks"),
    ),
    "living_room": Programme(
        12.8, (7.0, 8.5), (6.5, 8.0), ("sofa", "television", "bookshelf"),
        ("fireplace", "piano", "armchair", "armchair", "plant", "plant", "floor lamp", "bookshelf", "dresser", "desk"),
        ("coffee table", "dining table"), partition=0.4, windows=2, hangings=("clock", "wall shelf", "radiator"),
    ),
    "kitchen": Programme(
        17.6, (8.0, 9.5), (7.5, 8.5), ("kitchen counter", "kitchen counter", "fridge"),
        ("kitchen counter", "pantry", "plant", "bookshelf", "dresser", "kitchen counter"), ("dining table", "island"),
        partition=0.74, windows=2, hangings=("clock", "wall shelf", "coat hooks", "radiator"),
    ),
}  # fmt: skip
ROOM_TYPES = tuple(PROGRAMMES)


@dataclass(frozen=True)
class Surface:
    """A wall face: `start` and `yaw` so that a point u metres along it is `start + u * right(yaw)`; it looks to
    `yaw`.
    """

    start: tuple[float, float]
    yaw: int
    length: float
    kind: str = "wall"

    def point(self, along: float) -> tuple[float, float]:
        forward = HEADINGS[self.yaw]
        return (self.start[0] + along * forward[1], self.start[1] - along * forward[0])


@dataclass(frozen=True)
class Placed:
    """A piece at (x, z) in metres, looking to `yaw` degrees (0 along +z, 90 along +x)."""

    piece: Piece
    x: float
    z: float
    yaw: int

    def footprint(self) -> Rectangle:
        """The rectangle that the piece covers on the floor."""
        forward = HEADINGS[self.yaw]
        right = (forward[1], -forward[0])
        half, depth = self.piece.width / 2, self.piece.depth
        xs = [self.x + s * half * right[0] + d * forward[0] for s in (-1, 1) for d in (0, depth)]
        zs = [self.z + s * half * right[1] + d * forward[1] for s in (-1, 1) for d in (0, depth)]
        return (min(xs), min(zs), max(xs), max(zs))


@dataclass
class Room:
    """A furnished room and its grid of free poses."""

    kind: str
    width: float
    depth: float
    surfaces: list[Surface]
    partition: Rectangle | None
    placed: list[Placed] = field(default_factory=list)
    location: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))
    rotation: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    graph: IntArray = field(default_factory=lambda: np.zeros((0, 4), np.int64))
    distance: IntArray = field(default_factory=lambda: np.zeros((0, 0), np.int64))


def overlaps(a: Rectangle, b: Rectangle, gap: float = 0.0) -> bool:
    """Whether two rectangles come nearer than `gap`."""
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


def inside(a: Rectangle, outer: Rectangle) -> bool:
    """Whether rectangle `a` lies in `outer`, a millimetre forgiven."""
    return a[0] >= outer[0] - 1e-3 and a[1] >= outer[1] - 1e-3 and a[2] <= outer[2] + 1e-3 and a[3] <= outer[3] + 1e-3


def touches(rectangle: Rectangle, x: float, z: float, radius: float = AGENT_RADIUS) -> bool:
    """Whether a disc around a point, metres, touches a rectangle."""
    dx = max(rectangle[0] - x, 0.0, x - rectangle[2])
    dz = max(rectangle[1] - z, 0.0, z - rectangle[3])
    return bool(np.hypot(dx, dz) < radius)


class _Builder:
    """Places furniture by rejection; all draws come from one generator."""

    def __init__(self, kind: str, rng: np.random.Generator, palette: Palette) -> None:
        self.programme = PROGRAMMES[kind]
        self.rng, self.palette = rng, palette
        width, depth = (
            round(float(rng.uniform(*span)) / GRID) * GRID for span in (self.programme.widths, self.programme.depths)
        )
        self.outer: Rectangle = (0.0, 0.0, width, depth)
        surfaces = [
            Surface((0.0, 0.0), 0, width),
            Surface((0.0, depth), 90, depth),
            Surface((width, depth), 180, width),
            Surface((width, 0.0), 270, depth),
        ]
        self.partition: Rectangle | None = None
        if self.programme.partition:
            # A wall from the far side into the room, on a grid column so that views of it keep half a metre of
            # distance.
            x = round((width * float(rng.uniform(0.42, 0.58))) / GRID) * GRID
            length = depth * self.programme.partition
            left, right = x - PARTITION / 2, x + PARTITION / 2
            self.partition = (left, depth - length, right, depth)
            surfaces.append(Surface((left, depth - length), 270, length, "partition"))
            surfaces.append(Surface((right, depth), 90, length, "partition"))
        self.room = Room(kind, width, depth, surfaces, self.partition)
        self.doors: list[Rectangle] = []
        self.hung: dict[int, list[tuple[float, float, float, float]]] = {i: [] for i in range(len(surfaces))}

    def _free(self, area: Rectangle, gap: float) -> bool:
        if not inside(area, self.outer) or (self.partition and overlaps(area, self.partition)):
            return False
        if any(overlaps(area, door) for door in self.doors):
            return False
        return not any(overlaps(area, other.footprint(), gap) for other in self.room.placed if not other.piece.flat)

    def on_wall(self, piece: Piece, surfaces: Sequence[int] | None = None) -> bool:
        """Put a piece against a surface; wall pieces only need a free stretch of wall above what stands there."""
        choices = list(surfaces if surfaces is not None else range(len(self.room.surfaces)))
        for _ in range(40):
            index = int(self.rng.choice(choices))
            surface = self.room.surfaces[index]
            margin = piece.width / 2 + (0.06 if piece.flat else 0.0)
            if surface.length < 2 * margin:
                continue
            along = float(self.rng.uniform(margin, surface.length - margin))
            if not piece.flat:  # cupboards like corners and whole steps
                along = min(max(round(along / 0.1) * 0.1, margin), surface.length - margin)
            left, right = along - margin, along + margin
            if any(
                left < x1 and x0 < right and piece.bottom < z1 and z0 < piece.height
                for x0, x1, z0, z1 in self.hung[index]
            ):
                continue
            x, z = surface.point(along)
            candidate = Placed(piece, x, z, surface.yaw)
            if not piece.flat and not self._free(candidate.footprint(), 0.02):
                continue
            self.hung[index].append((left, right, piece.bottom, piece.height))
            self.room.placed.append(candidate)
            if piece.name == "door":
                ahead = HEADINGS[surface.yaw]
                cx, cz = x + 0.5 * ahead[0], z + 0.5 * ahead[1]
                self.doors.append((cx - 0.5, cz - 0.5, cx + 0.5, cz + 0.5))
            return True
        return False

    def in_room(self, piece: Piece) -> bool:
        """Put a piece free in the room, with a way around it."""
        for _ in range(40):
            x, z = (round(float(self.rng.uniform(1.0, span - 1.0)) / 0.25) * 0.25 for span in self.outer[2:])
            candidate = Placed(piece, x, z, int(self.rng.choice((0, 90, 180, 270))))
            area = candidate.footprint()
            if self._free(area, 0.62) and inside(area, (0.6, 0.6, self.outer[2] - 0.6, self.outer[3] - 0.6)):
                self.room.placed.append(candidate)
                return True
        return False

    def furnish(self) -> bool:
        """Place everything; False where a required piece finds no place."""
        programme, palette, rng = self.programme, self.palette, self.rng
        if not self.on_wall(furniture.door(palette), range(4)):
            return False
        for index in range(programme.windows):
            self.on_wall(furniture.window(palette, f"view{index}"), range(4))
        for name in programme.required:
            if not self.on_wall(furniture.FLOOR_PIECES[name](palette)):
                return False
        for name in programme.free:
            self.in_room(furniture.FLOOR_PIECES[name](palette))
        for name in rng.permutation(list(programme.optional)):
            self.on_wall(furniture.FLOOR_PIECES[str(name)](palette))
        return True

    def decorate(self) -> None:
        """Hang things on what is left of the walls, so that no stretch of wall looks like another."""
        palette = self.palette
        hangings = {
            "clock": furniture.clock, "wall shelf": furniture.wall_shelf, "towel rail": furniture.towel_rail,
            "radiator": furniture.radiator, "coat hooks": furniture.coat_hooks,
        }  # fmt: skip
        for name in self.programme.hangings:
            self.on_wall(hangings[name](palette))
        for index in range(16):
            self.on_wall(
                furniture.hanging(palette, f"art{index % 8}")
                if index < 4
                else furniture.picture(palette, f"art{index % 8}")
            )

    def walk(self) -> None:
        """Find the free cells, keep the largest connected part and build the graph."""
        room = self.room
        blocks = [p.footprint() for p in room.placed if not p.piece.flat or p.piece.depth > 0.18]
        if self.partition:
            blocks.append(self.partition)
        columns, rows = round(room.width / GRID), round(room.depth / GRID)

        def clear(x: float, z: float) -> bool:
            return not any(touches(block, x, z) for block in blocks)

        cells = {(i, j) for i in range(1, columns) for j in range(1, rows) if clear(i * GRID, j * GRID)}
        blocked = set()
        for cell in cells:
            for dx, dz in ((1, 0), (0, 1)):
                there = (cell[0] + dx, cell[1] + dz)
                if there in cells and not clear((cell[0] + dx / 2) * GRID, (cell[1] + dz / 2) * GRID):
                    blocked |= {(cell, there), (there, cell)}
        largest: set[tuple[int, int]] = set()
        left = set(cells)
        while left:
            part, stack = set(), [left.pop()]
            while stack:
                cell = stack.pop()
                part.add(cell)
                for dx, dz in HEADINGS.values():
                    there = (cell[0] + dx, cell[1] + dz)
                    if there in left and (cell, there) not in blocked:
                        left.discard(there)
                        stack.append(there)
            largest = max(largest, part, key=len)
        cell_of, room.rotation, room.graph = grid_graph(largest, blocked)
        room.location = cell_of.astype(np.float64) * GRID
        room.distance = shortest_path_distance(room.graph)


def build_room(kind: str, layout_seed: int, style_seed: int, tolerance: float = 0.12) -> Room:
    """A furnished room whose mean shortest path is near the paper's.

    Layouts are drawn until the mean over all pairs of states lies within `tolerance` of 0.94 times the paper's average
    (its targets face objects at walls, farther than the average state); the same seeds give the same room.

    Args:
        kind: one of `ROOM_TYPES`.
        layout_seed: decides size, furniture and where it stands.
        style_seed: decides colours and materials (also here, because a piece knows its colours).
        tolerance: relative.

    Raises:
        ValueError: for an unknown room type, or when no layout fits after `ATTEMPTS` draws.
    """
    if kind not in PROGRAMMES:
        raise ValueError(f"unknown room type {kind!r}: expected one of {', '.join(ROOM_TYPES)}")
    goal = 0.94 * PROGRAMMES[kind].mean_path
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng([layout_seed, ROOM_TYPES.index(kind), attempt])
        palette = Palette(np.random.default_rng([style_seed, ROOM_TYPES.index(kind)]))
        builder = _Builder(kind, rng, palette)
        if not builder.furnish():
            continue
        builder.walk()
        if len(builder.room.graph) >= 80 and abs(mean_distance(builder.room.distance) / goal - 1) <= tolerance:
            builder.decorate()
            return builder.room
    raise ValueError(
        f"no {kind} layout with a mean path near {goal:.1f} after {ATTEMPTS} draws of layout seed {layout_seed}: "
        "choose another layout seed"
    )
