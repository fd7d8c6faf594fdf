"""Test episodes of navigation that are drawn: a success and a failure (the paper, Figures 5 and 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from visagent.actors.navigation_rollout import Rollout
from visagent.envs.navigation import SceneTables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONG_SUCCESS = 0.9
"""Share of the successes that are shorter than the one that is drawn."""


@dataclass(frozen=True)
class PathExample:
    """One evaluated episode: scene id, target and the states visited."""

    scene: int
    target: int
    states: tuple[int, ...]
    success: bool


def examples_of(path: Rollout, scene: Tensor, known: set[bool]) -> list[PathExample]:
    """A long success and the longest failure of some episodes, of those that are not `known` yet.

    Args:
        path: `B` episodes.
        scene: `[B]`, where they took place.
        known: whether a success (True) and a failure (False) have been found elsewhere.
    """
    examples = []
    for wanted in (True, False):
        chosen = torch.nonzero(path.success == wanted)[:, 0]
        if wanted in known or len(chosen) == 0:
            continue
        by_length = chosen[path.length[chosen].argsort(stable=True)]
        index = int(by_length[int(LONG_SUCCESS * (len(chosen) - 1)) if wanted else -1])
        states = path.states[: int(path.length[index]) + 1, index].tolist()
        examples.append(PathExample(int(scene[index]), int(path.target[index]), tuple(states), wanted))
    return examples


def drawn(examples: Sequence[PathExample], tables: SceneTables) -> Iterator[tuple[str, Figure]]:
    """Top views of their scenes with the shortest paths beside them, by the figures' names."""
    from visagent.scenes.view import draw_path

    for example in examples:
        scene, first = tables.scenes[example.scene], int(tables.first[example.scene])
        kind = "success" if example.success else "failure"
        states = [state - first for state in example.states]
        yield f"path_{kind}", draw_path(scene, states, example.target - first, f"{scene.name}: {kind}")
