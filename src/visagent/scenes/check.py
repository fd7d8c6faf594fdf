"""Is a dump fit to learn from? Graph against distances, unreachable states, views that look alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagent.scenes.dump import Scene
from visagent.scenes.graph import IntArray, mean_distance

ALIAS_COSINE = 0.95
"""Two states look alike when the cosine of their standardised features is above this."""


@dataclass(frozen=True)
class Aliasing:
    """The nearest other state in feature space, for each state.

    Attributes:
        nearest: `[N]` its id.
        cosine: `[N]` cosine of the standardised features.
        steps: `[N]` steps from the state to it (-1: unreachable).
    """

    nearest: IntArray
    cosine: NDArray[np.float32]
    steps: IntArray

    @property
    def share(self) -> float:
        """Share of states that look like another one."""
        return float((self.cosine > ALIAS_COSINE).mean())


@dataclass(frozen=True)
class Report:
    """What `visagent-scenes check` prints for one scene."""

    name: str
    states: int
    locations: int
    mean_path: float
    longest_path: int
    unreachable_pairs: int
    isolated: tuple[int, ...]
    aliasing: Aliasing


def standardised(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Zero mean and unit variance per dimension over the states, `[N, D]`; constant dimensions become zero."""
    deviation = features.std(axis=0)
    scaled: NDArray[np.float32] = (features - features.mean(axis=0)) / np.where(deviation > 1e-8, deviation, 1.0)
    return scaled


def similarity(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines between all standardised features, `[N, N]`, the diagonal -1."""
    scaled = standardised(features)
    scaled = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-8)
    cosines: NDArray[np.float32] = scaled @ scaled.T
    np.fill_diagonal(cosines, -1.0)
    return cosines


def aliasing(scene: Scene) -> Aliasing:
    """Perceptual aliasing of a scene, from its first feature sample."""
    cosines = similarity(scene.features[:, 0])
    nearest = cosines.argmax(axis=1).astype(np.int64)
    states = np.arange(len(scene))
    return Aliasing(nearest, cosines[states, nearest], scene.distance[states, nearest])


def check_scene(scene: Scene) -> Report:
    """Everything that can be checked of a readable dump without training on it."""
    reachable = (scene.distance >= 0).sum(axis=0)
    isolated = tuple(int(i) for i in np.flatnonzero(reachable < 0.5 * len(scene)))
    connected = scene.distance > 0
    return Report(
        name=scene.name,
        states=len(scene),
        locations=len(np.unique(scene.location, axis=0)),
        mean_path=mean_distance(scene.distance) if connected.any() else float("nan"),
        longest_path=int(scene.distance.max()),
        unreachable_pairs=int((scene.distance < 0).sum()),
        isolated=isolated,
        aliasing=aliasing(scene),
    )
