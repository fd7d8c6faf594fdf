"""Which states to navigate to.

The paper picks targets "based on their appearance in the RGB images"; in the THOR dumps they face objects at the walls.
The picker below prefers views unlike any other (in feature space) at places far from the middle of the room, some steps
apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.errors import ConfigError
from visagent.scenes.check import similarity
from visagent.scenes.dump import Scene
from visagent.scenes.graph import IntArray

THOR_TARGETS: dict[str, tuple[int, ...]] = {
    "bathroom_02": (26, 37, 43, 53, 69),
    "bedroom_04": (134, 264, 320, 384, 387),
    "kitchen_02": (90, 136, 157, 207, 329),
    "living_room_08": (92, 135, 193, 228, 254),
}
"""The task list of the released code (Zhu et al. 2017), for the released dumps only."""

APART = 4
"""Wished for least steps between two targets."""


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.linspace(0, 1, len(values))
    return ranks


def is_generated(scene: Scene) -> bool:
    """Whether the dump was made by visagent (so that the released task list means nothing for it)."""
    return "visagent_generator" in scene.attributes


def pick_targets(scene: Scene, count: int) -> list[int]:
    """`count` target states, a pure function of the dump.

    For the four released dumps of the small set these are the released targets (as many as wanted), filled up by the
    picker.

    Raises:
        ConfigError: when the scene has fewer than `count` states that most others can reach.
    """
    distance: IntArray = scene.distance
    reachable = (distance >= 0).mean(axis=0) >= 0.95
    if reachable.sum() < count:
        raise ConfigError(
            f"scene {scene.name}: expected at least {count} targets that 95 % of the states can reach, found "
            f"{int(reachable.sum())}: "
            f"lower datamodule.targets_per_scene"
        )
    chosen = [] if is_generated(scene) else [t for t in THOR_TARGETS.get(scene.name, ()) if t < len(scene)][:count]
    distinct = 1.0 - similarity(scene.features[:, 0]).max(axis=1)
    remote = np.where(distance > 0, distance, 0).sum(axis=0) / np.maximum((distance > 0).sum(axis=0), 1)
    # A remoteness just above the middle serves: the paper's targets are a little farther than an average state, not the
    # farthest.
    score = _ranks(distinct) + 0.8 * np.minimum(_ranks(remote), 0.45)
    score[~reachable] = -np.inf
    for apart in range(APART, -1, -1):
        for state in np.argsort(-score, kind="stable"):
            if len(chosen) == count:
                return chosen
            if score[state] == -np.inf or int(state) in chosen:
                continue
            if all(distance[state, other] >= apart or distance[state, other] < 0 for other in chosen):
                chosen.append(int(state))
    return chosen


def targets_at_distance(scene: Scene, trained: list[int], steps: int) -> list[int]:
    """States whose nearest trained target is exactly `steps` steps away (from the state to the target), Section 4.3 of
    the paper.
    """
    to_trained = scene.distance[:, trained]
    nearest = np.where(to_trained < 0, np.iinfo(np.int64).max, to_trained).min(axis=1)
    return [int(state) for state in np.flatnonzero(nearest == steps)]
