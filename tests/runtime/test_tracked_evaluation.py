"""Evaluations in MLflow: below their runs, with the epoch and a hash of what was tested."""

from __future__ import annotations

import json

import pytest
from omegaconf import OmegaConf

from comparing import folder_of
from visagent.runtime.evaluate import evaluate
from visagent.runtime.tracking import connect
from visagent.runtime.train import train


@pytest.mark.usefixtures("undrawn")
def test_an_evaluation_is_a_run_below_its_run(compose, tmp_path):
    record = train(compose("ppo/cartpole", "logger=mlflow", "trainer.max_epochs=1"))
    folder = folder_of(record, tmp_path)
    unfinished = folder.load()
    unfinished.status = "KILLED"
    outputs = folder.path.parents[1]
    settings = {
        "run": record.signature, "fuse": None, "threads": 1, "allow_targets": [], "algorithm": {}, "network": {},
        "datamodule": {"test_episodes": 3}, "trainer": {},
        "paths": {"outputs": str(outputs), "videos": "embedded", "run": None},
    }  # fmt: skip
    for _ in range(2):  # the second goes to the same place
        metrics = evaluate(OmegaConf.create(settings))
    folder.save(unfinished)
    evaluate(OmegaConf.create(settings | {"datamodule": {"test_episodes": 2, "eval_deterministic": False}}))
    client, experiment = connect(f"sqlite:///{outputs}/mlflow.db", "visagent", outputs)
    runs = client.search_runs([experiment], "tags.`visagent.kind` = 'evaluation'", order_by=["attributes.start_time"])
    assert len(runs) == 2
    first, second = (run.data.tags for run in runs)
    (saved,) = folder.path.glob(f"evaluations/{first['visagent.evaluation'].partition('/')[2]}.json")
    assert first["visagent.weights"] == json.loads(saved.read_text())["tested"]["weights"]
    assert first["visagent.epoch"] == "1" and first["mlflow.parentRunId"] == record.mlflow_run_id
    assert runs[0].data.metrics["test/return"] == metrics["test/return"]
    assert first["visagent.run_status"] == "FINISHED" and "(KILLED)" not in first["mlflow.runName"]
    assert second["visagent.run_status"] == "KILLED" and second["mlflow.runName"].endswith("(KILLED)")
