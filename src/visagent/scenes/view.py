"""Pictures of scenes: contact sheets of states, maps, paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from visagent.scenes.dump import Scene
from visagent.scenes.graph import GRID, HEADINGS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FREE, BLOCKED = "#f4f1ea", "#1c1c1c"
PREDICTED, SHORTEST = "#c8102e", "#1f6fb2"


def contact_sheet(scene: Scene, states: Sequence[int], columns: int = 4, width: int = 300) -> Image.Image:
    """The views of some states with their ids, position and heading."""
    images = scene.observation(states)
    height = round(width * images.shape[1] / images.shape[2])
    rows = -(-len(states) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (height + 18)), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (state, image) in enumerate(zip(states, images, strict=True)):
        x, y = index % columns * width, index // columns * (height + 18)
        sheet.paste(Image.fromarray(image).resize((width, height)), (x, y + 18))
        place = scene.location[state]
        draw.text(
            (x + 4, y + 3), f"{state}  ({place[0]:.1f}, {place[1]:.1f}) m  {scene.rotation[state]} deg", fill="black"
        )
    return sheet


def _map(axes: Axes, scene: Scene) -> None:
    """The free cells in light, everything else in dark, as in the paper's Figures 5 and 6."""
    low, high = scene.location.min(axis=0) - GRID, scene.location.max(axis=0) + GRID
    shape = tuple(np.rint((high - low) / GRID).astype(int) + 1)
    free = np.zeros((shape[1], shape[0]))
    columns, rows = np.rint((scene.location - low) / GRID).astype(int).T
    free[rows, columns] = 1.0
    half = GRID / 2
    extent = (low[0] - half, high[0] + half, low[1] - half, high[1] + half)
    from matplotlib.colors import ListedColormap

    axes.imshow(
        free,
        origin="lower",
        extent=extent,
        cmap=ListedColormap([BLOCKED, FREE]),
        vmin=0,
        vmax=1,
        interpolation="nearest",
    )
    axes.set_aspect("equal")
    axes.set_xlabel("x (m)")
    axes.set_ylabel("z (m)")


def _pose(axes: Axes, scene: Scene, state: int, colour: str, label: str) -> None:
    (x, z), (dx, dz) = scene.location[state], HEADINGS[int(scene.rotation[state])]
    axes.plot([x], [z], "o", color=colour, markersize=9, markeredgecolor="white", zorder=5, label=label)
    axes.annotate(
        "", (x + 0.42 * dx, z + 0.42 * dz), (x, z), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2}, zorder=6
    )


def shortest_path(scene: Scene, start: int, target: int) -> list[int]:
    """One shortest path, the first action in action order wherever several are optimal."""
    path = [start]
    while path[-1] != target:
        state = path[-1]
        following = scene.graph[state]
        better = [
            int(n) for n in following if n >= 0 and scene.distance[n, target] == scene.distance[state, target] - 1
        ]
        if not better:
            raise ValueError(f"scene {scene.name}: no path from {start} to {target}")
        path.append(better[0])
    return path


def draw_path(scene: Scene, states: Sequence[int], target: int, title: str) -> Figure:
    """Top view with the path taken and the shortest path (the paper's Figures 5 and 6)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot()
    _map(axes, scene)
    best = shortest_path(scene, states[0], target)
    for path, colour, shift, name in (
        (best, SHORTEST, -0.05, "shortest"),
        (list(states), PREDICTED, 0.05, "predicted"),
    ):
        points = scene.location[path] + shift
        axes.plot(
            points[:, 0], points[:, 1], "-", color=colour, lw=2.2, alpha=0.9, label=f"{name} ({len(path) - 1} steps)"
        )
    _pose(axes, scene, states[0], "#2a9d4a", "start")
    _pose(axes, scene, target, "#e8a200", "target")
    if states[-1] != target:
        _pose(axes, scene, states[-1], PREDICTED, "end")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_map(scene: Scene, states: Sequence[int], title: str | None = None) -> Figure:
    """Top view with some states marked by id."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    axes = figure.add_subplot()
    _map(axes, scene)
    for state in states:
        _pose(axes, scene, state, PREDICTED, "")
        axes.annotate(str(state), scene.location[state] + 0.12, color=PREDICTED, fontsize=9, weight="bold", zorder=7)
    axes.set_title(title or f"{scene.name}: {len(scene)} states, {len(scene) // 4} places")
    return figure
