"""Dumps of AI2-THOR scenes, for those who have AI2-THOR installed (Kolve et al. 2017).

Follows the advice of its authors for making the target-driven dumps: ask for the reachable positions of a 0.5 m grid,
teleport to each in four headings, keep the frame.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.errors import ConfigError, UserError
from visagent.scenes.dump import write_dump
from visagent.scenes.graph import GRID, grid_graph, shortest_path_distance
from visagent.scenes.make import extract_features

HEIGHT, WIDTH = 300, 400


class ThorUnavailable(UserError, RuntimeError):
    """AI2-THOR is not installed, or its simulator does not start here."""


class ThorFailed(UserError, RuntimeError):
    """AI2-THOR did not do what it was told."""


def grid_cells(
    name: str, positions: Sequence[Mapping[str, float]]
) -> tuple[dict[tuple[int, int], Mapping[str, float]], NDArray[np.float64]]:
    """Positions by cell, counted from the smallest ones: a room's grid may begin anywhere, and rounding coordinates
    themselves would join its cells.

    Args:
        name: of the scene, for errors.
        positions: with `x` and `z` in metres, `GRID` apart.

    Returns:
        positions by cell (column, row), and where the cell (0, 0) is, (x, z) in metres.

    Raises:
        ThorFailed: when they are on no such grid.
    """
    places = np.array([[position["x"], position["z"]] for position in positions])
    origin = places.min(axis=0)
    steps = (places - origin) / GRID
    cells = np.rint(steps).astype(int)
    position_of = {(int(column), int(row)): position for (column, row), position in zip(cells, positions, strict=True)}
    if np.abs(steps - cells).max() > 0.1 or len(position_of) != len(positions):
        raise ThorFailed(
            f"scene {name}: expected reachable positions on a grid of {GRID} m, got others, such as x = "
            f"{sorted(set(places[:, 0].tolist()))[:4]}"
        )
    return position_of, origin.round(3)


def _controller(name: str) -> Any:
    try:
        controller = importlib.import_module("ai2thor.controller")
    except ImportError as error:
        raise ThorUnavailable(
            f'from-ai2thor needs the package ai2thor, which is not installed ({error}): run "pip install '
            "'visagent[thor]'\"; "
            "its first start downloads the simulator. For rooms without it: 'visagent-scenes make DIR'"
        ) from error
    try:
        return controller.Controller(
            scene=name, gridSize=GRID, snapToGrid=True, width=WIDTH, height=HEIGHT, rotateStepDegrees=90
        )
    except Exception as error:  # its start-up raises many types: no network, no display, no such scene
        raise ThorUnavailable(
            f"AI2-THOR could not start scene {name} ({type(error).__name__}: {error}): it needs its downloaded build "
            "and a display or Vulkan"
        ) from error


def convert(name: str, folder: Path, extractor: str, weights: str | None = None, controller: Any | None = None) -> Path:
    """Write `<folder>/<name>.h5` from a running simulator.

    Args:
        name: scene, for example `FloorPlan212`.
        folder: created when missing.
        extractor, weights: see `visagent.scenes.extractors`.
        controller: an `ai2thor.controller.Controller`, or None to start one.

    Raises:
        ThorUnavailable: without AI2-THOR.
        ThorFailed: when the simulator does not do what it is told.
        ConfigError: when the scene has no reachable position.
    """
    own = controller is None
    controller = controller or _controller(name)
    try:
        positions = controller.step(action="GetReachablePositions").metadata.get("actionReturn")
        if not positions:
            raise ConfigError(f"scene {name}: expected reachable positions, got none; is the name right?")
        at, origin = grid_cells(name, positions)
        cells, rotation, graph = grid_graph(set(at), set())
        frames = np.empty((len(rotation), HEIGHT, WIDTH, 3), np.uint8)
        for state, (cell, degrees) in enumerate(zip(cells, rotation, strict=True)):
            position = at[int(cell[0]), int(cell[1])]
            event = controller.step(action="Teleport", position=position, rotation={"x": 0, "y": int(degrees), "z": 0})
            if not event.metadata["lastActionSuccess"]:
                why = event.metadata.get("errorMessage") or "it says nothing more"
                raise ThorFailed(
                    f"scene {name}: AI2-THOR did not teleport to {position}, {degrees} degrees ({why}), so no picture "
                    "of that state was taken"
                )
            frames[state] = event.frame
    finally:
        if own:
            controller.stop()
    path = folder / f"{name}.h5"
    write_dump(
        path,
        observation=frames,
        features=extract_features(frames, extractor, weights),
        location=origin + cells * GRID,
        rotation=rotation,
        graph=graph,
        distance=shortest_path_distance(graph),
        attributes={"source": "ai2thor", "extractor": extractor, "extractor_weights": weights or "default"},
    )
    return path
