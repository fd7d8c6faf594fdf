"""An evaluation in MLflow, as a run of its own below the run that was evaluated."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visagent.runtime.outbox import safe_name
from visagent.runtime.record import Record
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.tracking import TrackingUnavailable, ask, connect, tracking_uri

log = logging.getLogger(__name__)
NAME_TAG = "visagent.evaluation"


def track_evaluation(
    config: Mapping[str, Any],
    folder: RunFolder,
    record: Record,
    name: str,
    metrics: Mapping[str, float],
    changed: Sequence[str],
    about: Mapping[str, Any],
    outputs: Path,
) -> None:
    """Log an evaluation where the run itself is logged; the same one again goes to the same place.

    Args:
        config: the run's.
        folder, record: of the run.
        name: of the evaluation.
        metrics: of the test.
        changed: settings that differ from the run's.
        outputs: where runs lie, unless this one's folder says it.
        about: `status` of the run, `epochs` that it has done, and what was `tested`: `epoch`, `weights` (a hash).
    """
    if not config["logger"]["enabled"] or record.mlflow_run_id is None:
        return
    if folder.path.resolve().parent.name == "runs":  # it may have been moved
        outputs = folder.path.resolve().parents[1]
    uri, tested = tracking_uri(config["logger"], outputs), about["tested"]
    unfinished = about["status"] != "FINISHED"
    tags = {
        "mlflow.parentRunId": record.mlflow_run_id,
        "mlflow.runName": f"{record.name}-s{record.seed} evaluated" + (f" ({about['status']})" if unfinished else ""),
        "visagent.kind": "evaluation",
        NAME_TAG: f"{record.signature}/{name}",
        "visagent.folder": str(folder.path.resolve()),
        "visagent.scale": record.scale,
        "visagent.run_status": about["status"],
        "visagent.changed": "; ".join(changed) or "nothing",
        **({"visagent.epoch": str(tested["epoch"] + 1), "visagent.weights": tested["weights"]} if tested else {}),
    }

    def write() -> None:
        from mlflow.entities import Metric, RunTag

        client, experiment = connect(uri, config["logger"]["experiment"], outputs)
        found = client.search_runs([experiment], f"tags.`{NAME_TAG}` = '{tags[NAME_TAG]}'", max_results=1)
        run = found[0] if found else client.create_run(experiment, tags=tags)
        now, step = int(time.time() * 1000), int(tested.get("epoch", about["epochs"]))
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(safe_name(key), value, now, step) for key, value in metrics.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        client.set_terminated(run.info.run_id, "FINISHED")

    try:
        ask(write, uri)
    except TrackingUnavailable as error:
        log.warning("MLflow cannot be told of this evaluation (%s); its file has it all", error)
