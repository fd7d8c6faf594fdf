"""The transition graph of a scene and its shortest paths.

Conventions of the THOR scene dumps: the actions are 0 MoveForward, 1 RotateRight, 2 RotateLeft, 3 MoveBackward; heading
0 looks along +z, 90 along +x; `graph[state, action]` is the next state or -1 for a collision.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ACTIONS = ("MoveForward", "RotateRight", "RotateLeft", "MoveBackward")
ROTATIONS = (0, 90, 180, 270)
GRID = 0.5
"""Grid step in metres."""
HEADINGS = {0: (0, 1), 90: (1, 0), 180: (0, -1), 270: (-1, 0)}
"""Unit step (dx, dz) of each rotation."""

IntArray = NDArray[np.int64]


def shortest_path_distance(graph: IntArray) -> IntArray:
    """Steps from every state to every other by directed breadth-first search over all targets at once.

    Args:
        graph: `[N, 4]` next states, -1 for a collision.

    Returns:
        `[N, N]` int64, `[i, j]` = steps from i to j, -1 where j cannot be reached.
    """
    count = len(graph)
    distance = np.full((count, count), -1, np.int64)
    np.fill_diagonal(distance, 0)
    moves = [(np.flatnonzero(graph[:, a] >= 0), graph[graph[:, a] >= 0, a]) for a in range(graph.shape[1])]
    frontier = np.eye(count, dtype=bool)  # [state, target]: states first reached from the target in the last step
    steps = 0
    while frontier.any():
        steps += 1
        reached = np.zeros_like(frontier)
        for sources, destinations in moves:
            reached[sources] |= frontier[destinations]
        frontier = reached & (distance < 0)
        distance[frontier] = steps
    return distance


def grid_graph(
    cells: set[tuple[int, int]], blocked: set[tuple[tuple[int, int], tuple[int, int]]]
) -> tuple[IntArray, IntArray, IntArray]:
    """States and transitions of a set of free grid cells.

    Args:
        cells: free cells (column, row), in units of the grid step.
        blocked: ordered pairs of neighbouring cells between which something thin stands.

    Returns:
        cell `[N, 2]`, rotation `[N]` in degrees and graph `[N, 4]`; state = 4 * cell index + heading index.
    """
    order = sorted(cells)
    index = {cell: i for i, cell in enumerate(order)}
    cell_of = np.repeat(np.asarray(order, np.int64), 4, axis=0)
    rotation = np.tile(np.asarray(ROTATIONS, np.int64), len(order))
    graph = np.full((len(rotation), 4), -1, np.int64)
    for i, cell in enumerate(order):
        for turn, degrees in enumerate(ROTATIONS):
            state = 4 * i + turn
            dx, dz = HEADINGS[degrees]
            for action, sign in ((0, 1), (3, -1)):
                there = (cell[0] + sign * dx, cell[1] + sign * dz)
                if there in index and (cell, there) not in blocked:
                    graph[state, action] = 4 * index[there] + turn
            graph[state, 1] = 4 * i + (turn + 1) % 4
            graph[state, 2] = 4 * i + (turn - 1) % 4
    return cell_of, rotation, graph


def mean_distance(distance: IntArray) -> float:
    """Mean steps over all ordered pairs of different, connected states."""
    return float(distance[distance > 0].mean())
