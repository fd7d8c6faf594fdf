"""Lightning's side of MLflow: a logger that writes in batches."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.loggers import Logger

from visagent.runtime.record import PARENT_VARIABLE

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
FLUSH_COUNT, FLUSH_SECONDS = 900, 10.0
PARAM_CHUNK, PARAM_LENGTH = 100, 500


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """`a.b.c` keys and values as text."""
    for key, value in config.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            yield from flatten(value, path)
        else:
            yield path, str(value)


class MLflowTracker(Logger):
    """A Lightning logger that writes in batches and never closes the run (the runtime knows how it ended).

    Args:
        client: connected.
        run_id: the MLflow run; the same after a resume.
    """

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        super().__init__()
        self.client, self.run_id = client, run_id
        self._waiting: list[tuple[str, float, int, int]] = []
        self._flushed = time.monotonic()

    @classmethod
    def open(cls, client: MlflowClient, experiment_id: str, run_id: str | None, name: str, config: Mapping[str, Any], tags: Mapping[str, str]) -> MLflowTracker:
        """Go on with `run_id`, or create a run with the config's parameters; parameters are logged once, at creation."""
        from mlflow.entities import Param, RunTag
        from mlflow.exceptions import MlflowException

        tags = {**tags, **({"mlflow.parentRunId": os.environ[PARENT_VARIABLE]} if os.environ.get(PARENT_VARIABLE) else {})}
        if run_id is not None:
            try:
                client.get_run(run_id)
                client.set_terminated(run_id, "RUNNING", end_time=0)
                client.update_run(run_id, status="RUNNING")
                client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
                return cls(client, run_id)
            except MlflowException:
                run_id = None  # another database than before: begin a run there
        run_id = client.create_run(experiment_id, run_name=name, tags=dict(tags)).info.run_id
        params = [Param(key, value[:PARAM_LENGTH]) for key, value in flatten(config)]
        for start in range(0, len(params), PARAM_CHUNK):
            client.log_batch(run_id, params=params[start : start + PARAM_CHUNK])
        return cls(client, run_id)

    @property
    def name(self) -> str:
        return "mlflow"

    @property
    def version(self) -> str:
        return self.run_id

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the config was logged at creation."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Queue metrics; `step` is the run's own time (see the glossary), not Lightning's."""
        moment = int(time.time() * 1000)
        self._waiting += [(key, float(value), moment, int(step or 0)) for key, value in metrics.items() if key != "epoch"]
        if len(self._waiting) >= FLUSH_COUNT or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what is queued; where the tracker does not answer it is kept."""
        from mlflow.entities import Metric
        from mlflow.exceptions import MlflowException

        self._flushed = time.monotonic()
        while self._waiting:
            batch = self._waiting[:FLUSH_COUNT]
            try:
                self.client.log_batch(self.run_id, metrics=[Metric(*item) for item in batch])
            except MlflowException as error:  # training goes on; what is queued is sent with the next batch
                log.warning("MLflow does not take metrics now (%s); %d are kept and sent later", str(error).splitlines()[0], len(self._waiting))
                return
            del self._waiting[: len(batch)]

    @rank_zero_only
    def save(self) -> None:
        """Lightning's name for flush."""
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Send what is queued; the run stays open."""
        self.flush()

    def close(self, status: str) -> None:
        """End the MLflow run as FINISHED, FAILED or KILLED."""
        from mlflow.exceptions import MlflowException

        self.flush()
        try:
            self.client.set_terminated(self.run_id, status)
        except MlflowException as error:
            log.warning("MLflow does not take the end of the run (%s); record.json has all of it", str(error).splitlines()[0])

    def save_artifact(self, path: Path, folder: str | None = None) -> None:
        """Keep a file with the run; where the tracker does not answer it stays in the run folder only."""
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_artifact(self.run_id, str(path), folder)
        except MlflowException as error:
            log.warning("MLflow does not take %s (%s)", path.name, str(error).splitlines()[0])
