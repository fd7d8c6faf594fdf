"""A Hydra launcher that makes runs jobs, of Slurm or of this machine, and where `machine=NAME` is looked for; see
visagent.cluster.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

MACHINES = "VISAGENT_MACHINES"
"""Environment variable with a folder of one's own, whose `machine/NAME.yaml` are sites."""


@dataclass
class ClusterLauncherConfig:
    """Chosen by `launcher=slurm` and `launcher=submitit_local`, which hold the settings."""

    _target_: str = "hydra_plugins.visagent_cluster.ClusterLauncher"


ConfigStore.instance().store(
    group="hydra/launcher", name="visagent_cluster", node=ClusterLauncherConfig, provider="visagent"
)


class ClusterLauncher(Launcher):
    """Runs as jobs; `visagent.cluster.launch` does the work, which is imported once there is any."""

    def __init__(self) -> None:
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit what is neither finished nor under way, and wait for all."""
        from visagent.cluster.launch import Sweep

        assert self.hydra_context is not None and self.task_function is not None and self.config is not None
        return Sweep(self.hydra_context, self.task_function, self.config).launch(job_overrides, initial_job_idx)


class Machines(SearchPathPlugin):
    """Adds a user's own folder to where configs are looked for."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        if folder := os.environ.get(MACHINES):
            search_path.append(provider="visagent-machines", path=f"file://{folder}")
