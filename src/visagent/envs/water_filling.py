"""Water Filling (Lyu et al. 2023, Section IV-A): a slow vehicle that fills three leaking jars, and a fast drone that
looks how full they are.

The robots know how full a jar was when one of them saw it last. Many episodes step in one call. One low-level step is a
second.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visagent.envs.option_worlds import IDLE, OptionSpaces, OptionStep

if TYPE_CHECKING:
    from visagent.envs.parallel import OptionParallelEnv

AGENTS = ("vehicle", "drone")
VEHICLE, DRONE = range(2)
JARS = ("bottle", "cup", "mug")
SPEED = (1, 4)
"""Grid points in a low-level step on the way to a jar."""
REACH_M = 1.0
EPSILON = 1e-3
AGE_STEP = 1 / 200
SLOWEST_LEAK = 14
"""Low-level steps between two losses, the largest mean."""
GRID_M = 0.25
FIELD_OF_VIEW = 90.0
"""Degrees, of the pictures."""
MOVES = {
    "state": ("East", "West", "North", "South"),
    "rgb": ("MoveForward", "RotateRight", "RotateLeft", "MoveBackward"),
}


@dataclass(frozen=True)
class Places:
    """Where a robot can be.

    Attributes:
        position: `[S, 2]` metres, (x, z).
        moves: `[S, 4]`, the next place by each low-level move; the same where something stands.
        towards: `[3, S]`, the next place on the way to each jar; the same at its end, or turned there where places have
            headings.
        arrived: `[3, S]` bool, the way ends here.
        within: `[3, S]` bool, the jar is seen and within `REACH_M`.
        jars: `[3, 2]` metres.
        starts: places where an episode may begin.
        features: `[S, F]` of the views, or None.
        lower, upper: corners of the map in metres, for numbers and pictures.
    """

    position: NDArray[np.float64]
    moves: NDArray[np.int64]
    towards: NDArray[np.int64]
    arrived: NDArray[np.bool_]
    within: NDArray[np.bool_]
    jars: NDArray[np.float64]
    starts: NDArray[np.int64]
    features: NDArray[np.float32] | None
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


@dataclass(frozen=True)
class WaterFillingWorlds:
    """Makes batches of episodes.

    Args:
        observation: `state`, places as numbers, on a grid with jars where the paper's scene has them; `rgb`, frozen
            features of the robots' views in a room that was rendered before, a scene dump.
        scene: of `rgb`: an embedded room, such as `kitchen_01`, that is made where it is missing, or the path of a
            scene dump.
        cache: of `rgb`: folder where embedded rooms lie, one folder within it for each extractor.
        extractor: of `rgb`: what the features of an embedded room come from.
        walls: of `state`: two inner walls make rooms of the grid.
        horizon: low-level steps after which an episode is truncated.
        primitive: agents choose a low-level move, or none, in every step; the vehicle fills what it is near.
    """

    observation: str = "state"
    scene: str = "living_room_01"
    cache: str = "outputs/cache/scenes"
    extractor: str = "efficientnet_lite0"
    walls: bool = True
    horizon: int = 600
    primitive: bool = False

    def __post_init__(self) -> None:
        if self.observation not in MOVES or self.horizon < 1:
            expected = f"observation to be {' or '.join(MOVES)}, and horizon at least 1"
            raise ValueError(f"WaterFillingWorlds: expected {expected}, got {self.observation!r} and {self.horizon}")

    def places(self) -> Places:
        """Places of the grid or the room."""
        if self.observation == "state":
            return grid(self.walls)
        return room(str(self._dump()))

    def _dump(self) -> Path:
        if Path(self.scene).suffix == ".h5":
            return Path(self.scene)
        from visagent.scenes.make import make_scenes, recipe_for

        recipe = recipe_for(self.scene, extractor=self.extractor)
        ((_, path, _),) = make_scenes(Path(self.cache).resolve() / self.extractor, [recipe])
        return path

    def spaces(self) -> OptionSpaces:
        """Each robot sees where it is or what is before it, the levels known of the jars, and since when."""
        features = self.places().features
        seen = (2 if features is None else features.shape[1]) + 2 * len(JARS)
        moves = MOVES[self.observation]
        if self.primitive:
            return OptionSpaces(AGENTS, (seen, seen), (("Stay", *moves),) * 2, 3 * len(JARS))
        return OptionSpaces(
            AGENTS,
            (seen, seen),
            tuple((*(f"{verb}({jar})" for jar in JARS), *moves) for verb in ("NavToFill", "NavTo")),
            3 * len(JARS),
        )

    def primitives(self) -> WaterFillingWorlds:
        """See `primitive`."""
        return replace(self, primitive=True)

    def make(self, count: int) -> WaterFilling:
        """`count` episodes."""
        return WaterFilling(self, count)


class WaterFilling:
    """N episodes in step.

    Args:
        factory: that made them, with their settings.
        count: N.
    """

    success: NDArray[np.bool_] | None = None

    def __init__(self, factory: WaterFillingWorlds, count: int) -> None:
        self.factory, self.count, self.places = factory, count, factory.places()
        spaces = factory.spaces()
        self.observation = [np.zeros((count, size), np.float32) for size in spaces.observations]
        self.always, self.nobody = np.ones((count, sum(spaces.sizes)), bool), np.zeros((count, 2), bool)
        self.place = np.zeros((count, 2), np.int64)
        self.level, self.drop = np.ones((count, 3)), np.zeros((count, 3))
        self.countdown = np.zeros((count, 3), np.int64)
        self.known, self.age = np.ones((count, 3)), np.zeros((count, 3))
        self.steps = np.zeros(count, np.int64)
        self.rng = [np.random.default_rng(0)] * count

    def reset(self, which: NDArray[np.bool_], seeds: Sequence[int]) -> None:
        """Begin anew where `which` `[N]`: full jars, both robots at the same place."""
        for n, seed in zip(np.flatnonzero(which), seeds, strict=True):
            self.rng[n] = np.random.default_rng(seed)
            self.place[n] = self.rng[n].choice(self.places.starts)
            for jar in range(3):
                self._draw(n, jar)
        self.level[which] = self.known[which] = 1.0
        self.age[which], self.steps[which] = 0.0, 0
        self._observe()

    def _draw(self, n: int, jar: int) -> None:
        """When a jar loses water next, and how much."""
        rng = self.rng[n]
        interval = round(rng.exponential(rng.integers(5, 15)))
        self.countdown[n, jar], self.drop[n, jar] = interval, abs(rng.normal(interval / 500, 0.2))

    @property
    def state(self) -> NDArray[np.float32]:
        """`[N, 9]`: how full the jars are, when each loses water next, and how much."""
        return np.concatenate([self.level, self.countdown / SLOWEST_LEAK, self.drop], axis=1, dtype=np.float32)

    def available(self) -> NDArray[np.bool_]:
        """`[N, m]`: all options, always."""
        return self.always

    def waiting(self) -> NDArray[np.bool_]:
        """`[N, 2]`: nobody; every option ends by itself."""
        return self.nobody

    def absent(self) -> NDArray[np.bool_]:
        """`[N, 2]`: nobody."""
        return self.nobody

    def interrupt(self, which: NDArray[np.bool_]) -> None:
        """Interrupt what runs: only the way is lost, as what the robots see is always up to date."""

    def step(self, options: NDArray[np.int64], active: NDArray[np.bool_]) -> OptionStep:
        """One low-level step.

        Args:
            options: `[N, 2]`, each robot's running one, or `IDLE` for one that stays where it is.
            active: `[N]`, the other episodes stand still.
        """
        options = np.where(active[:, None], options, IDLE)
        self.steps += active
        self._leak(active)
        self._move(VEHICLE, options[:, VEHICLE])
        within = self.places.within[:, self.place].transpose(1, 2, 0)  # [N, robot, jar]
        fills = within[:, VEHICLE] & active[:, None]
        if not self.factory.primitive:
            fills &= options[:, VEHICLE, None] == np.arange(3)
        self.level[fills] = 1.0
        self._move(DRONE, options[:, DRONE])
        within = self.places.within[:, self.place].transpose(1, 2, 0)
        read = within.any(axis=1) & active[:, None]
        self.known = np.where(read, self.level, self.known)
        self.age = np.where(read, 0.0, self.age + AGE_STEP * active[:, None])
        reward = (1.0 - 1.0 / (self.level + EPSILON)).sum(axis=1) * active
        done = self._done(options, active)
        self._observe()
        over = active & (self.steps >= self.factory.horizon)
        return OptionStep(reward, done, np.zeros(self.count, bool), over)

    def _leak(self, active: NDArray[np.bool_]) -> None:
        loses = active[:, None] & (self.countdown <= 0)
        self.countdown -= active[:, None]
        self.level[loses] = np.maximum(0.0, self.level[loses] - self.drop[loses])
        for n, jar in zip(*np.nonzero(loses), strict=True):
            self._draw(n, jar)

    def _move(self, robot: int, options: NDArray[np.int64]) -> None:
        place, first = self.place[:, robot], 1 if self.factory.primitive else len(JARS)
        moves = options >= first
        if moves.any():
            place[moves] = self.places.moves[place[moves], options[moves] - first]
        if self.factory.primitive:
            return
        for point in range(SPEED[robot]):
            goes = np.flatnonzero((options >= 0) & (options < first))
            if point:  # who has arrived stays; who was there in the beginning turns once
                goes = goes[~self.places.arrived[options[goes], place[goes]]]
            place[goes] = self.places.towards[options[goes], place[goes]]

    def _done(self, options: NDArray[np.int64], active: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A move ends at once; a way to a jar ends when the robot itself reads its level."""
        if self.factory.primitive:
            return np.repeat(active[:, None], 2, axis=1)
        goes = (options >= 0) & (options < len(JARS))
        return (options >= len(JARS)) | (goes & self.places.within[np.clip(options, 0, len(JARS) - 1), self.place])

    def _observe(self) -> None:
        places = self.places
        middle, half = (places.lower + places.upper) / 2, (places.upper - places.lower) / 2
        known = np.concatenate([self.known, self.age], axis=1)
        for robot, shown in enumerate(self.observation):
            place = self.place[:, robot]
            shown[:, :-6] = (
                (places.position[place] - middle) / half if places.features is None else places.features[place]
            )
            shown[:, -6:] = known

    def picture(self, episode: int) -> NDArray[np.uint8]:
        """The map from above: the robots, and the jars with how full they are (blue) and how full they are known to be
        (line).
        """
        from PIL import Image, ImageDraw

        places, scale = self.places, 70.0
        size = ((places.upper - places.lower + 1.0) * scale).astype(int)
        image = Image.new("RGB", (int(size[0]), int(size[1]) + 24), "#555555")
        draw = ImageDraw.Draw(image)

        def at(position: NDArray[np.float64]) -> tuple[float, float]:
            x, z = (position - places.lower + 0.5) * scale
            return float(x), float(size[1] - z)

        step = scale * (GRID_M if self.factory.observation == "state" else 2 * GRID_M) / 2
        for position in np.unique(places.position, axis=0):
            x, y = at(position)
            draw.rectangle((x - step, y - step, x + step, y + step), fill="#f2f2ec")
        for jar, name in enumerate(JARS):
            x, y = at(places.jars[jar])
            draw.rectangle((x - 9, y - 18, x + 9, y + 18), fill="white", outline="black")
            draw.rectangle((x - 8, y + 17 - 34 * self.level[episode, jar], x + 8, y + 17), fill="#0072b2")
            known = y + 17 - 34 * self.known[episode, jar]
            draw.line((x - 12, known, x + 12, known), fill="#d55e00", width=2)
            draw.text((x, y + 22), name, fill="black", anchor="mt")
        for robot, (colour, radius) in enumerate((("#e69f00", 11), ("#009e73", 7))):
            x, y = at(places.position[self.place[episode, robot]])
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="black")
        draw.text(
            (6, image.height - 6),
            f"step {self.steps[episode]}   orange: vehicle, green: drone",
            fill="white",
            anchor="lb",
        )
        return np.asarray(image)

    def close(self) -> None:
        """Nothing to give back."""


