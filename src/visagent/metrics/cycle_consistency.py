"""Whether embeddings of the same behaviour in other looks lie beside each other (Aytar et al. 2018; dissertation
Section 5.5.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32] | NDArray[np.float64]
"""`[n, D]`, in the order of time."""
NEAR = 1
"""Positions by which a way may miss where it began."""


def nearest(of: Embeddings, among: Embeddings) -> NDArray[np.int64]:
    """The position of each of n embeddings' nearest neighbour among others, `[n]`."""
    distances = np.square(of[:, None] - among[None]).sum(axis=-1)
    positions: NDArray[np.int64] = distances.argmin(axis=1)
    return positions


def returned(way: Sequence[Embeddings]) -> NDArray[np.bool_]:
    """Which embeddings of the first trajectory come back to themselves, give or take one, along a way through others.

    Args:
        way: trajectories; from the last one it goes back to the first.
    """
    first = np.arange(len(way[0]))
    places = first
    for here, there in zip(way, [*way[1:], way[0]], strict=True):
        places = nearest(here, there)[places]
    back: NDArray[np.bool_] = np.abs(places - first) <= NEAR
    return back


def cycle_consistency(trajectories: Sequence[Embeddings]) -> tuple[float, float]:
    """Shares of observations that are consistent 2-way (U, V, U) and 3-way (along U, V, W, U as well as U, W, V, U),
    each averaged over all ways to call three trajectories U, V and W.

    Raises:
        ValueError: unless there are three.
    """
    if len(trajectories) != 3:
        raise ValueError(f"expected three trajectories, got {len(trajectories)}")
    two = [returned(pair).mean() for pair in permutations(trajectories, 2)]
    three = [
        (returned([u, v, w]) & returned([u, w, v])).mean()
        for u, v, w in (trajectories, [*trajectories[1:], trajectories[0]], [trajectories[2], *trajectories[:2]])
    ]
    return float(np.mean(two)), float(np.mean(three))


def levels_without_skill(count: int, size: int, draws: int = 500) -> dict[str, tuple[float, float]]:
    """2-way and 3-way consistency of what tells nothing: of `random` embeddings, which are often nearest neighbours of
    each other by chance, and of `collapsed` ones, where one embedding of a trajectory is the nearest to all of another.

    Args:
        count: n, observations of a trajectory.
        size: D.
        draws: that the former is averaged over.
    """
    rng = np.random.default_rng(0)
    random = [cycle_consistency(list(rng.standard_normal((3, count, size)))) for _ in range(draws)]
    # all come back to one place: consistent are that place and those beside it
    collapsed = float(np.mean([min(count - 1, place + NEAR) - max(0, place - NEAR) + 1 for place in range(count)]))
    share = collapsed / count
    two, three = np.mean(random, axis=0)
    return {"random": (float(two), float(three)), "collapsed": (share, share)}
