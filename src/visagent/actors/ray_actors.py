"""Actors on the nodes of a Ray cluster: batches come through its object store, and an actor whose node dies is started
on another.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
from typing import Any

from visagent.actors.pool import Weights
from visagent.actors.queued import QueuedActors
from visagent.actors.roles import RoleFactory, Task
from visagent.envs.border import WorldFailure
from visagent.errors import ConfigError, UserError
from visagent.experience.rollouts import allocate

log = logging.getLogger(__name__)
NODE_S = 10.0
"""Wait before an actor that died a second time in a row is started again, and twice as long before the third."""
STARTING_S = 60.0
"""Time that an actor may take to start, or to start again on another node, before something is said."""


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ConfigError(f"actors=ray: Ray cannot be imported ({error}); type pip install 'visagent[ray]'") from error


class _Worker:
    """The work of one actor, on whichever node it is."""

    def __init__(self, make_role: RoleFactory, worker: int) -> None:
        import torch

        torch.set_num_threads(1)
        self.role = make_role(worker)
        self.arrays = allocate(make_role.fields(), 1)
        self.version = -1

    def run(self, task: Task, weights: Any, version: int) -> tuple[Any, Any]:
        """The report of a task and its arrays; `weights` are NumPy's, from the object store."""
        import torch

        if version != self.version:
            self.role.policy.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
            self.version = version
        return self.role.run(task, self.arrays, version), self.arrays

    def node(self) -> str:
        """Where it is."""
        return str(_ray().get_runtime_context().get_node_id())


class RayActors(QueuedActors):
    """Workers on a Ray cluster; see `QueuedActors`.

    Weights are put into the object store once for each version, so that each node gets them once.

    Args:
        make_role: by worker; it travels to the nodes, which have visagent installed.
        workers: how many, one CPU each, spread over the nodes.
        ahead: tasks that a worker may be ahead of the learner; 0 for synchronous.
        max_lag: versions; None for any.
        address: of the cluster, `HOST:PORT` or `auto`; None for the environment's (`RAY_ADDRESS`), or to start one on
            this machine.
        timeout: see `QueuedActors`.

    Raises:
        ConfigError: when Ray is not installed or the cluster cannot be reached.
    """

    def __init__(
        self,
        make_role: RoleFactory,
        workers: int,
        ahead: int = 0,
        max_lag: int | None = None,
        address: str | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__(make_role, workers, ahead, max_lag, timeout)
        self._since = time.monotonic()  # something was asked for or heard last
        self._make_role = make_role
        self._ray = ray = _ray()
        self._ours = not ray.is_initialized()
        address = address or os.environ.get("RAY_ADDRESS")
        if self._ours:
            settings: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
            local = {} if address else {"num_cpus": max(workers, 1)}
            try:
                ray.init(address=address, **settings, **local)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise ConfigError(
                    f"datamodule.address={address}: no Ray cluster can be reached there ({error})"
                ) from error
        self._weights: Any = None
        self._under_way: dict[Any, int] = {}
        self._workers = [self._start(worker) for worker in range(workers)]

    def _start(self, worker: int) -> Any:
        remote = self._ray.remote(
            num_cpus=1, max_restarts=0, scheduling_strategy="SPREAD", runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}}
        )
        return remote(_Worker).remote(self._make_role, worker)

    def publish(self, weights: Weights, version: int) -> None:
        self._weights = self._ray.put({name: tensor.detach().cpu().numpy() for name, tensor in weights.items()})
        self._version = version

    def nodes(self) -> list[str]:
        """The node of each worker."""
        return [
            str(node) for node in self._ray.get([handle.node.remote() for handle in self._workers], timeout=STARTING_S)
        ]

    def _send(self, worker: int, slot: int, task: Task) -> None:
        self._since = time.monotonic()
        # A task carries the weights that are newest when it is asked for.
        self._under_way[self._workers[worker].run.remote(task, self._weights, self._version)] = worker

    def _listen(self) -> None:
        ray, failures = self._ray, self._ray.exceptions
        limit = STARTING_S if self.timeout is None else min(STARTING_S, self.timeout)
        done, _ = ray.wait(list(self._under_way), num_returns=1, timeout=limit)
        if done:
            self._since = time.monotonic()
        elif self.timeout is not None and time.monotonic() - self._since >= self.timeout:
            self._silent()
        else:
            free = ray.available_resources().get("CPU", 0.0)
            log.warning(
                "no actor has answered for %.0f s; %d actors need a CPU each, the cluster has %.0f free ones",
                STARTING_S,
                self.workers,
                free,
            )
        for reference in done:
            worker = self._under_way.pop(reference)
            try:
                report, arrays = ray.get(reference)
            except (failures.RayActorError, failures.RayTaskError) as error:
                cause = getattr(error, "cause", None)
                if isinstance(cause, UserError) and not isinstance(cause, WorldFailure):
                    self._refused(cause)
                # The worker, its node or its world failed; what else it was asked for is not waited for.
                # a node that dies is known to be dead seconds later, and asked in vain until then
                if isinstance(error, failures.RayActorError):
                    time.sleep(NODE_S * self._crashes[worker])
                self._under_way = {other: owner for other, owner in self._under_way.items() if owner != worker}
                self._died(worker, str(error))
            else:
                self._finished(worker, report, arrays)

    def _restart(self, worker: int) -> None:
        self._ray.kill(self._workers[worker])
        self._workers[worker] = self._start(worker)

    def close(self) -> None:
        workers, self._workers = self._workers, []
        for handle in workers:
            self._ray.kill(handle)
        if self._ours:
            self._ours = False
            self._ray.shutdown()
