"""MLflow: the view for browsing; the record is the truth.

One SQLite file under outputs/ by default (MLflow refuses its old file store), `MLFLOW_TRACKING_URI` or `logger.tracking_uri` elsewhere.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Makes the UI open on runs and curves, not on its pages for language models."""


def tracking_uri(config: Mapping[str, Any], outputs: Path) -> str:
    """Where to track: the config's address, the environment's, or `outputs/mlflow.db`."""
    return config.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(outputs / 'mlflow.db').resolve()}"


def connect(uri: str, experiment: str, outputs: Path) -> tuple[MlflowClient, str]:
    """A client and the id of the experiment, created when missing."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing leaves the machine unasked
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for name in ("alembic", "mlflow", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)

    outputs.mkdir(parents=True, exist_ok=True)
    with (outputs / "mlflow.lock").open("w") as lock:  # MLflow's making of the tables fails where two runs begin at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = MlflowClient(uri)
        found = client.get_experiment_by_name(experiment)
    if found is not None:
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return client, found.experiment_id
    location = (outputs / "mlflow-artifacts").resolve().as_uri() if uri.startswith("sqlite:") else None
    try:
        return client, client.create_experiment(experiment, artifact_location=location, tags=KIND)
    except MlflowException:  # another process was faster
        found = client.get_experiment_by_name(experiment)
        if found is None:
            raise
        return client, found.experiment_id
