"""Records, folders, refusals, statuses, evaluation."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from matplotlib.figure import Figure

from visagent import cli
from visagent.config.schemas import TrainConfig
from visagent.config.validation import validate
from visagent.errors import ConfigError, UserError, machine_message
from visagent.lifeline import end_with_parent
from visagent.runtime import info as runtime_info
from visagent.runtime import train as runtime_train
from visagent.runtime.allocation import global_rank
from visagent.runtime.drawing import draw
from visagent.runtime.evaluate import evaluate
from visagent.runtime.fitting import forget_absent_gpu
from visagent.runtime.record import Record, write_atomically
from visagent.runtime.report import learning_curves, metric_table
from visagent.runtime.run_folder import RunFolder, find_run
from visagent.runtime.stopping import signals_cancel
from visagent.runtime.train import Cancelled, train

PRESET = "navigation/behaviour_cloning"


@pytest.fixture
def finished(compose, trained):
    """A finished run, trained once and copied for each test."""
    config = compose(PRESET, "trainer.max_epochs=1")
    record, outputs = trained(PRESET, "trainer.max_epochs=1")
    copied = Path(config.paths.outputs) / "runs" / record.signature
    shutil.copytree(outputs / "runs" / record.signature, copied)
    return config, RunFolder(copied).load()


def run_folder(config, record) -> RunFolder:
    return RunFolder(f"{config.paths.outputs}/runs/{record.signature}")


def test_a_record_is_complete(finished):
    config, record = finished
    content = json.loads((run_folder(config, record).path / "record.json").read_text())
    assert content["status"] == "FINISHED" and content["name"] == PRESET and content["seed"] == 0
    assert (
        content["versions"]["torch"] and content["hardware"]["cores"] and content["finished"] and content["seconds"] > 0
    )
    assert content["env_steps"] > 0 and any(key.startswith("test/argmax/") for key in content["metrics"])
    assert run_folder(config, record).config()["seed"] == 0


def test_a_finished_run_says_so_and_is_left_alone(finished, compose, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    config, record = finished
    before = (run_folder(config, record).path / "record.json").read_text()
    again = train(compose(PRESET, "trainer.max_epochs=1"))
    assert again.attempts == 1 and (run_folder(config, record).path / "record.json").read_text() == before
    assert "success rate" in capsys.readouterr().out


def test_synthetic_videos_are_no_paper_scale(compose):
    with pytest.raises(
        ConfigError, match=r"expected the real data set's folder at paper scale, got embedded; type paths\.videos=DIR"
    ):
        train(compose("rubiksnet/something_v2", "scale=paper"))


@pytest.mark.parametrize(
    ("preset", "network"),
    [("rubiksnet/something_v2", "block"), ("rubiksnet/something_v2", "navigation"), (PRESET, "tsn")],
)
def test_a_network_of_another_method_is_refused(preset, network, compose):
    with pytest.raises(
        ConfigError, match=r"algorithm=\w+ does not go with network=\w+: expected network=.*; type network=\w+"
    ):
        train(compose(preset, f"network={network}"))


def test_another_config_in_the_same_folder_is_refused_with_the_difference(compose, tmp_path):
    own = f"paths.run={tmp_path}/mine"
    train(compose(PRESET, "trainer.max_epochs=1", own))
    with pytest.raises(ConfigError, match=r"(?s)another config.*optimizer\.lr: 0\.001 -> 0\.01.*seed: 0 -> 4"):
        train(compose(PRESET, "trainer.max_epochs=1", own, "seed=4", "optimizer.lr=0.01"))
    assert RunFolder(tmp_path / "mine").load().seed == 0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (KeyboardInterrupt(), "KILLED"),
        (Cancelled(15), "KILLED"),
        (ValueError("bug"), "FAILED"),
        (ConfigError("bad"), "FAILED"),
    ],
)
def test_how_a_run_ended(error, status, compose, monkeypatch):
    from lightning_modules.behaviour_cloning import BehaviourCloning

    def stop(self, batch):
        raise error

    monkeypatch.setattr(BehaviourCloning, "imitate", stop)
    config = compose(PRESET)
    with pytest.raises(Cancelled if status == "KILLED" else type(error)):
        train(config)
    (path,) = Path(config.paths.outputs).glob("runs/*/record.json")
    record = RunFolder(path.parent).load()
    assert record.status == status
    assert (record.error is not None) == (status == "FAILED")


def _hold(path, ready, release):
    with RunFolder(path).locked():
        ready.set()
        release.wait(20)


def test_two_processes_cannot_work_on_one_run(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "run", ready, release))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(ConfigError, match=f"worked on by process {holder.pid}"), RunFolder(tmp_path / "run").locked():
        pass
    assert RunFolder(tmp_path / "run").is_locked()
    holder.kill()  # the lock goes with the process
    holder.join()
    deadline = time.monotonic() + 5
    while RunFolder(tmp_path / "run").is_locked() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not RunFolder(tmp_path / "run").is_locked()


def test_changed_scenes_are_refused_on_resume(compose, tmp_path, monkeypatch):
    from visagent.testing.scenes import write_grid_dump

    scenes = tmp_path / "own"
    write_grid_dump(scenes, "kitchen_01", ("....", "...."))
    settings = (PRESET, f"datamodule.scenes={scenes}", "trainer.max_epochs=2")
    from lightning_modules.behaviour_cloning import BehaviourCloning

    original = BehaviourCloning.imitate

    def failing(self, batch):
        if self.current_epoch == 1:
            raise RuntimeError("stop")
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(BehaviourCloning, "imitate", failing)
        with pytest.raises(RuntimeError, match="stop"):
            train(compose(*settings))
    write_grid_dump(scenes, "kitchen_01", ("....", "...."), seed=5)
    with pytest.raises(ConfigError, match=r"the scenes kitchen_01 in .* have changed since this run began"):
        train(compose(*settings))


def evaluation(outputs, *overrides):
    from visagent.config.schemas import register

    register()
    with initialize_config_module("visagent.conf", version_base="1.3"):
        return hydra_compose("evaluate", [f"paths.outputs={outputs}", *overrides])


def test_evaluation_repeats_the_runs_numbers_and_takes_changes(finished):
    config, record = finished
    outputs = config.paths.outputs
    same = evaluate(evaluation(outputs, f"run={record.signature[:5]}"))
    assert {k: v for k, v in same.items() if v == v} == {k: v for k, v in record.metrics.items() if v == v}
    shorter = evaluate(evaluation(outputs, f"run={record.signature}", "+datamodule.max_steps=3"))
    assert shorter["test/argmax/all/average_predicted_length"] <= 3.0
    saved = [json.loads(p.read_text()) for p in (run_folder(config, record).path / "evaluations").glob("*.json")]
    assert sorted(s["changed"] for s in saved) == [[], ["datamodule.max_steps: 30 -> 3"]]
    with pytest.raises(ConfigError, match=r"did you mean datamodule\.max_steps"):
        evaluate(evaluation(outputs, f"run={record.signature}", "+datamodule.max_step=3"))
    with pytest.raises(ConfigError, match="no run 'zzz'"):
        evaluate(evaluation(outputs, "run=zzz"))
    with pytest.raises(ConfigError, match="missing config value 'run'"):
        evaluate(evaluation(outputs))


def test_evaluate_takes_a_runs_settings_with_and_without_a_plus(finished, monkeypatch):
    config, record = finished
    monkeypatch.setattr(cli, "_hydra", lambda *_: None)
    run, *others = [f"run={record.signature}", "+trainer.limit_test_batches=1", "threads=1"]
    monkeypatch.setattr(sys, "argv", ["visagent-evaluate", run, "datamodule.max_steps=3", *others])
    cli.evaluate()
    assert sys.argv[1:] == [run, "++datamodule.max_steps=3", *others]
    without = evaluate(evaluation(config.paths.outputs, *sys.argv[1:]))
    assert without == pytest.approx(
        evaluate(evaluation(config.paths.outputs, run, "+datamodule.max_steps=3", *others)), nan_ok=True
    )


def test_a_run_of_an_earlier_version_says_which_value_it_lacks(finished):
    config, record = finished
    path = run_folder(config, record).path / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    del stored["datamodule"]["starts_per_target"]
    path.write_text(yaml.safe_dump(stored))
    with pytest.raises(
        ConfigError,
        match=r"missing config value 'datamodule\.starts_per_target': type \+datamodule\.starts_per_target=VALUE",
    ):
        evaluate(evaluation(config.paths.outputs, f"run={record.signature}"))


def test_weights_of_another_network_are_refused(finished):
    config, record = finished
    path = run_folder(config, record).path / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    stored["network"]["projection"] = 7
    path.write_text(yaml.safe_dump(stored))
    with pytest.raises(
        ConfigError, match=r"expected settings with the run's network .*, got another one \(size mismatch"
    ):
        evaluate(evaluation(config.paths.outputs, f"run={record.signature}"))


def test_one_action_mode_is_enough(compose):
    record = train(compose(PRESET, "datamodule.action_modes=[argmax]", "trainer.max_epochs=1"))
    assert record.history["0"]["val/success_rate"] >= 0.0 and not any("sampled" in key for key in record.metrics)


def test_a_broken_checkpoint_says_what_to_do(finished):
    config, record = finished
    checkpoint = run_folder(config, record).checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(ConfigError, match=r"(?s)last\.ckpt: expected a whole file.*delete it to train the run anew"):
        evaluate(evaluation(config.paths.outputs, f"run={record.signature}"))


def test_evaluation_of_other_scenes_is_refused(finished):
    config, record = finished
    with pytest.raises(ConfigError, match="was trained on the scenes bathroom_01, kitchen_01, got kitchen_01"):
        evaluate(evaluation(config.paths.outputs, f"run={record.signature}", "+datamodule.scene_names=[kitchen_01]"))


def test_records_are_valid_json_and_keep_what_is_not_a_number(tmp_path):
    folder = RunFolder(tmp_path)
    folder.save(Record("s", "n", "c", 0, "smoke", metrics={"test/a": float("nan"), "test/b": 1.0}))
    content = json.loads(
        (tmp_path / "record.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    assert content["metrics"] == {"test/a": None, "test/b": 1.0}
    assert folder.load().metrics["test/a"] != folder.load().metrics["test/a"]  # NaN again


def test_find_run_names_candidates(tmp_path):
    for name in ("abc1", "abc2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("{}")
    assert find_run(tmp_path, "abc1").path == tmp_path / "abc1"
    assert find_run(tmp_path, str(tmp_path / "abc2")).path == tmp_path / "abc2"
    with pytest.raises(ConfigError, match="several runs begin with 'abc': abc1, abc2"):
        find_run(tmp_path, "abc")


def test_atomic_writes_and_unreadable_records(tmp_path):
    write_atomically(tmp_path / "x", "one")
    write_atomically(tmp_path / "x", "two")
    assert (tmp_path / "x").read_text() == "two" and [p.name for p in tmp_path.iterdir()] == ["x"]
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(ConfigError, match="expected a run record"):
        RunFolder(tmp_path).load()


def test_table_and_curves_come_from_the_record():
    metrics = {
        "test/sampled/kitchen/success_rate": 0.5,
        "test/sampled/kitchen/spl": float("nan"),
        "test/x": 1.0,
        "val/a/b": 2.0,
    }
    columns, rows = metric_table(metrics)
    assert columns == ["success_rate", "spl"] and list(rows) == ["sampled/kitchen"]
    record = Record(
        "s",
        "n",
        "c",
        0,
        "smoke",
        history={
            "0": {"train/loss_epoch": 1.0, "val/argmax/all/success_rate": 0.5, "data/samples": 3},
            "1": {"train/loss_epoch": 0.5},
        },
    )
    assert len(learning_curves(record).axes) == 3
    assert learning_curves(Record("s", "n", "c", 0, "smoke")) is None


@pytest.mark.parametrize(
    ("number", "place", "said"),
    [
        (errno.ENOSPC, None, "^No space left on device; free some"),
        (errno.EDQUOT, "/a/b", "^/a/b: Disk quota exceeded; free some"),
        (
            errno.EROFS,
            "/a/b",
            r"^/a/b: Read-only file system; choose another place, for example with paths\.outputs=DIR",
        ),
        (errno.ENAMETOOLONG, "/a/b", "^/a/b: File name too long; choose a shorter name"),
        (
            errno.EMFILE,
            "/a/b",
            "^/a/b: Too many open files; allow more with 'ulimit -n 4096', or type fewer workers or actors",
        ),
        (errno.EACCES, "/a/b", "^/a/b: Permission denied; choose another path"),
        (errno.ENOTDIR, "/a/b", "^/a/b: Not a directory; choose another path"),
    ],
)
def test_what_the_machine_refuses_is_one_line(number, place, said, capsys):
    error = OSError(number, os.strerror(number), place)
    assert re.search(said, machine_message(error))

    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        cli._guarded(main)
    shown = capsys.readouterr().err
    assert stop.value.code == 2 and shown.startswith("error: ") and shown.count("\n") == 1


def test_what_the_machine_refuses_is_known_by_its_words_too():
    worker = OSError(
        "Caught OSError in DataLoader worker process 0.\nOriginal Traceback:\n...\nOSError: [Errno 24] Too many open "
        "files: 'x'"
    )
    hdf5 = OSError(
        "Unable to synchronously create file (unable to open file: name = 'x', errno = 28, error message = 'No space "
        "left on device')"
    )
    torch_s = RuntimeError("Too many open files. Communication with the workers is no longer possible.")
    assert [machine_message(error).split(";")[0] for error in (worker, hdf5, torch_s)] == [
        "Too many open files",
        "No space left on device",
        "Too many open files",
    ]
    for other in (
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        PermissionError(errno.EPERM, "no"),
        ValueError("28"),
        OSError("odd"),
    ):
        assert machine_message(other) is None


def test_processes_that_do_not_meet_are_counted():
    with pytest.raises(torch.distributed.DistStoreError) as waited:
        torch.distributed.TCPStore("127.0.0.1", 0, 2, True, timeout=timedelta(seconds=1))
    said = machine_message(waited.value)
    assert said.startswith("1 of 2 processes of the run found each other in time") and "MASTER_PORT=PORT" in said


def test_a_record_that_cannot_be_written_closes_the_tracker_and_says_so(compose, monkeypatch, caplog):
    """A disk that is full to the end: one message, and the first reason stays."""
    closed = []

    class Tracker:
        def save_artifact(self, path):
            pass

        def close(self, status):
            closed.append(status)

    monkeypatch.setattr(runtime_train, "_tracker", lambda *_: Tracker())
    monkeypatch.setattr(runtime_train, "fit", lambda *_: monkeypatch.setattr(RunFolder, "save", full))

    def full(self, record):
        raise OSError(errno.ENOSPC, "No space left on device", str(self.path / "record.json"))

    with pytest.raises(UserError, match=r"record\.json: No space left on device"):
        train(compose(PRESET, "logger=mlflow"))
    assert closed == ["FAILED"] and "the record cannot be written" in caplog.text


def test_a_run_that_another_process_has_finished_meanwhile_is_left_alone(finished, compose, monkeypatch):
    """It was not finished when this one looked first, and is when it has the lock."""
    config, record = finished
    folder = run_folder(config, record)
    before, load, looked = (folder.path / "record.json").read_text(), RunFolder.load, []

    def late(self):
        found = load(self)
        looked.append(found)
        return found if len(looked) > 1 else None

    monkeypatch.setattr(RunFolder, "load", late)
    again = train(compose(PRESET, "trainer.max_epochs=1"))
    assert again.attempts == 1 and (folder.path / "record.json").read_text() == before


def test_evaluation_prints_its_numbers_before_it_saves_them(finished, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    config, record = finished
    (run_folder(config, record).path / "evaluations").write_text("in the way")
    with pytest.raises(OSError, match="File exists"):
        evaluate(evaluation(config.paths.outputs, f"run={record.signature}"))
    assert "success rate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variables", "rank"),
    [
        ({}, 0),
        ({"LOCAL_RANK": "1"}, 1),  # started by Lightning
        ({"RANK": "3", "LOCAL_RANK": "1"}, 3),  # torchrun, the second of two nodes
        ({"RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, 2),
        ({"RANK": "0", "LOCAL_RANK": "0"}, 0),
        ({"SLURM_PROCID": "4", "SLURM_LOCALID": "0"}, 4),
        ({"SLURM_PROCID": "0"}, 0),
        ({"SLURM_PROCID": "0", "LOCAL_RANK": "1"}, 1),  # started by Lightning in a shell within a job
        ({"NODE_RANK": "1"}, 2),  # Lightning's own start on a second node
        ({"NODE_RANK": "1", "LOCAL_RANK": "1"}, 3),
    ],
)
def test_the_global_rank_decides_who_keeps_the_record(variables, rank, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert global_rank({"devices": 2}) == rank


def test_a_second_node_leaves_the_record_alone(compose, monkeypatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    fitted = []
    monkeypatch.setattr(runtime_train, "fit", lambda *given: fitted.append(given[-1]))
    config = compose(PRESET, "logger=mlflow")
    train(config)
    (folder,) = Path(config.paths.outputs).glob("runs/*")
    assert (
        fitted == [None]
        and not (folder / "record.json").exists()
        and "attempt 1" in (folder / "log.rank2.txt").read_text()
    )


def test_a_failure_of_another_rank_is_the_records_cause(compose, monkeypatch):
    config = compose(PRESET)

    def fail(config, folder, record, tracker):
        raise ConfigError("its videos do not read")

    with monkeypatch.context() as patch:
        patch.setenv("LOCAL_RANK", "1")
        patch.setattr(runtime_train, "fit", fail)
        with pytest.raises(ConfigError):
            train(config)
    (path,) = Path(config.paths.outputs).glob("runs/*")
    said = "the process of rank 1 failed: its videos do not read"
    assert RunFolder(path).failure_of_ranks() == said
    # The first rank was killed with it: whoever reads the record is told the cause.
    folder = RunFolder(path)
    folder.save(Record(path.name, PRESET, "c", 0, "smoke"))
    assert (folder.load().status, folder.load().error) == ("FAILED", said)

    def follow(config, folder, record, tracker, learner):  # or it comes to an end of its own, which is no cause
        folder.failed(1, "its videos do not read")
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(runtime_train, "fit", follow)
    with pytest.raises(UserError, match=said):
        train(compose(PRESET))
    assert folder.load().status == "FAILED" and folder.load().error == said


def test_records_of_later_versions_keep_what_they_have(tmp_path):
    folder = RunFolder(tmp_path)
    folder.save(Record("s", "n", "c", 0, "smoke"))
    content = json.loads((tmp_path / "record.json").read_text())
    (tmp_path / "record.json").write_text(json.dumps({**content, "novelty": 1}))
    record = folder.load()
    folder.save(record)
    assert json.loads((tmp_path / "record.json").read_text())["novelty"] == 1
    (tmp_path / "record.json").write_text(json.dumps({**content, "format": 2, "history": []}))
    with pytest.raises(
        ConfigError, match=r"record\.json: its record was written by a later version.*update this one"
    ) as caught:
        folder.load()
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"signature": "x"}', "it lacks name, command, seed, scale"),
        ("[]", "expected a dictionary, got list"),
        ("{", "Expecting"),
    ],
)
def test_records_that_do_not_read_say_why(content, said, tmp_path):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(ConfigError, match=said):
        RunFolder(tmp_path).load()


def test_figures_that_fail_are_warnings(compose, monkeypatch, caplog):
    def figures():
        raise ValueError("no such glyph")

    broken = Figure()
    monkeypatch.setattr(broken, "savefig", lambda *_, **__: figures())
    folder = RunFolder(compose(PRESET).paths.outputs)
    folder.path.mkdir(parents=True)

    class Module:
        def figures(self):
            return {"bad": broken, "good": Figure()}

        def videos(self):
            figures()

    draw(Module(), folder, Record("s", "n", "c", 0, "smoke"), None)
    assert [path.name for path in folder.figures.iterdir()] == ["good.png"]
    assert (
        "no picture of bad: ValueError: no such glyph" in caplog.text
        and "no picture of the method's films" in caplog.text
    )
    Module.figures = lambda _: figures()
    draw(Module(), folder, Record("s", "n", "c", 0, "smoke"), None)
    assert "no picture of the method's pictures" in caplog.text


def test_a_cut_off_run_is_shown_as_that(tmp_path, capsys):
    folder = RunFolder(tmp_path / "runs" / "rabc")
    folder.path.mkdir(parents=True)
    record = Record("rabc", "n", "c", 0, "smoke")
    folder.save(record)
    assert folder.state(record) == "CUT OFF"
    (folder.path / "mlflow-unsent.own.jsonl").write_text("{}")
    runtime_info._runs(tmp_path)
    shown = capsys.readouterr().out
    assert "CUT OFF" in shown and "(not all in MLflow yet)" in shown
    with folder.locked():
        assert folder.state(record) == "RUNNING"
    folder.save(Record("rabc", "n", "c", 0, "smoke", status="FINISHED"))
    assert folder.state(record) == "FINISHED"  # it came to its end between the reading and the look


def test_a_hangup_ends_a_run_and_nohup_does_not(compose, monkeypatch):
    from lightning_modules.behaviour_cloning import BehaviourCloning

    def hang_up(self, batch):
        signal.raise_signal(signal.SIGHUP)
        raise AssertionError("the signal did nothing")

    monkeypatch.setattr(BehaviourCloning, "imitate", hang_up)
    config = compose(PRESET)
    with pytest.raises(Cancelled) as stop:
        train(config)
    assert stop.value.args == (signal.SIGHUP,)
    (path,) = Path(config.paths.outputs).glob("runs/*/record.json")
    assert RunFolder(path.parent).load().status == "KILLED"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_cancel([]):
            assert (
                signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
            )
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_moved_run_finds_its_caches_from_anywhere(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "outputs" / "runs" / "rabc")
    stored = {
        "paths": {"outputs": "outputs", "run": None},
        "datamodule": {
            "scenes": "embedded",
            "cache": "outputs/cache/scenes",
            "env": {"cache": "outputs/cache/x"},
            "root": "outputs2/y",
        },
        "name": "outputs/z",
    }
    folder.create(stored)
    (tmp_path / "outputs").rename(tmp_path / "moved")
    monkeypatch.chdir("/")
    here = RunFolder(tmp_path / "moved" / "runs" / "rabc").config_here()
    assert here["datamodule"] == {
        "scenes": "embedded",
        "cache": f"{tmp_path}/moved/cache/scenes",
        "env": {"cache": f"{tmp_path}/moved/cache/x"},
        "root": "outputs2/y",
    }
    assert here["name"] == "outputs/z" and here["paths"]["outputs"] == f"{tmp_path}/moved"


def _sleep_on():
    end_with_parent()
    time.sleep(600)


def _start_worker(pipe):
    worker = multiprocessing.get_context("spawn").Process(target=_sleep_on)
    worker.start()
    pipe.send(worker.pid)
    time.sleep(600)


def test_workers_end_with_a_parent_that_is_killed():
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    parent = context.Process(target=_start_worker, args=(theirs,))
    parent.start()
    assert ours.poll(60)
    worker = ours.recv()
    parent.kill()
    parent.join()
    deadline = time.monotonic() + 60
    while (
        Path(f"/proc/{worker}").exists()
        and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]
        and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists() or Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z"


def test_validation_and_training_see_the_same_config(compose):
    assert validate(compose(PRESET), TrainConfig)["scale"] == "smoke"


@pytest.mark.parametrize(("gpu", "left"), [(False, None), (True, "1")])
def test_a_search_for_a_gpu_ends_where_there_is_none(gpu, left, monkeypatch):
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    forget_absent_gpu()
    assert os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK") == left
