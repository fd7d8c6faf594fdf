"""What a failed job of Hydra says: its message alone, and in a sweep each job's own, as it ends."""

from __future__ import annotations

import sys
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from visagent.errors import UserError


class SaidJobReturn(JobReturn):
    """A failed job's return, which raises the failure without announcing it; Hydra's own writes a line with all
    overrides before.
    """

    @property  # type: ignore[misc]
    def return_value(self) -> Any:
        """Never there: raises."""
        raise self._return_value


class Failures(Callback):
    """Makes the failures of jobs `SaidJobReturn`s, and in a sweep says which job it was: of several Hydra would raise
    the first alone.
    """

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if job_return.status != JobStatus.FAILED:
            return
        job_return.__class__ = SaidJobReturn
        hydra, error = config.get("hydra"), job_return._return_value
        if hydra is None or hydra.mode != RunMode.MULTIRUN or by_table(config):
            return
        if isinstance(error, UserError):
            print(f"failed: {' '.join(job_return.overrides or ())}: {error}", file=sys.stderr)


def by_table(config: DictConfig) -> bool:
    """Whether a sweep is that of a table's runs, which says itself what failed."""
    return str(config.hydra.sweeper.get("_target_")).endswith("TableSweeper")