def distances(neighbours: Sequence[Sequence[int]], goal: int) -> list[int]:
    """Steps from every node of an undirected graph to a goal; -1 where there is no way."""
    steps = [-1] * len(neighbours)
    steps[goal], waiting = 0, deque([goal])
    while waiting:
        node = waiting.popleft()
        for other in neighbours[node]:
            if steps[other] < 0:
                steps[other] = steps[node] + 1
                waiting.append(other)
    return steps


@cache
def grid(walls: bool) -> Places:
    """A grid of 36 x 17 cells with the paper's jars; the two inner walls are ours, the paper's scene cannot be had
    without its simulator.
    """
    jars = np.array([[3.05, -3.03], [5.06, -1.21], [8.34, -2.65]])
    cells = [(i, j) for i in range(36) for j in range(17)]
    position = np.array([(0.5 + GRID_M * i, -4.75 + GRID_M * j) for i, j in cells])
    free = (np.linalg.norm(position[:, None] - jars, axis=-1) > 0.35).all(axis=1)
    if walls:
        x, z = position.T
        free &= ~(np.isclose(x, 4.25) & (z <= -1.75)) & ~(np.isclose(x, 6.75) & (z >= -3.5))
    number = {cell: index for index, cell in enumerate(cell for cell, open_ in zip(cells, free, strict=True) if open_)}
    position = position[free]
    moves = np.array(
        [
            [number.get((i + di, j + dj), index) for di, dj in ((1, 0), (-1, 0), (0, 1), (0, -1))]
            for (i, j), index in number.items()
        ]
    )
    neighbours = [[int(other) for other in row if other != index] for index, row in enumerate(moves)]
    apart = np.linalg.norm(position[:, None] - jars, axis=-1).T
    towards = np.empty((3, len(position)), np.int64)
    arrived = np.zeros((3, len(position)), bool)
    for jar in range(3):
        goal = int(apart[jar].argmin())
        away = distances(neighbours, goal)
        towards[jar] = [
            index if index == goal else min(neighbours[index], key=lambda other: away[other])
            for index in range(len(position))
        ]
        arrived[jar, goal] = True
    starts = np.linalg.norm(position - np.array([4.0, -2.5]), axis=1)
    lower, upper = np.array([0.5, -4.75]), np.array([9.25, -0.75])
    return Places(
        position, moves, towards, arrived, apart <= REACH_M, jars, np.array([starts.argmin()]), None, lower, upper
    )


