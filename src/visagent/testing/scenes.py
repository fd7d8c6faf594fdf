"""Tiny scenes for tests: a grid with walls, random features, made in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visagent.scenes.dump import FEATURES, Scene, read_dump, write_dump
from visagent.scenes.graph import GRID, grid_graph, shortest_path_distance


def write_grid_dump(folder: Path, name: str, plan: Sequence[str], seed: int = 0, samples: int = 1) -> Path:
    """Write `<folder>/<name>.h5` for a floor plan and return its path.

    Args:
        folder: created when missing.
        name: the scene's name, for example `kitchen_01`.
        plan: rows from far to near, `.` free, anything else blocked, for example `("...", ".#.", "...")`.
        seed: of the random features and images.
        samples: feature samples per state.
    """
    rng = np.random.default_rng(seed)
    cells = {(x, len(plan) - 1 - z) for z, row in enumerate(plan) for x, mark in enumerate(row) if mark == "."}
    cell_of, rotation, graph = grid_graph(cells, set())
    count = len(rotation)
    path = folder / f"{name}.h5"
    write_dump(
        path,
        observation=rng.integers(0, 256, (count, 12, 16, 3), dtype=np.uint8),
        features=rng.standard_normal((count, samples, FEATURES)).astype(np.float32),
        location=cell_of * GRID,
        rotation=rotation,
        graph=graph,
        distance=shortest_path_distance(graph),
        attributes={"visagent_generator": 0},
    )
    return path


def grid_scene(folder: Path, name: str, plan: Sequence[str], seed: int = 0, samples: int = 1) -> Scene:
    """The scene that `write_grid_dump` writes, read back."""
    return read_dump(write_grid_dump(folder, name, plan, seed, samples))
