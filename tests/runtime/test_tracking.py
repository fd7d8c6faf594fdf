"""MLflow: one run per run, through stops and resumes, with statuses, parameters, curves and pictures."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from mlflow import MlflowClient

from visagent.errors import ConfigError
from visagent.runtime.mlflow_logger import MLflowTracker
from visagent.runtime.record import PARENT_VARIABLE
from visagent.runtime.tracking import connect, tracking_uri
from visagent.runtime.train import Cancelled, train

PRESET = "navigation/behaviour_cloning"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A fresh database takes seconds to make: once."""
    folder = tmp_path_factory.mktemp("mlflow")
    connect(f"sqlite:///{folder}/mlflow.db", "template", folder)
    return folder / "mlflow.db"


@pytest.fixture
def client(template, tmp_path):
    (tmp_path / "outputs").mkdir()
    shutil.copy(template, tmp_path / "outputs" / "mlflow.db")
    return MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")


def runs(client):
    experiment = client.get_experiment_by_name("visagent")
    return client.search_runs([experiment.experiment_id])


def stop_with(error, monkeypatch, epoch=1):
    from lightning_modules.behaviour_cloning import BehaviourCloning

    original = BehaviourCloning.imitate

    def stopping(self, batch):
        if self.current_epoch == epoch:
            raise error
        return original(self, batch)

    monkeypatch.setattr(BehaviourCloning, "imitate", stopping)


def test_a_run_is_tracked_whole(client, compose):
    record = train(compose(PRESET, "logger=mlflow"))
    (run,) = runs(client)
    assert run.info.run_id == record.mlflow_run_id and run.info.status == "FINISHED" and run.info.run_name == f"{PRESET}-s0"
    assert run.data.params["optimizer.lr"] == "0.001" and run.data.params["datamodule.batch_size"] == "128"
    assert run.data.tags["visagent.signature"] == record.signature and run.data.tags["visagent.scale"] == "smoke"
    loss = client.get_metric_history(run.info.run_id, "train/loss_epoch")
    assert len(loss) == 2 and loss[0].step < loss[1].step == int(record.history["1"]["step"])
    assert "test/argmax/all/success_rate" in run.data.metrics and "epoch" not in run.data.metrics
    assert {a.path for a in client.list_artifacts(run.info.run_id)} >= {"config.yaml", "record.json", "figures"}
    assert {"figures/learning_curves.png"} <= {a.path for a in client.list_artifacts(run.info.run_id, "figures")}


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("bug"), "FAILED"), (Cancelled(15), "KILLED")])
def test_stopped_runs_say_why_and_go_on_under_the_same_id(error, status, client, compose, monkeypatch):
    with monkeypatch.context() as patch:
        stop_with(error, patch)
        with pytest.raises((type(error), SystemExit)):
            train(compose(PRESET, "logger=mlflow"))
    (stopped,) = runs(client)
    assert stopped.info.status == status
    record = train(compose(PRESET, "logger=mlflow"))
    (resumed,) = runs(client)
    assert resumed.info.run_id == stopped.info.run_id == record.mlflow_run_id and resumed.info.status == "FINISHED"
    assert resumed.data.params == stopped.data.params
    assert len(client.get_metric_history(resumed.info.run_id, "train/loss_epoch")) == 2


def test_children_find_their_parent_through_the_environment(client, compose, monkeypatch):
    monkeypatch.setenv(PARENT_VARIABLE, "feedbeef")
    train(compose(PRESET, "logger=mlflow", "trainer.max_epochs=1"))
    assert runs(client)[0].data.tags["mlflow.parentRunId"] == "feedbeef"


def test_a_lost_database_begins_a_new_run(client, compose, monkeypatch, template, tmp_path):
    with monkeypatch.context() as patch:
        stop_with(RuntimeError("bug"), patch)
        with pytest.raises(RuntimeError):
            train(compose(PRESET, "logger=mlflow"))
    before = runs(client)[0].info.run_id
    client._tracking_client.store.engine.dispose()
    shutil.copy(template, tmp_path / "outputs" / "mlflow.db")
    record = train(compose(PRESET, "logger=mlflow"))
    assert record.mlflow_run_id != before and record.status == "FINISHED"


def test_where_runs_are_tracked(monkeypatch, tmp_path):
    assert tracking_uri({"tracking_uri": None}, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri({"tracking_uri": None}, tmp_path) == "http://127.0.0.1:5000"
    assert tracking_uri({"tracking_uri": "sqlite:///x"}, tmp_path) == "sqlite:///x"


def test_metrics_go_in_batches(client):
    experiment = client.create_experiment("batches")
    tracker = MLflowTracker.open(client, experiment, None, "r", {"a": {"b": 1}}, {})
    calls = []
    original = client.log_batch
    client.log_batch = lambda *args, **kwargs: (calls.append(len(kwargs["metrics"])), original(*args, **kwargs))
    for step in range(2000):
        tracker.log_metrics({"x": 0.5, "epoch": 1.0}, step)
    tracker.close("FINISHED")
    assert sum(calls) == 2000 and len(calls) <= 4
    assert client.get_run(tracker.run_id).data.params == {"a.b": "1"}


def test_a_tracker_that_does_not_answer_stops_nothing(client, caplog):
    from mlflow.exceptions import MlflowException

    tracker = MLflowTracker.open(client, client.create_experiment("silent"), None, "r", {}, {})
    original = client.log_batch

    def refuse(*args, **kwargs):
        raise MlflowException("database is locked")

    client.log_batch = refuse
    tracker.log_metrics({"x": 0.5}, 1)
    tracker.flush()
    assert "database is locked" in caplog.text and "1 are kept" in caplog.text
    client.log_batch = original
    tracker.close("FINISHED")
    assert client.get_run(tracker.run_id).data.metrics == {"x": 0.5}


def test_local_ddp_sweeps_are_refused(compose, monkeypatch):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.core.hydra_config import HydraConfig

    from visagent.runtime.multirun import refuse_local_ddp

    config = compose(PRESET, "trainer.devices=2")
    refuse_local_ddp(config)  # not a sweep
    with initialize_config_module("visagent.conf", version_base="1.3"):
        full = hydra_compose("train", [f"experiment={PRESET}", "trainer.devices=2", "hydra.mode=MULTIRUN"], return_hydra_config=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    HydraConfig.instance().set_config(full)
    with pytest.raises(ConfigError, match=r"type trainer\.devices=1"):
        refuse_local_ddp(config)


@pytest.mark.process
def test_runs_that_begin_at_once_make_one_database(tmp_path):
    code = f"from pathlib import Path; from visagent.runtime.tracking import connect; connect('sqlite:///{tmp_path}/m.db', 'together', Path({str(tmp_path)!r}))"
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.wait() == 0, process.stderr.read()
    assert MlflowClient(f"sqlite:///{tmp_path}/m.db").get_experiment_by_name("together") is not None
