"""How several learners of one run, each with a network and data of its own, keep together: what all ways have.

There are two kinds: learners in step (`visagent.learning.in_step`) wait for each other at every exchange; independent
ones (`visagent.learning.independent`) go on without one that is gone. What is exchanged passes through the memory of
the processor, float by float.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from visagent.config.learner_schemas import LearnersSettings
from visagent.learning.exchange import fill, flatten
from visagent.learning.meeting import Meeting


class Copy:
    """A learner's own network.

    Args:
        tensors: what of it is exchanged, floating, alike in all learners.
        samples: how many it has learned from so far.
        steps_apart: whether its steps cannot be waited for, as the method takes them by itself: other threads are then
            given what was `kept` last.
    """

    def __init__(
        self, tensors: Callable[[], Sequence[Tensor]], samples: Callable[[], float], steps_apart: bool = False
    ) -> None:
        self.tensors, self.samples, self.moving = tensors, samples, threading.Lock()
        self._kept: Tensor | None = None
        if steps_apart:
            self.keep()

    def read(self) -> Tensor:
        """All weights, `[elements]`; for the learner itself."""
        return flatten(self.tensors())

    def read_still(self) -> Tensor:
        """All weights, between two steps of the learner; for other threads."""
        if self._kept is not None:
            return self._kept
        with self.moving:
            return self.read()

    def write(self, values: Tensor) -> None:
        """Take other weights."""
        with self.moving:
            fill(self.tensors(), values)
        if self._kept is not None:
            self.keep()

    def keep(self) -> None:
        """What other threads are given until this is called again."""
        self._kept = self.read()


class Learners:
    """What all learners have; `settings.count` is 1 where a learner is alone, and then exchanges nothing.

    `meet`, then `begin`; `fewest` before each epoch, `gradients` before a step, `exchange` after a batch, `report` at
    an epoch's end; `leave`.

    Args:
        settings: of the way to keep together.
    """

    in_step = False
    """Whether all take their steps together, and so must begin at the same epoch."""
    buffers = True
    """Whether buffers, such as running means, are exchanged, too."""
    number: int
    meeting: Meeting
    copy: Copy

    def __init__(self, settings: LearnersSettings) -> None:
        self.settings: Any = settings

    @property
    def others(self) -> bool:
        """Whether there are other learners."""
        return bool(self.settings.count > 1)

    def meet(self, meeting: Meeting) -> None:
        """Find the others."""
        self.number, self.meeting = meeting.number, meeting

    def begin(self, copy: Copy, fresh: bool) -> None:
        """Begin to learn; at the beginning of a run all take the weights of the first.

        Args:
            copy: this learner's network.
            fresh: whether the run begins.
        """
        self.copy = copy

    def fewest(self, batches: int) -> int:
        """How many batches an epoch has, where this learner has data for so many: those in step take as many each."""
        return batches

    def gradients(self, optimizer: torch.optim.Optimizer) -> None:
        """Before a step of the optimizer."""

    def exchange(self, batch: int) -> None:
        """After a batch.

        Args:
            batch: how many this learner has had, from 1.
        """

    def report(self) -> dict[str, float]:
        """At an epoch's end: `divergence` (see `visagent.learning.exchange.divergence`), how many learners are
        `alive`, and the `samples` of all together; of the first learner, whose record the run's is.
        """
        return {"divergence": 0.0, "alive": 1.0, "samples": self.copy.samples()}

    def answering(self) -> set[int] | None:
        """The others that answer; None where they are not asked."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What is the first learner's to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The reverse of `state_dict`."""

    def leave(self) -> None:
        """Exchange nothing any more."""
