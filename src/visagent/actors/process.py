"""Actors in processes of this machine: arrays and weights in shared memory, a few bytes through a pipe for each task."""

from __future__ import annotations

import ctypes
import logging
import os
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import connection, get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.actors.pool import Collected, Weights
from visagent.actors.roles import Report, RoleFactory, Task
from visagent.errors import UserError
from visagent.experience.rollouts import joined, part

log = logging.getLogger(__name__)
CRASHES = 3
"""Deaths of one worker without a finished task in between, after which the run stops."""
CLOSING_S = 5.0


class ActorError(UserError):
    """A worker failed again and again; the message has its traceback."""


class SharedArrays:
    """Named arrays in memory that other processes see; it crosses to them when they start.

    The memory has no name in the file system, so nothing is left of it however the processes end.
    """

    def __init__(self, shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        self.places: dict[str, tuple[int, tuple[int, ...], str]] = {}
        end = 0
        for name, (shape, dtype) in shapes.items():
            self.places[name] = (end, shape, dtype)
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            end += -(-size // 64) * 64
        self.memory = get_context("spawn").RawArray(ctypes.c_byte, max(end, 1))

    def views(self) -> dict[str, NDArray[Any]]:
        """The arrays."""
        found = {}
        for name, (offset, shape, dtype) in self.places.items():
            count = int(np.prod(shape, dtype=np.int64))
            found[name] = np.frombuffer(memoryview(self.memory), dtype, count, offset).reshape(shape)
        return found


class SharedWeights:
    """A policy's weights with their version, written by one process and read by many without a lock.

    The version is odd while they are written; a reader that saw it change reads again. A process killed at any moment blocks nobody.
    """

    VERSION = "version."

    def __init__(self, weights: Weights) -> None:
        shapes = {name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for name, tensor in weights.items()}
        self.shared = SharedArrays({self.VERSION: ((1,), "int64"), **shapes})

    def write(self, weights: Weights, version: int) -> None:
        """Publish weights as `version` (from 0)."""
        views = self.shared.views()
        views[self.VERSION][0] = 2 * version + 1
        for name, tensor in weights.items():
            np.copyto(views[name], tensor.detach().cpu().numpy())
        views[self.VERSION][0] = 2 * version + 2

    def version(self) -> int:
        """The last version written whole, -1 before the first."""
        return int(self.shared.views()[self.VERSION][0]) // 2 - 1

    def read(self) -> tuple[dict[str, Any], int]:
        """A copy of the weights, and their version."""
        import torch

        views = self.shared.views()
        while True:
            before = int(views[self.VERSION][0])
            copied = {name: torch.from_numpy(view.copy()) for name, view in views.items() if name != self.VERSION}
            if before % 2 == 0 and int(views[self.VERSION][0]) == before:
                return copied, before // 2 - 1
            time.sleep(1e-4)


def _work(pipe: connection.Connection, make_role: RoleFactory, worker: int, slots: Sequence[SharedArrays], weights: SharedWeights) -> None:
    """The life of a worker: what the pipe says, until it closes."""
    role = None
    try:
        import torch

        torch.set_num_threads(1)
        fields, role, version = make_role.fields(), make_role(worker), -1
        places = [{name: part(array, fields[name], worker) for name, array in slot.views().items()} for slot in slots]
        while True:
            slot, task = pipe.recv()
            if weights.version() != version:
                loaded, version = weights.read()
                role.policy.load_state_dict(loaded)
            pipe.send((slot, role.run(task, places[slot], version)))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass
    except Exception:  # noqa: BLE001 (whatever it is goes to the learner, which stops the run with it)
        with suppress(BrokenPipeError):
            pipe.send(traceback.format_exc())
    finally:
        if role is not None:
            role.close()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that start meanwhile compute with one thread: several on busy cores are many times slower."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


class ProcessActors:
    """Workers in spawned processes.

    Synchronous: `collect` has all of them do one task with the weights published last. Asynchronous: they go on by themselves, each at most
    `ahead` tasks before the learner, with the weights that are newest when a task begins; what is older than `max_lag` versions when the learner
    takes it is dropped and made again.

    A worker that dies is started again and does its unfinished tasks anew, with other random numbers.

    Args:
        make_role: by worker.
        workers: how many.
        weights: of the policy, for their shapes.
        ahead: tasks that a worker may be ahead of the learner; 0 for synchronous.
        max_lag: versions; None for any.

    Raises:
        ActorError: when a worker dies `CRASHES` times in a row, with its traceback.
    """

    def __init__(self, make_role: RoleFactory, workers: int, weights: Weights, ahead: int = 0, max_lag: int | None = None) -> None:
        self.ahead, self.max_lag, self.workers = ahead, max_lag, workers
        self._context = get_context("spawn")
        self._make_role = make_role
        shapes = {name: (joined(field, workers), field.dtype) for name, field in make_role.fields().items()}
        self.slots = [SharedArrays(shapes) for _ in range(ahead + 1)]
        self._arrays = [slot.views() for slot in self.slots]
        self._weights = SharedWeights(weights)
        self._pipes: list[connection.Connection] = []
        self._processes: list[Any] = []
        self._asked: list[deque[tuple[int, Task]]] = [deque() for _ in range(workers)]
        self._done: list[list[Report | None]] = [[None] * workers for _ in self.slots]
        self._crashes = [0] * workers
        self._attempts = [0] * workers
        self.restarts = 0
        self._turn = self._asked_until = 0
        self._version = -1
        for worker in range(workers):
            pipe, process = self._start(worker)
            self._pipes.append(pipe)
            self._processes.append(process)

    def _start(self, worker: int) -> tuple[connection.Connection, Any]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(theirs, self._make_role, worker, self.slots, self._weights), name=f"visagent-actor-{worker}", daemon=True
        )
        with _one_thread():
            process.start()
        theirs.close()
        return ours, process

    def publish(self, weights: Weights, version: int) -> None:
        self._weights.write(weights, version)
        self._version = version

    def _ask(self, worker: int, slot: int, task: Task) -> None:
        task = replace(task, attempt=self._attempts[worker])
        self._asked[worker].append((slot, task))
        with suppress(BrokenPipeError):  # its death is seen when the answer is read
            self._pipes[worker].send((slot, task))

    def _listen(self) -> None:
        """Take in what at least one worker says."""
        for ready in connection.wait(self._pipes):
            worker = self._pipes.index(ready)  # type: ignore[arg-type]
            try:
                said = self._pipes[worker].recv()
            except (EOFError, ConnectionResetError):
                said = None
            if isinstance(said, tuple):
                slot, report = said
                self._asked[worker].popleft()
                self._done[slot][worker] = report
                self._crashes[worker] = 0
            else:
                self._revive(worker, said)

    def _revive(self, worker: int, said: str | None) -> None:
        process = self._processes[worker]
        process.join()
        self._crashes[worker] += 1
        why = said or f"its process ended with exit code {process.exitcode}"
        if self._crashes[worker] >= CRASHES:
            self.close()
            raise ActorError(f"actor {worker} failed {CRASHES} times in a row; the last time:\n{why}")
        log.warning("actor %d is started again: %s", worker, why.strip().splitlines()[-1])
        self.restarts += 1
        self._attempts[worker] += 1
        self._pipes[worker].close()
        self._pipes[worker], self._processes[worker] = self._start(worker)
        unfinished, self._asked[worker] = self._asked[worker], deque()
        for position, (slot, task) in enumerate(unfinished):
            self._ask(worker, slot, replace(task, begin=task.begin or position == 0))

    def collect(self, task: Task) -> Collected:
        if task.begin:
            self._asked_until = self._turn  # nothing is under way yet, or all of it was collected
        while self._asked_until <= self._turn + self.ahead:
            self.request(replace(task, begin=task.begin and self._asked_until == self._turn))
        return self.receive()

    def request(self, task: Task) -> None:
        for worker in range(self.workers):
            self._ask(worker, self._asked_until % len(self.slots), task)
        self._asked_until += 1
        self._newest = task

    def receive(self) -> Collected:
        slot, dropped = self._turn % len(self.slots), 0
        while True:
            while any(report is None for report in self._done[slot]):
                self._listen()
            reports = [report for report in self._done[slot] if report is not None]
            old = [worker for worker, report in enumerate(reports) if self.max_lag is not None and self._version - report.version > self.max_lag]
            if not old:
                break
            for worker in old:
                self._done[slot][worker] = None
                self._ask(worker, slot, replace(self._newest, begin=False))
            dropped += len(old)
        self._done[slot] = [None] * self.workers
        self._turn += 1
        return Collected(self._arrays[slot], tuple(reports), slot, dropped, self.restarts)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        deadline = time.monotonic() + CLOSING_S
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
