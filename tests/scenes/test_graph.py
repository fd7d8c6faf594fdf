"""Graphs and shortest paths against slow references."""

from __future__ import annotations

from collections import deque

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from visagent.scenes.graph import HEADINGS, grid_graph, shortest_path_distance


def slow_distance(graph: np.ndarray) -> np.ndarray:
    count = len(graph)
    distance = np.full((count, count), -1)
    for start in range(count):
        distance[start, start] = 0
        queue = deque([start])
        while queue:
            state = queue.popleft()
            for following in graph[state]:
                if following >= 0 and distance[start, following] < 0:
                    distance[start, following] = distance[start, state] + 1
                    queue.append(following)
    return distance


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10_000))
def test_distances_equal_plain_breadth_first_search(count, seed):
    graph = np.random.default_rng(seed).integers(-1, count, (count, 4))
    np.testing.assert_array_equal(shortest_path_distance(graph), slow_distance(graph))


@settings(max_examples=30, deadline=None)
@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_grid_moves_as_the_dumps_do(cells):
    cell, rotation, graph = grid_graph(cells, set())
    for state in range(len(graph)):
        dx, dz = HEADINGS[int(rotation[state])]
        ahead = (int(cell[state][0]) + dx, int(cell[state][1]) + dz)
        forward, right, left, back = graph[state]
        assert (forward >= 0) == (ahead in cells)
        if forward >= 0:
            assert tuple(cell[forward]) == ahead and rotation[forward] == rotation[state]
            assert graph[forward, 3] == state  # moving back undoes moving forward
        assert rotation[right] == (rotation[state] + 90) % 360 and graph[right, 2] == state
        assert rotation[left] == (rotation[state] - 90) % 360
        assert back < 0 or graph[back, 0] == state


def test_blocked_pairs_cannot_be_crossed():
    _, _, graph = grid_graph({(0, 0), (0, 1)}, {((0, 0), (0, 1)), ((0, 1), (0, 0))})
    assert (shortest_path_distance(graph)[:4, 4:] == -1).all()
