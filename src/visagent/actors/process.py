"""Actors in processes of this machine: arrays and weights in shared memory, a few bytes through a pipe for each
task.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import connection, get_context
from typing import Any

from visagent.actors.pool import Weights
from visagent.actors.queued import QueuedActors
from visagent.actors.roles import RoleFactory, Task
from visagent.actors.shared import SharedArrays, SharedWeights
from visagent.actors.threads import one_thread
from visagent.envs.border import WorldFailure
from visagent.errors import UserError
from visagent.experience.rollouts import allocate, worker_part

CLOSING_S = 5.0


def _work(
    pipe: connection.Connection,
    make_role: RoleFactory,
    worker: int,
    slots: Sequence[SharedArrays] | None,
    weights: SharedWeights,
) -> None:
    """The life of a worker: what the pipe says, until it closes; without slots its arrays go through the pipe as
    well.
    """
    role = None
    try:
        import torch

        torch.set_num_threads(1)
        fields, role, version = make_role.fields(), make_role(worker), -1
        places = [
            {name: worker_part(array, fields[name], worker) for name, array in slot.views().items()}
            for slot in slots or ()
        ]
        own = allocate(fields, 1) if slots is None else None
        while True:
            slot, task = pipe.recv()
            if weights.version() != version:
                loaded, version = weights.read()
                role.policy.load_state_dict(loaded)
            report = role.run(task, places[slot] if own is None else own, version)
            pipe.send((report, own))
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass
    except UserError as error:  # a world may do better the next time, a user's mistake stays one
        with suppress(BrokenPipeError):
            pipe.send(str(error) if isinstance(error, WorldFailure) else error)
    except Exception:  # noqa: BLE001 (whatever it is goes to the learner, which stops the run with it)
        with suppress(BrokenPipeError):
            pipe.send(traceback.format_exc())
    finally:
        if role is not None:
            role.close()


class ProcessActors(QueuedActors):
    """Workers in spawned processes; see `QueuedActors`.

    Args:
        make_role: by worker.
        workers: how many.
        weights: of the policy, for their shapes.
        ahead: tasks that a worker may be ahead of the learner; 0 for synchronous.
        max_lag: versions; None for any.
        shared_memory: workers write where the learner reads; otherwise what they make is pickled and goes through a
            pipe, which is slower.
        timeout: see `QueuedActors`.
    """

    def __init__(
        self,
        make_role: RoleFactory,
        workers: int,
        weights: Weights,
        ahead: int = 0,
        max_lag: int | None = None,
        shared_memory: bool = True,
        timeout: float | None = None,
    ) -> None:
        super().__init__(make_role, workers, ahead, max_lag, timeout)
        self._context = get_context("spawn")
        self._make_role, self._weights, self._shared_memory = make_role, SharedWeights(weights), shared_memory
        self._pipes: list[connection.Connection] = []
        self._processes: list[Any] = []
        try:
            for worker in range(workers):
                pipe, process = self._start(worker)
                self._pipes.append(pipe)
                self._processes.append(process)
        except BaseException:  # Ctrl-C, or no memory for another one
            self.close()
            raise

    def _start(self, worker: int) -> tuple[connection.Connection, Any]:
        ours, theirs = self._context.Pipe()
        arguments = (theirs, self._make_role, worker, self.slots if self._shared_memory else None, self._weights)
        process = self._context.Process(target=_work, args=arguments, name=f"visagent-actor-{worker}", daemon=True)
        with one_thread():
            process.start()
        theirs.close()
        return ours, process

    def publish(self, weights: Weights, version: int) -> None:
        self._weights.write(weights, version)
        self._version = version

    def _send(self, worker: int, slot: int, task: Task) -> None:
        with suppress(BrokenPipeError):
            self._pipes[worker].send((slot, task))

    def _listen(self) -> None:
        ready_pipes = connection.wait(self._pipes, self.timeout)
        if not ready_pipes:
            for worker in self._awaited:
                self._processes[worker].kill()  # it would not hear that the pipe is closed
            self._silent()
        for ready in ready_pipes:
            worker = self._pipes.index(ready)  # type: ignore[arg-type]
            try:
                said = self._pipes[worker].recv()
            except (EOFError, OSError):  # also in the middle of a message
                said = None
            if isinstance(said, tuple):
                self._finished(worker, *said)
            elif isinstance(said, UserError):
                self._refused(said)
            else:
                self._processes[worker].join()
                self._died(worker, said or f"its process ended with exit code {self._processes[worker].exitcode}")

    def _restart(self, worker: int) -> None:
        self._pipes[worker].close()
        self._pipes[worker], self._processes[worker] = self._start(worker)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        deadline = time.monotonic() + CLOSING_S
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()