@cache
def room(scene: str) -> Places:
    """A rendered room with jars at three places far from each other; its grid is twice as wide as that of the paper's
    scene.
    """
    from visagent.scenes.dump import read_dump

    dump = read_dump(Path(scene))
    position, heading = dump.location, np.deg2rad(dump.rotation)
    spots, spot = np.unique(position, axis=0, return_inverse=True)
    spot = spot.reshape(-1)
    by_heading = {(int(spot[state]), int(dump.rotation[state])): state for state in range(len(dump))}
    neighbours: list[list[int]] = [[] for _ in spots]
    for state in range(len(dump)):
        ahead = int(dump.graph[state, 0])
        if ahead >= 0 and int(spot[ahead]) not in neighbours[int(spot[state])]:
            neighbours[int(spot[state])].append(int(spot[ahead]))
    jars = _far_apart(neighbours)
    moves = np.where(dump.graph >= 0, dump.graph, np.arange(len(dump))[:, None])
    towards, arrived = np.empty((3, len(dump)), np.int64), np.zeros((3, len(dump)), bool)
    for jar, goal in enumerate(jars):
        away = distances(neighbours, goal)
        for state in range(len(dump)):
            here = int(spot[state])
            if here == goal:
                towards[jar, state], arrived[jar, state] = moves[state, 2], True
                continue
            there = min((other for other in neighbours[here] if away[other] >= 0), key=lambda other: away[other])
            east, north = spots[there] - spots[here]
            towards[jar, state] = by_heading[there, round(math.degrees(math.atan2(east, north))) % 360]
    offset = spots[jars][:, None] - position
    apart = np.linalg.norm(offset, axis=-1)
    ahead_of = offset[..., 0] * np.sin(heading) + offset[..., 1] * np.cos(heading)
    looks = (apart < 1e-6) | (ahead_of >= apart * math.cos(math.radians(FIELD_OF_VIEW / 2)) - 1e-9)
    starts = np.flatnonzero(spot == _middle(neighbours))
    features = np.ascontiguousarray(dump.features[:, 0])
    return Places(
        position,
        moves,
        towards,
        arrived,
        looks & (apart <= REACH_M),
        spots[jars],
        starts,
        features,
        spots.min(axis=0),
        spots.max(axis=0),
    )


def _far_apart(neighbours: Sequence[Sequence[int]]) -> list[int]:
    """Three nodes, each as far as possible from those before it."""
    from_first = distances(neighbours, 0)
    chosen = [max(range(len(neighbours)), key=lambda node: from_first[node])]
    while len(chosen) < len(JARS):
        away = [distances(neighbours, node) for node in chosen]
        nearest = [min(part) for part in zip(*away, strict=True)]
        chosen.append(max(range(len(neighbours)), key=nearest.__getitem__))
    return chosen


def _middle(neighbours: Sequence[Sequence[int]]) -> int:
    """The node whose farthest other one is nearest."""
    return min(range(len(neighbours)), key=lambda node: max(distances(neighbours, node)))


def parallel_env(observation: str = "state", **settings: Any) -> OptionParallelEnv:
    """Water Filling for other libraries; see `visagent.envs.parallel.OptionParallelEnv`.

    Settings as of `WaterFillingWorlds`.
    """
    from visagent.envs.parallel import OptionParallelEnv

    return OptionParallelEnv(WaterFillingWorlds(observation, **settings), "water_filling")
