"""MLflow: one run per run, through stops and resumes, with statuses, parameters, curves and pictures."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from chromium import free_port
from visagent import cli
from visagent.errors import ConfigError
from visagent.runtime import info, mlflow_logger, tracking
from visagent.runtime.credentials import without_credentials
from visagent.runtime.mlflow_logger import MLflowTracker
from visagent.runtime.multirun import MultirunParent
from visagent.runtime.outbox import Store, deliver_ended, names_tags, safe_name
from visagent.runtime.provenance import command
from visagent.runtime.record import PARENT_VARIABLE, Record
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.tracking import (
    TrackingUnavailable,
    ask,
    check_tracking,
    connect,
    end_cut_off,
    hold,
    tend,
    tracking_uri,
)
from visagent.runtime.train import Cancelled, train

PRESET = "navigation/behaviour_cloning"


@pytest.fixture
def client(empty_tracking, tmp_path):
    (tmp_path / "outputs").mkdir()
    shutil.copy(empty_tracking, tmp_path / "outputs" / "mlflow.db")
    return MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


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
    assert (
        run.info.run_id == record.mlflow_run_id
        and run.info.status == "FINISHED"
        and run.info.run_name == f"{PRESET}-s0"
    )
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


def test_a_lost_database_begins_a_new_run(client, compose, monkeypatch, empty_tracking, tmp_path):
    with monkeypatch.context() as patch:
        stop_with(RuntimeError("bug"), patch)
        with pytest.raises(RuntimeError):
            train(compose(PRESET, "logger=mlflow"))
    before = runs(client)[0].info.run_id
    client._tracking_client.store.engine.dispose()
    shutil.copy(empty_tracking, tmp_path / "outputs" / "mlflow.db")
    record = train(compose(PRESET, "logger=mlflow"))
    assert record.mlflow_run_id != before and record.status == "FINISHED"


def test_where_runs_are_tracked(monkeypatch, tmp_path):
    assert tracking_uri({"tracking_uri": None}, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert tracking_uri({"tracking_uri": None}, tmp_path) == "http://127.0.0.1:5000"
    assert tracking_uri({"tracking_uri": "sqlite:///x"}, tmp_path) == "sqlite:///x"


def opened(client, experiment, folder, config=None, **settings):
    """A tracker of the database that `client` reads."""
    store = Store(f"sqlite:///{folder}/outputs/mlflow.db", experiment, folder / "outputs")
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run" / "config.yaml").write_text("{}")
    return MLflowTracker.open(
        store, folder / "run", settings.pop("run_id", None), "r", config or {}, settings.pop("tags", {}), **settings
    )


def test_metrics_go_in_batches(client, tmp_path):
    tracker = opened(client, "batches", tmp_path, {"a": {"b": 1}})
    used, calls = tracker.store.connected()[0], []
    original = used.log_batch
    used.log_batch = lambda *args, **kwargs: (calls.append(len(kwargs.get("metrics", ()))), original(*args, **kwargs))
    for step in range(2000):
        tracker.log_metrics({"x": 0.5, "epoch": 1.0}, step)
    tracker.close("FINISHED")
    assert sum(calls) == 2000 and len(calls) <= 6
    run = client.get_run(tracker.run_id)
    assert run.data.params == {"a.b": "1"} and run.info.status == "FINISHED"
    assert len(client.get_metric_history(tracker.run_id, "x")) == 2000


def test_what_a_tracker_does_not_take_is_kept_and_sent_later(client, tmp_path, caplog, monkeypatch):
    """In the middle of a run: nothing waits, everything is on the disk at the end, and the next start sends it."""
    from mlflow.exceptions import MlflowException

    monkeypatch.setattr(mlflow_logger, "PAUSES", (0.01,))
    tracker = opened(client, "silent", tmp_path)
    used = tracker.store.connected()[0]
    original = used.log_batch

    def refuse(*args, **kwargs):
        raise MlflowException("database is locked")

    used.log_batch = refuse
    tracker.log_metrics({"x": 0.5}, 1)
    tracker.flush()
    wait_until(lambda: tracker.outbox.path.is_file())
    assert (
        "database is locked" in caplog.text
        and "logger=none" in caplog.text
        and caplog.text.count("cannot be used now") == 1
    )
    tracker.log_metrics({"x": 0.25}, 2)
    tracker.close("FINISHED")
    assert client.get_run(tracker.run_id).data.metrics == {} and client.get_run(tracker.run_id).info.status == "RUNNING"
    kept = [json.loads(line) for line in tracker.outbox.path.read_text().splitlines()]
    assert kept[0] == {"run_id": tracker.run_id} and [thing["do"] for thing in kept[1:]] == [
        "metrics",
        "metrics",
        "status",
    ]
    used.log_batch = original
    again = opened(client, "silent", tmp_path)
    again.close("FINISHED")
    assert again.run_id == tracker.run_id and not tracker.outbox.path.exists()
    assert [m.value for m in client.get_metric_history(tracker.run_id, "x")] == [0.5, 0.25]
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


def test_a_server_that_comes_back_gets_everything_in_the_same_run(client, tmp_path, caplog, monkeypatch):
    from mlflow.exceptions import MlflowException

    caplog.set_level("INFO")
    monkeypatch.setattr(mlflow_logger, "PAUSES", (0.01,))
    tracker = opened(client, "back", tmp_path)
    used = tracker.store.connected()[0]
    original, down = used.log_batch, [True]

    def sometimes(*args, **kwargs):
        if down:
            raise MlflowException("503")
        return original(*args, **kwargs)

    used.log_batch = sometimes
    tracker.log_metrics({"x": 1.0}, 1)
    tracker.flush()
    wait_until(lambda: tracker.outbox.path.is_file())
    down.clear()
    wait_until(lambda: "answers again" in caplog.text)
    tracker.close("FINISHED")
    assert client.get_run(tracker.run_id).data.metrics == {"x": 1.0} and not tracker.outbox.path.exists()


def test_a_run_whose_making_was_not_answered_is_not_made_twice(client, tmp_path, monkeypatch):
    from mlflow.exceptions import MlflowException

    monkeypatch.setattr(mlflow_logger, "PAUSES", (0.01,))
    original, lost = MlflowClient.create_run, [True]

    def timed_out(self, *args, **kwargs):
        made = original(self, *args, **kwargs)
        if lost:
            lost.clear()
            raise MlflowException("timed out")
        return made

    monkeypatch.setattr(MlflowClient, "create_run", timed_out)
    known = []
    tags = {"visagent.signature": "rabc", "visagent.created": "2026-01-02T03:04:05+00:00"}
    tracker = opened(client, "answers", tmp_path, {"a": 1}, tags=tags, on_run=known.append)
    wait_until(lambda: known)
    tracker.close("FINISHED")
    (run,) = client.search_runs([client.get_experiment_by_name("answers").experiment_id])
    assert known == [run.info.run_id] and run.data.params == {"a": "1"} and run.info.status == "FINISHED"


def test_one_refused_metric_keeps_nothing_else_back(client, tmp_path, caplog):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    tracker = opened(client, "refused", tmp_path)
    used = tracker.store.connected()[0]
    original = used.log_batch

    def strict(run_id, metrics=(), **kwargs):
        if any(metric.key == "bad" for metric in metrics):
            raise MlflowException("no such name", INVALID_PARAMETER_VALUE)
        return original(run_id, metrics=metrics, **kwargs)

    used.log_batch = strict
    for step in range(20):
        tracker.log_metrics({"good": 1.0, "bad": 2.0, "other": 3.0}, step)
    tracker.close("FINISHED")
    assert client.get_run(tracker.run_id).data.metrics == {"good": 1.0, "other": 3.0}
    assert len(client.get_metric_history(tracker.run_id, "good")) == 20
    assert caplog.text.count("MLflow refuses the metric 'bad'") == 1 and not tracker.outbox.path.exists()


def test_an_artifact_that_fails_holds_nothing_up(client, tmp_path, caplog):
    tracker = opened(client, "artifacts", tmp_path)
    used = tracker.store.connected()[0]
    original = used.log_artifact

    def refuse(run_id, path, folder=None):
        raise PermissionError(13, "Permission denied", path)

    used.log_artifact = refuse
    (tmp_path / "run" / "curve.png").write_bytes(b"png")
    tracker.save_artifact(tmp_path / "run" / "curve.png", "figures")
    tracker.log_metrics({"x": 1.0}, 1)
    tracker.close("FINISHED")
    run = client.get_run(tracker.run_id)
    assert run.data.metrics == {"x": 1.0} and run.info.status == "FINISHED" and "curve.png (" in caplog.text
    used.log_artifact = original
    opened(client, "artifacts", tmp_path).close("FINISHED")
    assert [a.path for a in client.list_artifacts(tracker.run_id, "figures")] == ["figures/curve.png"]


def test_a_run_trains_without_its_server_and_hands_everything_in_later(client, compose, caplog, monkeypatch, tmp_path):
    """Nobody listens at start: one message, a finished run, and the same command sends it all once there is a
    database.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free_port()}")
    config = compose(PRESET, "logger=mlflow", "trainer.max_epochs=1")
    record = train(config)
    assert record.status == "FINISHED" and record.mlflow_run_id is None
    assert caplog.text.count("cannot be used now (Connection refused)") == 1 and "logger=none" in caplog.text
    (unsent,) = Path(config.paths.outputs).glob("runs/*/mlflow-unsent.*.jsonl")
    everything = "".join(
        path.read_text() for path in unsent.parent.rglob("*") if path.suffix in (".yaml", ".json", ".jsonl", ".txt")
    )
    assert "secret" not in everything + caplog.text
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    unsent.rename(unsent.with_name("mlflow-unsent.own.jsonl"))  # as if the server had been this database
    again = train(compose(PRESET, "logger=mlflow", "trainer.max_epochs=1"))
    assert again.attempts == 1
    (run,) = runs(client)
    assert (
        run.info.status == "FINISHED"
        and "train/loss_epoch" in run.data.metrics
        and run.data.params["optimizer.lr"] == "0.001"
    )
    assert RunFolder(unsent.parent).load().mlflow_run_id == run.info.run_id and not list(
        unsent.parent.glob("mlflow-unsent*")
    )
    assert {a.path for a in client.list_artifacts(run.info.run_id)} >= {"config.yaml", "record.json", "figures"}


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look like something" * 20, "foreign"])
def test_a_broken_or_foreign_database_is_left_alone(content, tmp_path):
    path = tmp_path / "mlflow.db"
    if content == "foreign":
        with closing(sqlite3.connect(path)) as database:
            database.execute("create table cats (name text)")
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(
        TrackingUnavailable,
        match=r"mlflow\.db is no database that can be read|another program's database, with the tables cats",
    ):
        connect(f"sqlite:///{path}", "e", tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("./mlruns", r"a path, .*type logger\.tracking_uri=sqlite:///\./mlruns/mlflow\.db \(or type logger=none\)"),
        ("x.db", r"type logger\.tracking_uri=sqlite:///x\.db"),
        ("file:///tmp/runs", r"type logger\.tracking_uri=sqlite:////tmp/runs/mlflow\.db"),
        ("htp://x", r"of an unknown kind, htp; did you mean http://x\?"),
        ("zmq://x", r"of an unknown kind, zmq; expected one that begins with http:"),
        ("sqlite://x.db", r"type logger\.tracking_uri=sqlite:///x\.db"),
        ("http:", r"expected http://HOST"),
        ("htp://me:secret@x", r"htp://\*\*\*@x.*did you mean http://\*\*\*@x"),
    ],
)
def test_addresses_that_mlflow_cannot_have(uri, said, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=said) as caught:
        check_tracking({"enabled": True, "experiment": "e", "tracking_uri": uri}, tmp_path)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(ConfigError, match=r"^MLFLOW_TRACKING_URI: got"):
        check_tracking({"enabled": True, "experiment": "e", "tracking_uri": None}, tmp_path)
    check_tracking({"enabled": False, "experiment": "", "tracking_uri": uri}, tmp_path)


