"""Records, folders, refusals, statuses, evaluation."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module

from visagent import cli
from visagent.config.schemas import TrainConfig
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime.evaluate import evaluate
from visagent.runtime.record import Record, RunFolder, find_run, write_atomically
from visagent.runtime.report import learning_curves, metric_table
from visagent.runtime.train import Cancelled, forget_absent_gpu, train

PRESET = "navigation/behaviour_cloning"


@pytest.fixture
def finished(compose):
    config = compose(PRESET, "trainer.max_epochs=1")
    return config, train(config)


def run_folder(config, record) -> RunFolder:
    return RunFolder(f"{config.paths.outputs}/runs/{record.signature}")


def test_a_record_is_complete(finished):
    config, record = finished
    content = json.loads((run_folder(config, record).path / "record.json").read_text())
    assert content["status"] == "FINISHED" and content["name"] == PRESET and content["seed"] == 0
    assert content["versions"]["torch"] and content["hardware"]["cores"] and content["finished"] and content["seconds"] > 0
    assert content["env_steps"] > 0 and any(key.startswith("test/argmax/") for key in content["metrics"])
    assert run_folder(config, record).config()["seed"] == 0


def test_a_finished_run_says_so_and_is_left_alone(finished, compose, capsys):
    config, record = finished
    before = (run_folder(config, record).path / "record.json").read_text()
    again = train(compose(PRESET, "trainer.max_epochs=1"))
    assert again.attempts == 1 and (run_folder(config, record).path / "record.json").read_text() == before
    assert "success rate" in capsys.readouterr().out


def test_synthetic_videos_are_no_paper_scale(compose):
    with pytest.raises(ConfigError, match=r"expected the real data set's folder at paper scale, got embedded; type paths\.videos=DIR"):
        train(compose("rubiksnet/something_v2", "scale=paper"))


@pytest.mark.parametrize(("preset", "network"), [("rubiksnet/something_v2", "block"), ("rubiksnet/something_v2", "navigation"), (PRESET, "tsn")])
def test_a_network_of_another_method_is_refused(preset, network, compose):
    with pytest.raises(ConfigError, match=r"network: \w+ cannot be made for this method and its data .*choose another one with network=NAME"):
        train(compose(preset, f"network={network}"))


def test_another_config_in_the_same_folder_is_refused_with_the_difference(compose, tmp_path):
    own = f"paths.run={tmp_path}/mine"
    train(compose(PRESET, "trainer.max_epochs=1", own))
    with pytest.raises(ConfigError, match=r"(?s)another config.*optimizer\.lr: 0\.001 -> 0\.01.*seed: 0 -> 4"):
        train(compose(PRESET, "trainer.max_epochs=1", own, "seed=4", "optimizer.lr=0.01"))
    assert RunFolder(tmp_path / "mine").load().seed == 0


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "KILLED"), (Cancelled(15), "KILLED"), (ValueError("bug"), "FAILED"), (ConfigError("bad"), "FAILED")]
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
    assert without == pytest.approx(evaluate(evaluation(config.paths.outputs, run, "+datamodule.max_steps=3", *others)), nan_ok=True)


def test_a_run_of_an_earlier_version_says_which_value_it_lacks(finished):
    config, record = finished
    path = run_folder(config, record).path / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    del stored["datamodule"]["starts_per_target"]
    path.write_text(yaml.safe_dump(stored))
    with pytest.raises(ConfigError, match=r"missing config value 'datamodule\.starts_per_target': type \+datamodule\.starts_per_target=VALUE"):
        evaluate(evaluation(config.paths.outputs, f"run={record.signature}"))


def test_weights_of_another_network_are_refused(finished):
    config, record = finished
    path = run_folder(config, record).path / "config.yaml"
    stored = yaml.safe_load(path.read_text())
    stored["network"]["projection"] = 7
    path.write_text(yaml.safe_dump(stored))
    with pytest.raises(ConfigError, match=r"expected settings with the run's network .*, got another one \(size mismatch"):
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
    content = json.loads((tmp_path / "record.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
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
    metrics = {"test/sampled/kitchen/success_rate": 0.5, "test/sampled/kitchen/spl": float("nan"), "test/x": 1.0, "val/a/b": 2.0}
    columns, rows = metric_table(metrics)
    assert columns == ["success_rate", "spl"] and list(rows) == ["sampled/kitchen"]
    record = Record(
        "s",
        "n",
        "c",
        0,
        "smoke",
        history={"0": {"train/loss_epoch": 1.0, "val/argmax/all/success_rate": 0.5, "data/samples": 3}, "1": {"train/loss_epoch": 0.5}},
    )
    assert len(learning_curves(record).axes) == 3
    assert learning_curves(Record("s", "n", "c", 0, "smoke")) is None


def test_validation_and_training_see_the_same_config(compose):
    assert validate(compose(PRESET), TrainConfig)["scale"] == "smoke"


@pytest.mark.parametrize(("gpu", "left"), [(False, None), (True, "1")])
def test_a_search_for_a_gpu_ends_where_there_is_none(gpu, left, monkeypatch):
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    forget_absent_gpu()
    assert os.environ.get("PYTORCH_NVML_BASED_CUDA_CHECK") == left
