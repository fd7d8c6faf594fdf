"""What backends share whose workers are elsewhere: tasks under way, versions, workers that die."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from numpy.typing import NDArray

from visagent.actors.pool import Collected
from visagent.actors.roles import Report, RoleFactory, Task
from visagent.actors.shared import SharedArrays
from visagent.errors import UserError
from visagent.experience.rollouts import joined, worker_part

log = logging.getLogger(__name__)
CRASHES = 3
"""Deaths of one worker without a finished task in between, after which the run stops."""


class ActorError(UserError):
    """A worker failed again and again; the message has its traceback."""


class QueuedActors:
    """Tasks for workers that are elsewhere.

    Synchronous: `collect` has all of them do one task with the weights published last. Asynchronous: they go on by
    themselves, each at most `ahead` tasks before the learner, with the weights that are newest when a task begins; what
    is older than `max_lag` versions when the learner takes it is dropped and made again.

    A worker that dies is started again and does its unfinished tasks anew, with other random numbers.

    Args:
        make_role: by worker.
        workers: how many.
        ahead: tasks that a worker may be ahead of the learner; 0 for synchronous.
        max_lag: versions; None for any.
        timeout: seconds without a word from any worker that is waited for, after which the run stops; None for ever.

    Raises:
        ActorError: when a worker dies `CRASHES` times in a row, with its traceback, or when all that are waited for are
            silent for `timeout`.
        UserError: what a worker says of a user's mistake, which trying again does not mend.
    """

    def __init__(
        self, make_role: RoleFactory, workers: int, ahead: int, max_lag: int | None, timeout: float | None = None
    ) -> None:
        self.ahead, self.max_lag, self.workers, self.timeout = ahead, max_lag, workers, timeout
        self._fields = make_role.fields()
        shapes = {name: (joined(field, workers), field.dtype) for name, field in self._fields.items()}
        self.slots: Sequence[SharedArrays] = [SharedArrays(shapes) for _ in range(ahead + 1)]
        self._arrays = [slot.views() for slot in self.slots]
        self._asked: list[deque[tuple[int, Task]]] = [deque() for _ in range(workers)]
        self._done: list[list[Report | None]] = [[None] * workers for _ in self.slots]
        self._tasks: list[Task | None] = [None] * len(self.slots)
        self._crashes = [0] * workers
        self._attempts = [0] * workers
        self._restarted: set[int] = set()  # that have been told nothing since: their next task begins new episodes
        self.restarts = 0
        self._turn = self._asked_until = 0
        self._version = -1

    def _send(self, worker: int, slot: int, task: Task) -> None:
        """Tell a worker; that it is dead is seen when it is listened to."""
        raise NotImplementedError

    def _listen(self) -> None:
        """Wait for at least one worker, and call `_finished`, `_died` or `_refused`, or, after `timeout`, `_silent`."""
        raise NotImplementedError

    def _restart(self, worker: int) -> None:
        """Start a dead worker again."""
        raise NotImplementedError

    def close(self) -> None:
        """End the workers."""
        raise NotImplementedError

    def _ask(self, worker: int, slot: int, task: Task) -> None:
        task = replace(task, attempt=self._attempts[worker], begin=task.begin or worker in self._restarted)
        self._restarted.discard(worker)
        self._asked[worker].append((slot, task))
        self._send(worker, slot, task)

    def _finished(self, worker: int, report: Report, arrays: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Take a worker's report, and its arrays where it did not write them in their place itself."""
        slot, _ = self._asked[worker].popleft()
        for name, array in (arrays or {}).items():
            worker_part(self._arrays[slot][name], self._fields[name], worker)[...] = array
        self._done[slot][worker] = report
        self._crashes[worker] = 0

    def _died(self, worker: int, why: str) -> None:
        self._crashes[worker] += 1
        if self._crashes[worker] >= CRASHES:
            self.close()
            raise ActorError(f"actor {worker} failed {CRASHES} times in a row; the last time:\n{why}")
        log.warning("actor %d is started again: %s", worker, why.strip().splitlines()[-1])
        self.restarts += 1
        self._attempts[worker] += 1
        self._restart(worker)
        self._restarted.add(worker)
        unfinished, self._asked[worker] = self._asked[worker], deque()
        for slot, task in unfinished:
            self._ask(worker, slot, task)

    def _refused(self, error: UserError) -> NoReturn:
        """Stop with what a worker says of a user's mistake."""
        self.close()
        raise error

    @property
    def _awaited(self) -> list[int]:
        """The workers that have something to do."""
        return [worker for worker in range(self.workers) if self._asked[worker]]

    def _silent(self) -> NoReturn:
        """Stop, as no worker that is waited for has said anything for `timeout`."""
        names, limit = ", ".join(map(str, self._awaited)), self.timeout or 0.0
        self.close()
        raise ActorError(
            f"actor {names}: expected word within {limit:g} s (datamodule.timeout), got none: a world hangs, or a "
            "task takes longer; "
            f"type datamodule.timeout={max(1.0, 4 * limit):g}, or null to wait for ever"
        )

    def collect(self, task: Task) -> Collected:
        if task.begin:
            self._asked_until = self._turn  # nothing is under way yet, or all of it was collected
        while self._asked_until <= self._turn + self.ahead:
            ahead = self._asked_until - self._turn
            self.request(replace(task, begin=task.begin and not ahead, iteration=task.iteration + ahead))
        return self.receive()

    def request(self, task: Task) -> None:
        slot = self._asked_until % len(self.slots)
        self._tasks[slot] = task
        for worker in range(self.workers):
            self._ask(worker, slot, task)
        self._asked_until += 1

    def receive(self) -> Collected:
        slot, dropped = self._turn % len(self.slots), 0
        while True:
            while any(report is None for report in self._done[slot]):
                self._listen()
            reports = [report for report in self._done[slot] if report is not None]
            old = [
                worker
                for worker, report in enumerate(reports)
                if self.max_lag is not None and self._version - report.version > self.max_lag
            ]
            if not old:
                break
            task = self._tasks[slot]
            assert task is not None
            for worker in old:
                self._done[slot][worker] = None
                self._ask(worker, slot, replace(task, begin=False))
            dropped += len(old)
        self._done[slot] = [None] * self.workers
        self._turn += 1
        return Collected(self._arrays[slot], tuple(reports), slot, dropped, self.restarts)
