"""A Hydra sweeper that searches, on whatever launcher is chosen; see visagent.search."""

import os
import sys
from dataclasses import dataclass

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class SearchSweeperConfig:
    """Chosen by `hydra/sweeper=visagent_search`; see `visagent.search.study.SearchSettings`."""

    _target_: str = "hydra_plugins.visagent_search.SearchSweeper"
    sampler: str = "tpe"
    trials: int = 20
    at_once: int = 1
    direction: str = "maximize"
    seed: int = 0
    startup: int = 10
    prune: str = "none"
    warmup: int = 1


ConfigStore.instance().store(
    group="hydra/sweeper", name="visagent_search", node=SearchSweeperConfig, provider="visagent"
)


class SearchSweeper(Sweeper):
    """Chooses runs by what earlier ones came to.

    Args:
        settings: see `SearchSweeperConfig`.
    """

    def __init__(self, **settings: object) -> None:
        self.settings = settings
        self.launcher: Launcher | None = None
        self.config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Launch runs until as many are there as were asked for; returns when they have ended."""
        from visagent.runtime.record import PARENT_VARIABLE
        from visagent.search.command import search_of
        from visagent.search.report import write_report

        assert self.launcher is not None and self.config is not None
        search = search_of(self.settings, arguments, self.config)
        returned: list[JobReturn] = []
        while batch := search.next():
            pruning = search.write_pruning()
            told = [f"objective={search.objective}", *([] if pruning is None else [f"prune={pruning}"])]
            first, last = batch[0].number + 1, batch[-1].number + 1
            named = str(first) if first == last else f"{first} to {last}"
            print(f"search {search.folder.name}: run {named} of {search.settings.trials}", file=sys.stderr)
            jobs = self.launcher.launch([[*trial.overrides, *told] for trial in batch], initial_job_idx=len(returned))
            returned += jobs
            known = {trial.signature: trial for trial in search.known()}
            nothing = all(trial.state != "finished" for trial in known.values())
            for trial, job in zip(batch, jobs, strict=True):
                # One that says nothing for itself, and all of a search in which nothing has worked yet.
                if job.status == JobStatus.FAILED and (known[trial.signature].state == "open" or nothing):
                    _ = job.return_value  # raises
            write_report(search, None, self.config)
        print(write_report(search, os.environ.get(PARENT_VARIABLE), self.config, last=True))
        return returned