@pytest.mark.parametrize(
    "uri",
    [
        "http://h:5000",
        "https://u:p@h/x",
        "sqlite:////a/b.db",
        "postgresql+psycopg2://u:p@h/db",
        "databricks",
        "databricks://profile",
    ],
)
def test_addresses_that_mlflow_has(uri, tmp_path):
    check_tracking({"enabled": True, "experiment": "e", "tracking_uri": uri}, tmp_path)


@pytest.mark.parametrize("experiment", ["", "  ", "x" * 501])
def test_experiments_that_mlflow_cannot_have(experiment, tmp_path):
    with pytest.raises(ConfigError, match=r"logger\.experiment: expected a name of at most 500 characters"):
        check_tracking({"enabled": True, "experiment": experiment, "tracking_uri": None}, tmp_path)


def test_names_are_made_safe_and_told_apart():
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name, _validate_tag_name

    odd = [
        "datamodule.targets.kitchen (1)",
        "kitchen [1]",
        "kitchen {1}",
        "a$b",
        "100%",
        "~",
        "a//b",
        "../x",
        "/abs",
        "./a",
        "a/",
        "..",
        "é/ü",
        "x" * 400,
        "",
        "a\nb",
    ]
    made = [safe_name(name) for name in odd]
    assert len(set(made)) == len(odd)
    for name in made:
        _validate_metric_name(name)
        _validate_param_name(name)
        for tag in names_tags({name: "?"}):
            _validate_tag_name(tag)
    assert [safe_name(name) for name in ("test/argmax/all/spl", "optimizer.lr", "a b-c:d_e")] == [
        "test/argmax/all/spl",
        "optimizer.lr",
        "a b-c:d_e",
    ]


