"""Dumps of AI2-THOR scenes, for those who have AI2-THOR installed (Kolve et al. 2017).

Follows the advice of its authors for making the target-driven dumps: ask for the reachable positions of a 0.5 m grid, teleport to
each in four headings, keep the frame.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from visagent.errors import ConfigError, UserError
from visagent.scenes.dump import write_dump
from visagent.scenes.graph import GRID, grid_graph, shortest_path_distance
from visagent.scenes.make import extract_features

HEIGHT, WIDTH = 300, 400


class ThorUnavailable(UserError, RuntimeError):
    """AI2-THOR is not installed, or its simulator does not start here."""


def _controller(name: str) -> Any:
    try:
        controller = importlib.import_module("ai2thor.controller")
    except ImportError as error:
        raise ThorUnavailable(
            f"from-ai2thor needs the package ai2thor, which is not installed ({error}): run \"pip install 'visagent[thor]'\"; "
            "its first start downloads the simulator. For rooms without it: 'visagent-scenes make DIR'"
        ) from error
    try:
        return controller.Controller(scene=name, gridSize=GRID, snapToGrid=True, width=WIDTH, height=HEIGHT, rotateStepDegrees=90)
    except Exception as error:  # its start-up raises many types: no network, no display, no such scene
        raise ThorUnavailable(
            f"AI2-THOR could not start scene {name} ({type(error).__name__}: {error}): it needs its downloaded build and a display or Vulkan"
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
        ConfigError: when the scene has no reachable position.
    """
    own = controller is None
    controller = controller or _controller(name)
    try:
        positions = controller.step(action="GetReachablePositions").metadata["actionReturn"]
        if not positions:
            raise ConfigError(f"scene {name}: expected reachable positions, got none; is the name right?")
        heights = {(round(p["x"] / GRID), round(p["z"] / GRID)): p for p in positions}
        cells, rotation, graph = grid_graph(set(heights), set())
        frames = np.empty((len(rotation), HEIGHT, WIDTH, 3), np.uint8)
        for state, (cell, degrees) in enumerate(zip(cells, rotation, strict=True)):
            event = controller.step(action="Teleport", position=heights[int(cell[0]), int(cell[1])], rotation={"x": 0, "y": int(degrees), "z": 0})
            frames[state] = event.frame
    finally:
        if own:
            controller.stop()
    path = folder / f"{name}.h5"
    write_dump(
        path,
        observation=frames,
        features=extract_features(frames, extractor, weights),
        location=cells * GRID,
        rotation=rotation,
        graph=graph,
        distance=shortest_path_distance(graph),
        attributes={"source": "ai2thor", "extractor": extractor, "extractor_weights": weights or "default"},
    )
    return path
