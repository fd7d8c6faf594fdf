"""A Hydra sweeper that launches the missing runs of a paper table through whatever launcher is chosen; see
visagent.tables.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class TableSweeperConfig:
    """Set by `visagent-table --run`."""

    _target_: str = "hydra_plugins.visagent_table.TableSweeper"
    table: str | None = None
    scale: str = "laptop"
    seeds: list[int] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)


ConfigStore.instance().store(group="hydra/sweeper", name="visagent_table", node=TableSweeperConfig, provider="visagent")


class TableSweeper(Sweeper):
    """Launches what is missing of a table, each run once.

    Args:
        table: `<paper>/<table>`.
        scale: of the table.
        seeds: instead of the scale's; empty for those.
        overrides: of every run, percent-encoded. Not on the command line itself: there they would be applied before a
            run's preset is chosen.
    """

    def __init__(self, table: str | None, scale: str, seeds: Sequence[int], overrides: Sequence[str]) -> None:
        self.table, self.scale, self.seeds, self.overrides = (
            table,
            scale,
            list(seeds),
            [unquote(override) for override in overrides],
        )
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from hydra.core.plugins import Plugins

        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Launch the missing runs with the user's overrides; returns when they have ended."""
        from concurrent.futures.process import BrokenProcessPool

        from visagent.errors import ConfigError, UserError
        from visagent.tables.grid import load_grid
        from visagent.tables.progress import RunsProgress
        from visagent.tables.results import collect
        from visagent.tables.runs import plan

        assert self.launcher is not None
        if self.table is None:
            raise ConfigError("hydra.sweeper.table: expected a table's name, got none; type visagent-table NAME --run")
        grid = load_grid(self.table, self.scale, self.seeds or None)
        overrides = [*self.overrides, *(argument for argument in arguments if argument not in self.overrides)]
        returned: list[JobReturn] = []
        failed: set[str] = set()
        for wave in collect(grid, plan(grid, overrides)).waves:
            ready = [run for run in wave if run.expert is None or run.expert.signature not in failed]
            for run in wave:
                if run not in ready:
                    print(f"not started: {run.label}: its expert failed", file=sys.stderr)
            if not ready:
                continue
            try:
                with RunsProgress(ready):
                    jobs = self.launcher.launch([list(run.overrides) for run in ready], initial_job_idx=len(returned))
            except BrokenProcessPool as error:
                raise UserError(
                    "a process that worked on a run died (killed, or out of memory); its run is kept: type the same "
                    "command again, with --jobs 1 for less memory"
                ) from error
            # A failed job stays one and the others go on. Its record says why, unless it failed before it had one: so
            # it is said here too.
            for run, job in zip(ready, jobs, strict=True):
                if job.status == JobStatus.FAILED:
                    failed.add(run.signature)
                    print(f"failed: {run.label}: {job._return_value}", file=sys.stderr)
            failed |= {run.signature for run in wave if run not in ready}
            returned += jobs
        return returned
