"""What actors do, and what they say of it; how they are reached is `actors.pool`, `actors.process` and
`actors.ray_actors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import nn

from visagent.experience.rollouts import Episode, Field


@dataclass(frozen=True)
class Task:
    """One piece of work.

    Attributes:
        epoch: of the learner; all random numbers follow from (seed, epoch, worker, attempt).
        iteration: within the epoch; of tasks that are asked for ahead it may go on behind its end.
        begin: start afresh: reset the worlds, seed the generators.
        attempt: counts the deaths of this worker.
        order: what else the role must know; small, it goes through a pipe.
    """

    epoch: int
    iteration: int
    begin: bool
    attempt: int = 0
    order: Any = None


@dataclass(frozen=True)
class Report:
    """What a worker says when a task is done; the arrays are in their place by then.

    Attributes:
        version: of the weights that acted.
        episodes: that ended.
        timing: seconds by what they were spent on.
    """

    version: int
    episodes: tuple[Episode, ...] = ()
    timing: Mapping[str, float] = field(default_factory=dict)


def timing(policy: float, worlds: float, renders: float) -> dict[str, float]:
    """What a report says of an actor's seconds.

    Args:
        policy: choosing actions.
        worlds: stepping worlds and drawing what they show.
        renders: drawing alone.
    """
    return {"policy": policy, "worlds": worlds - renders, "renders": renders}


class Role(Protocol):
    """The work of one actor."""

    @property
    def policy(self) -> nn.Module:
        """Whose weights the learner publishes."""
        ...

    def run(self, task: Task, out: Mapping[str, NDArray[Any]], version: int) -> Report:
        """Do a task with the weights that were loaded last."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class RoleFactory(Protocol):
    """Makes the role of a worker; it can be pickled."""

    def fields(self) -> dict[str, Field]:
        """The arrays that a task of one worker writes."""
        ...

    def __call__(self, worker: int) -> Role:
        """The role of worker `worker`, from 0."""
        ...
