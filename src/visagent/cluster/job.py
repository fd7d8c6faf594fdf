"""What a job does: one run of a sweep, as Hydra runs it, which the scheduler may end and start again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from visagent.cluster.ray_nodes import head, serve, wants_nodes

LOWEST_PORT, PORTS = 15000, 10000
"""Where tasks of this machine meet: at a port by their job's number, as Slurm's do with Lightning."""


class Job:
    """Runs one of a sweep's runs; pickled by submitit.

    Args:
        hydra_context, task_function, config: of the sweep.
        state: of Hydra's singletons.
    """

    def __init__(
        self,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
        state: Mapping[type, Singleton],
    ) -> None:
        self.hydra_context, self.task_function, self.config, self.state = hydra_context, task_function, config, state

    def __call__(self, overrides: Sequence[str], number: int) -> JobReturn:
        import submitit

        from visagent.runtime.preemption import listen
        from visagent.runtime.stopping import Preempted

        environment = submitit.JobEnvironment()
        environment.paths.result_pickle.unlink(missing_ok=True)  # of an attempt that was put back into the queue
        if environment.cluster == "local" and environment.num_tasks > 1:
            _introduce(environment)
        wish = listen(_requeue(signal.getsignal(signal.SIGUSR2)))
        Singleton.set_state(self.state)
        setup_globals()
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config.hydra.job):
            config.hydra.job.id = environment.job_id
            config.hydra.job.num = number
        nothing = JobReturn(overrides=overrides, status=JobStatus.COMPLETED)  # the first task's is what counts
        try:
            if not wants_nodes(config):
                return self._run(config)
            if environment.global_rank > 0:
                serve(environment.paths.folder, config.datamodule.actors)
                return nothing
            with head(environment.paths.folder, config.datamodule.actors):
                return self._run(config)
        except Preempted:
            if environment.global_rank == 0:
                wish.go()
            return nothing  # Slurm ends this task with the job

    def _run(self, config: DictConfig) -> JobReturn:
        return run_job(
            hydra_context=self.hydra_context,
            task_function=self.task_function,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )

    def checkpoint(self, *arguments: Any) -> Any:
        """What submitit runs when the job's turn comes again: the same."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, *arguments)


def _introduce(environment: Any) -> None:
    """Tell a task of this machine's what Slurm would tell one of its own; Lightning reads it."""
    os.environ |= {
        "LOCAL_RANK": str(environment.local_rank),
        "WORLD_SIZE": str(environment.num_tasks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(LOWEST_PORT + int(environment.job_id) % PORTS),
    }


def _requeue(handler: Any) -> Callable[[], None]:
    """What submitit does where its signal comes: it keeps the job's pickle, has Slurm put the job back, and exits."""
    assert callable(handler), "submitit handles its signal in every job"
    return lambda: handler(signal.SIGUSR2, None)
