"""Reaching actors: what every backend offers, and the one that needs no processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from visagent.actors.roles import Report, RoleFactory, Task
from visagent.experience.rollouts import Episode, allocate, part

Weights = Mapping[str, Tensor]
"""A policy's `state_dict`."""


@dataclass(frozen=True)
class Collected:
    """What all workers made of one task each.

    Attributes:
        arrays: joined; theirs until the next call.
        reports: by worker.
        dropped: how many parts were too old and made again.
        restarts: how many workers died and were started again, so far.
    """

    arrays: Mapping[str, NDArray[Any]]
    reports: tuple[Report, ...]
    dropped: int = 0
    restarts: int = 0

    @property
    def version(self) -> int:
        """Of the weights that acted, the oldest of them."""
        return min(report.version for report in self.reports)

    @property
    def episodes(self) -> list[Episode]:
        """That ended."""
        return [episode for report in self.reports for episode in report.episodes]

    @property
    def timing(self) -> dict[str, float]:
        """Seconds of all workers together, by what they were spent on."""
        found: dict[str, float] = {}
        for report in self.reports:
            for name, seconds in report.timing.items():
                found[name] = found.get(name, 0.0) + seconds
        return found


class Actors(Protocol):
    """Some workers, each with a role of its own."""

    def publish(self, weights: Weights, version: int) -> None:
        """Give the workers new weights; tasks that begin afterwards use them."""
        ...

    def collect(self, task: Task) -> Collected:
        """Have every worker do the task."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


class SerialActors:
    """All workers in this process, one after the other: the reference for the other backends.

    Args:
        make_role: by worker.
        workers: how many.
    """

    def __init__(self, make_role: RoleFactory, workers: int) -> None:
        self.roles = [make_role(worker) for worker in range(workers)]
        self.fields = make_role.fields()
        self.arrays = allocate(self.fields, workers)
        self.version = -1

    def publish(self, weights: Weights, version: int) -> None:
        for role in self.roles:
            role.policy.load_state_dict(weights)
        self.version = version

    def collect(self, task: Task) -> Collected:
        reports = []
        for worker, role in enumerate(self.roles):
            out = {name: part(array, self.fields[name], worker) for name, array in self.arrays.items()}
            reports.append(role.run(task, out, self.version))
        return Collected(self.arrays, tuple(reports))

    def close(self) -> None:
        for role in self.roles:
            role.close()
