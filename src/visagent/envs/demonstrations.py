"""Demonstrations of simulated tasks, and episodes that begin from their states (dissertation, Section 2.5.3)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagent.errors import UserError

SCHEMES = ("uniform", "forward", "reverse")


@dataclass(frozen=True)
class Demonstration:
    """One episode.

    Attributes:
        states: `[T + 1, S]`, the simulator's time, positions and velocities, before each action and at the end.
        actions: `[T, A]`.
    """

    states: NDArray[np.float64]
    actions: NDArray[np.float64]


def save(path: Path, demonstrations: Sequence[Demonstration], task: str, robot: str) -> None:
    """Write demonstrations as robosuite lays its own out: HDF5, `data/demo_1/states` and `actions`, from 1; whole or
    not at all.
    """
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")  # several processes may find that it is missing
    try:
        with h5py.File(partial, "w") as file:
            data = file.create_group("data")
            data.attrs["env"], data.attrs["robot"] = task, robot
            for number, demonstration in enumerate(demonstrations, start=1):
                group = data.create_group(f"demo_{number}")
                group.create_dataset("states", data=demonstration.states)
                group.create_dataset("actions", data=demonstration.actions)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path, size: int, label: str) -> list[Demonstration]:
    """Read demonstrations, of ours or of robosuite's scripts.

    Args:
        path: HDF5.
        size: S of the world in which they are to be used.
        label: of the file in messages.

    Raises:
        UserError: when it does not read, holds none, or holds states of another world.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            # other programs keep notes beside them
            groups = {name: group for name, group in file["data"].items() if isinstance(group, h5py.Group)}
            names = sorted(groups, key=lambda name: (len(name), name))
            demonstrations = [
                Demonstration(np.asarray(groups[name]["states"]), np.asarray(groups[name]["actions"])) for name in names
            ]
    # missing, cut off, an array for a group or a group for an array
    except (OSError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"{label}: expected HDF5 with data/demo_1/states and actions, got something that does not read ({error})"
        ) from error
    demonstrations = [demonstration for demonstration in demonstrations if len(demonstration.states)]
    if not demonstrations:
        raise UserError(
            f"{label}: expected demonstrations, got none; type visagent-demos script TASK, or visagent-demos record RUN"
        )
    for number, demonstration in enumerate(demonstrations, start=1):
        if demonstration.states.ndim != 2 or demonstration.states.shape[1] != size:
            got = list(demonstration.states.shape)
            raise UserError(
                f"{label}: expected states [T, {size}] of this task and robot, got {got} in demonstration {number}"
            )
        if demonstration.states.dtype.kind not in "iuf" or not np.isfinite(demonstration.states).all():
            raise UserError(
                f"{label}: expected states of finite numbers, got {demonstration.states.dtype} with others in "
                f"demonstration {number}"
            )
    return demonstrations


@dataclass(frozen=True)
class Curriculum:
    """From which states of demonstrations training episodes begin.

    An episode begins with `probability` from a state of a demonstration, otherwise as the task has it. `uniform` takes
    any state; `forward` one from a window that grows from the demonstration's beginning, `reverse` from one that grows
    from its end.

    Args:
        demonstrations: a file; `scripted` for demonstrations of a script, where the task has one; None for no
            curriculum.
        probability: alpha.
        uniform, forward, reverse: how often each scheme is used; they add up to 1.
        window: states of the window in the first epoch.
        growth: states by which it grows in each epoch (the dissertation: with each hundred resets).
        cache: folder of scripted demonstrations.
    """

    demonstrations: str | None
    probability: float
    uniform: float
    forward: float
    reverse: float
    window: int
    growth: int
    cache: str

    def choose(
        self, demonstrations: Sequence[Demonstration], epoch: int, rng: np.random.Generator
    ) -> tuple[Demonstration, int] | None:
        """A demonstration and the number of a state in it; None for an episode that begins as the task has it.

        Args:
            demonstrations: to choose from.
            epoch: of the training.
            rng: draws.
        """
        if rng.random() >= self.probability:
            return None
        scheme = rng.choice(SCHEMES, p=(self.uniform, self.forward, self.reverse))
        chosen = demonstrations[rng.integers(len(demonstrations))]
        count = len(chosen.states)
        window = count if scheme == "uniform" else min(count, self.window + self.growth * epoch)
        number = int(rng.integers(window))
        return chosen, count - 1 - number if scheme == "reverse" else number