def test_odd_target_keys_and_metrics_are_tracked_with_their_names(client, tmp_path):
    tracker = opened(client, "odd", tmp_path, {"targets": {"kitchen (1)": [3, 9]}})
    tracker.log_metrics({"val/kitchen (1)/spl": 0.5}, 1)
    tracker.close("FINISHED")
    run = client.get_run(tracker.run_id)
    (param,), (metric,) = run.data.params, run.data.metrics
    assert run.data.params[param] == "[3, 9]" and run.data.metrics[metric] == 0.5
    assert (
        run.data.tags[f"visagent.name/{param}"] == "targets.kitchen (1)"
        and run.data.tags[f"visagent.name/{metric}"] == "val/kitchen (1)/spl"
    )


def test_credentials_are_hidden(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:pass@host:5000")
    assert info._storage(tmp_path)["tracking"] == "http://***@host:5000"
    config = {"logger": {"enabled": True, "tracking_uri": "http://me:pass@host"}}
    RunFolder(tmp_path).create(config)
    assert (
        "pass" not in (tmp_path / "config.yaml").read_text()
        and config["logger"]["tracking_uri"] == "http://me:pass@host"
    )
    monkeypatch.setattr("sys.argv", ["visagent-train", "logger.tracking_uri=http://me:pass@host"])
    assert command() == "visagent-train logger.tracking_uri=http://***@host"
    with pytest.raises(SystemExit):
        cli._fail("error: cannot read logger.tracking_uri=http://me:pass@host")
    assert "pass" not in capsys.readouterr().err
    for text in (
        "http://me:pass@host/x",
        "see postgresql://me:pass@host/db?x=1",
        "https://h/x?token=pass&y=2",
        "'http://pass@h'",
    ):
        assert "pass" not in without_credentials(text).replace("***", "")
    for text in ("http://host/a@b", "sqlite:////a/b.db", "me@host", "git+https://h/r@v1", "https://h/?tokens=3"):
        assert without_credentials(text) == text


def test_a_dead_server_holds_no_lock(tmp_path, monkeypatch):
    held = []
    monkeypatch.setattr(tracking, "_experiment", lambda *_: "1")
    monkeypatch.setattr(
        "mlflow.MlflowClient.get_experiment_by_name", lambda *_: held.append((tmp_path / "mlflow.lock").exists())
    )
    connect("http://127.0.0.1:9", "e", tmp_path)
    assert held == [False]


def test_a_moved_outputs_folder_goes_on_with_its_runs_and_pictures(client, compose, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        stop_with(RuntimeError("bug"), patch)
        with pytest.raises(RuntimeError):
            train(compose(PRESET, "logger=mlflow"))
    (before,) = runs(client)
    client._tracking_client.store.engine.dispose()
    _artifact_repos_cache.clear()  # of this process; a run that goes on has one of its own
    (tmp_path / "outputs").rename(tmp_path / "moved here")
    record = train(compose(PRESET, "logger=mlflow", f"paths.outputs='{tmp_path}/moved here'"))
    moved = MlflowClient(f"sqlite:///{tmp_path}/moved here/mlflow.db")
    (run,) = runs(moved)
    assert run.info.run_id == before.info.run_id == record.mlflow_run_id and run.info.status == "FINISHED"
    assert not (tmp_path / "outputs").exists() and {"config.yaml", "record.json", "figures"} <= {
        a.path for a in moved.list_artifacts(run.info.run_id)
    }


def test_a_silent_server_is_not_waited_for(tmp_path, monkeypatch, caplog):
    """It takes the connection and says nothing."""
    monkeypatch.setattr(mlflow_logger, "START_SECONDS", 0.1)
    monkeypatch.setattr(mlflow_logger, "CLOSE_SECONDS", 0.1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = Store(f"http://127.0.0.1:{silent.getsockname()[1]}", "e", tmp_path)
        tracker = MLflowTracker.open(store, tmp_path, None, "r", {}, {})
        assert "no answer within 0 seconds" in caplog.text
        tracker.log_metrics({"x": 1.0}, 1)
        tracker.close("FINISHED")
        kept = [json.loads(line) for line in tracker.outbox.path.read_text().splitlines()]
        assert [thing.get("do") for thing in kept] == [None, "open", "metrics", "status"]
        tracker._thread.join(20)
    assert not tracker._thread.is_alive()


def test_mlflows_retries_draw_no_random_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    monkeypatch.setattr("time.sleep", lambda _: None)  # between its tries
    before = random.getstate()
    with pytest.raises(TrackingUnavailable, match="Connection refused"):
        connect(f"http://127.0.0.1:{free_port()}", "e", tmp_path)
    assert random.getstate() == before


def test_what_runs_without_a_process_is_said_to_be_killed(client, tmp_path):
    """A run and a sweep that were killed, beside a run and a sweep at work."""
    outputs = tmp_path / "outputs"
    experiment = client.create_experiment("cut off")

    def begun(**tags):
        return client.create_run(
            experiment, tags={key.replace("_", "."): value for key, value in tags.items()}
        ).info.run_id

    folders = {name: RunFolder(outputs / "runs" / name) for name in ("dead", "alive")}
    for folder in folders.values():
        with folder.locked():
            pass
    made = {
        n: begun(visagent_kind="run", visagent_signature=n, visagent_folder=str(f.path.resolve()))
        for n, f in folders.items()
    }
    made |= {name: begun(visagent_kind="multirun", visagent_lock=name) for name in ("dead-sweep", "live-sweep")}
    made["elsewhere"] = begun(visagent_kind="run", visagent_signature="dead", visagent_folder="/another/machine")
    hold(outputs, "dead-sweep").close()
    with folders["alive"].locked(), hold(outputs, "live-sweep"):
        assert end_cut_off(client, experiment, outputs) == 2
        tend(outputs)
    states = {name: client.get_run(run).info.status for name, run in made.items()}
    assert states == {
        "dead": "KILLED",
        "alive": "RUNNING",
        "dead-sweep": "KILLED",
        "live-sweep": "RUNNING",
        "elsewhere": "RUNNING",
    }


def sweep_config(tmp_path, *overrides):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module

    overrides = [f"experiment={PRESET}", "name=x", f"paths.outputs={tmp_path}/outputs", "seed=0", *overrides]
    with initialize_config_module("visagent.conf", version_base="1.3"):
        return hydra_compose("train", ["hydra.mode=MULTIRUN", *overrides], return_hydra_config=True)


@pytest.mark.parametrize(
    ("end", "status"), [("on_multirun_end", "FINISHED"), ("_stopped", "KILLED"), ("failed", "FAILED")]
)
def test_how_a_sweep_ended(end, status, client, tmp_path, monkeypatch):
    """The parent, also after Ctrl-C, when Hydra calls nothing but the interpreter's own end comes."""
    from hydra.core.utils import JobReturn, JobStatus

    config = sweep_config(tmp_path)
    ended = []
    monkeypatch.setattr("atexit.register", ended.append)
    before = signal.getsignal(signal.SIGTERM)
    parent = MultirunParent()
    parent.on_multirun_start(config)
    assert os.environ[PARENT_VARIABLE] == parent.run_id and signal.getsignal(signal.SIGTERM) != before
    run_id = parent.run_id
    assert (
        client.get_run(run_id).info.status == "RUNNING"
        and hold(tmp_path / "outputs", client.get_run(run_id).data.tags["visagent.lock"]) is None
    )
    copied = pickle.loads(pickle.dumps(parent))  # as joblib's workers get it
    if end == "failed":
        job = JobReturn()
        job.status = JobStatus.FAILED
        copied.on_job_end(config, job)
        ended[0]()
    elif end == "_stopped":
        ended[0]()
    else:
        parent.on_multirun_end(config)
    assert client.get_run(run_id).info.status == status
    assert PARENT_VARIABLE not in os.environ and signal.getsignal(signal.SIGTERM) == before


def test_a_sweep_of_joblibs_workers_says_its_last_words(client, tmp_path, monkeypatch):
    """On SIGTERM: the parent is KILLED, and the process is gone at once, so that the workers end their runs
    themselves.
    """
    ended = []
    monkeypatch.setattr("atexit.register", lambda _: None)
    monkeypatch.setattr("os.kill", lambda *given: ended.append(given))
    before = signal.getsignal(signal.SIGTERM)
    parent = MultirunParent()
    parent.on_multirun_start(sweep_config(tmp_path, "hydra/launcher=joblib"))
    run_id = parent.run_id
    signal.raise_signal(signal.SIGTERM)
    assert ended == [(os.getpid(), signal.SIGTERM)] and client.get_run(run_id).info.status == "KILLED"
    signal.signal(signal.SIGTERM, before)


def test_a_sweep_goes_on_without_its_server(tmp_path, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free_port()}")
    parent = MultirunParent()
    parent.on_multirun_start(sweep_config(tmp_path))
    assert parent.run_id is None and PARENT_VARIABLE not in os.environ
    written = tmp_path / "outputs" / "multirun" / "multirun.yaml"  # as Hydra does
    written.parent.mkdir(parents=True)
    written.write_text("tracking_uri: http://me:secret@host:5000\n")
    parent.on_job_start(sweep_config(tmp_path))
    parent.on_multirun_end(sweep_config(tmp_path))
    assert written.read_text() == "tracking_uri: http://***@host:5000\n"
    assert caplog.text.count("the sweep has no run of its own there; logger=none") == 1 and "secret" not in caplog.text


def test_a_question_to_mlflow_has_a_time_limit():
    with pytest.raises(TrackingUnavailable, match="no answer within 0 seconds"):
        ask(lambda: threading.Event().wait(30), "http://h", 0.05)
    with pytest.raises(TrackingUnavailable, match="boom"):
        ask(lambda: exec("raise ValueError('boom')"), "http://h")
    assert ask(lambda: 3, "http://h") == 3


def test_local_ddp_sweeps_are_refused(compose, monkeypatch):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_module
    from hydra.core.hydra_config import HydraConfig

    from visagent.runtime.multirun import refuse_local_ddp

    config = compose(PRESET, "trainer.devices=2")
    refuse_local_ddp(config)  # not a sweep
    with initialize_config_module("visagent.conf", version_base="1.3"):
        full = hydra_compose(
            "train", [f"experiment={PRESET}", "trainer.devices=2", "hydra.mode=MULTIRUN"], return_hydra_config=True
        )
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    HydraConfig.instance().set_config(full)
    with pytest.raises(ConfigError, match=r"type trainer\.devices=1"):
        refuse_local_ddp(config)


@pytest.mark.process
def test_runs_that_begin_at_once_make_one_database(tmp_path):
    code = (
        "from pathlib import Path; from visagent.runtime.tracking import connect; "
        f"connect('sqlite:///{tmp_path}/m.db', 'together', Path({str(tmp_path)!r}))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        assert process.wait() == 0, process.stderr.read()
    assert MlflowClient(f"sqlite:///{tmp_path}/m.db").get_experiment_by_name("together") is not None


def test_a_runs_start_sends_what_ended_runs_could_not(client, tmp_path):
    """Of a finished one, of a failed one that MLflow knows; not of one at work, nor of one that may still be made."""
    outputs = tmp_path / "outputs"
    known = client.create_run(client.create_experiment("before")).info.run_id

    def left(name, status, run_id):
        folder = RunFolder(outputs / "runs" / name)
        folder.path.mkdir(parents=True)
        folder.save(Record(name, "n", "c", 0, "smoke", status=status, mlflow_run_id=run_id))
        opening = {"do": "open", "name": name, "tags": {"visagent.signature": name}, "params": [["a", "1"]], "then": []}
        things = [
            {"run_id": None},
            opening,
            {"do": "metrics", "items": [["x", 0.5, 1, 1], ["y", float("nan"), 1, 1]]},
            {"do": "later"},
        ]
        things.append({"do": "status", "status": status, "time": 1})
        (folder.path / "mlflow-unsent.own.jsonl").write_text(
            "".join(f"{json.dumps(thing)}\n" for thing in things) + '{"do": "cut o'
        )
        return folder

    finished, failed = left("finished", "FINISHED", None), left("failed", "FAILED", known)
    working, unknown = left("working", "FINISHED", None), left("unknown", "KILLED", None)
    # of a process that was killed while it sent
    left_behind = finished.path / "mlflow-unsent.own.jsonl.sending.999999999"
    (finished.path / "mlflow-unsent.own.jsonl").rename(left_behind)
    with working.locked():
        assert deliver_ended(Store(f"sqlite:///{outputs}/mlflow.db", "visagent", outputs), outputs / "runs") == 2
    made = client.get_run(finished.load().mlflow_run_id)
    assert made.data.metrics["x"] == 0.5 and made.data.params == {"a": "1"} and made.info.status == "FINISHED"
    assert client.get_run(known).info.status == "FAILED"
    assert not finished.unsent() and not failed.unsent() and working.unsent() and unknown.unsent()


def test_a_database_whose_writer_was_killed_in_the_middle_is_used(empty_tracking, tmp_path):
    """Its journal lies beside it: who reads first rolls it back, and a reader that may not write cannot."""
    path = tmp_path / "mlflow.db"
    path.write_bytes(empty_tracking.read_bytes())
    code = (
        "import os, sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('pragma cache_size = 1'); "
        "d.execute('create table t (x)'); d.execute('begin immediate'); "
        "d.executemany('insert into t values (?)', [(b'x' * 5000,)] * 200); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert path.with_name("mlflow.db-journal").stat().st_size > 0
    with (
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reader,
        pytest.raises(sqlite3.OperationalError, match="readonly database"),
    ):
        reader.execute("select name from sqlite_master").fetchall()
    client, experiment = connect(f"sqlite:///{path}", "visagent", tmp_path)
    assert client.get_experiment(experiment).name == "visagent"
