"""Reaching actors: what every backend offers, and the one that needs no processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor

from visagent.actors.roles import Report, Role, RoleFactory, Task
from visagent.experience.rollouts import Episode, allocate, worker_part

Weights = Mapping[str, Tensor]
"""A policy's `state_dict`."""


@dataclass(frozen=True)
class Collected:
    """What all workers made of one task each.

    Attributes:
        arrays: joined; theirs until the next call.
        reports: by worker.
        slot: whose place the arrays have in the pool's `slots`.
        dropped: how many parts were too old and made again.
        restarts: how many workers died and were started again, so far.
    """

    arrays: Mapping[str, NDArray[Any]]
    reports: tuple[Report, ...]
    slot: int = 0
    dropped: int = 0
    restarts: int = 0

    @property
    def version(self) -> int:
        """Version of the oldest weights that acted."""
        return min(report.version for report in self.reports)

    @property
    def episodes(self) -> list[Episode]:
        """Episodes that ended."""
        return [episode for report in self.reports for episode in report.episodes]

    @property
    def timing(self) -> dict[str, float]:
        """Seconds of all workers together, by what they were spent on."""
        total: dict[str, float] = {}
        for report in self.reports:
            for name, seconds in report.timing.items():
                total[name] = total.get(name, 0.0) + seconds
        return total


class Slot(Protocol):
    """A set of arrays that workers fill."""

    def views(self) -> dict[str, NDArray[Any]]:
        """The arrays."""
        ...


class ActorPool(Protocol):
    """Some workers, each with a role of its own."""

    @property
    def slots(self) -> Sequence[Slot]:
        """Where batches lie; another pool of the same kind can read them."""
        ...

    def publish(self, weights: Weights, version: int) -> None:
        """Give the workers new weights; tasks that begin afterwards use them."""
        ...

    def collect(self, task: Task) -> Collected:
        """Have every worker do the task."""
        ...

    def request(self, task: Task) -> None:
        """Ask for a task whose result `receive` gives; one may be under way while the result before is in use."""
        ...

    def receive(self) -> Collected:
        """The result of the oldest request."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


class LocalArrays:
    """Arrays of this process."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = arrays

    def views(self) -> dict[str, NDArray[Any]]:
        """The arrays."""
        return self.arrays


class SerialActors:
    """All workers in this process, one after the other: the reference for the other backends.

    Args:
        make_role: by worker.
        workers: how many.
    """

    def __init__(self, make_role: RoleFactory, workers: int) -> None:
        self.roles: list[Role] = []
        try:
            for worker in range(workers):
                self.roles.append(make_role(worker))
        except BaseException:
            self.close()
            raise
        self.fields = make_role.fields()
        self.arrays = allocate(self.fields, workers)
        self.slots = [LocalArrays(self.arrays)]
        self.version = -1
        self.requested: list[Task] = []

    def publish(self, weights: Weights, version: int) -> None:
        for role in self.roles:
            role.policy.load_state_dict(weights)
        self.version = version

    def collect(self, task: Task) -> Collected:
        reports = []
        for worker, role in enumerate(self.roles):
            out = {name: worker_part(array, self.fields[name], worker) for name, array in self.arrays.items()}
            reports.append(role.run(task, out, self.version))
        return Collected(self.arrays, tuple(reports))

    def request(self, task: Task) -> None:
        self.requested.append(task)

    def receive(self) -> Collected:
        return self.collect(self.requested.pop(0))

    def close(self) -> None:
        with ExitStack() as stack:  # all of them, even if one cannot be closed
            for role in self.roles:
                stack.callback(role.close)
