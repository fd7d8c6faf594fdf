"""Best epochs, early ends, moving averages: what of a run is tested (`checkpoint.*`, `trainer.ema`)."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
import torch

from comparing import assert_same, folder_of
from visagent.config.composition import compose_root, config_folder
from visagent.config.schemas import TrainConfig
from visagent.config.signature import signature
from visagent.config.trained_weights import weights_file
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime import best as best_module
from visagent.runtime import callbacks
from visagent.runtime.best import BestEpochs
from visagent.runtime.evaluate import evaluate
from visagent.runtime.evaluate import trained as trained_module
from visagent.runtime.record import Record
from visagent.runtime.report import what_was_tested
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.train import train
from visagent.runtime.weight_average import WHILE_TRAINED, WeightAverage, averaged
from visagent.tables.text import weights_line

PRESET = "rubiksnet/something_v2"
pytestmark = pytest.mark.usefixtures("undrawn")


def best_epochs(folder, **changes):
    settings = {"monitor": "val/x", "mode": "max", "every": 1, "keep": 1, "patience": None} | changes
    return BestEpochs(settings, RunFolder(folder))


def run_through(best, values, folder):
    """Epochs with these values, each of which leaves its checkpoint; ends where it is over."""
    last = RunFolder(folder).checkpoint
    last.parent.mkdir(exist_ok=True)
    for epoch, value in enumerate(values):
        best.look(epoch, {"val/x": value})
        fresh = last.with_name("fresh")
        fresh.write_text(str(epoch))
        os.replace(fresh, last)
        if best.looked == epoch:
            best.keep(last)
        if best.is_over:
            return epoch
    return None


def kept(folder):
    return {path.name: path.read_text() for path in (folder / "checkpoints").iterdir() if path.name != "last.ckpt"}


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize(
    ("changes", "values", "files", "chosen"),
    [
        ({}, [1.0, 3.0, 2.0], [1], 1),
        ({"mode": "min"}, [1.0, 3.0, 0.5, 2.0], [2], 2),
        ({"keep": 3}, [1.0, 3.0, 2.0, 0.0, 2.5], [1, 4, 2], 1),
        ({}, [2.0, 2.0], [0], 0),
        ({}, [math.nan, 1.0, math.inf], [1], 1),
        ({"every": 2}, [9.0, 1.0, 8.0, 2.0], [3], 3),
    ],
)
def test_the_best_are_kept(changes, values, files, chosen, links, tmp_path, monkeypatch):
    if not links:
        monkeypatch.setattr(best_module.os, "link", lambda *_: (_ for _ in ()).throw(OSError("no links")))
    best = best_epochs(tmp_path, **changes)
    run_through(best, values, tmp_path)
    assert list(best.kept) == files and best.best == (chosen, values[chosen])
    assert kept(tmp_path) == {f"epoch-{epoch:04d}.ckpt": str(epoch) for epoch in files} | {"best.ckpt": str(chosen)}


def test_nothing_is_kept_where_no_value_is_a_number(tmp_path):
    best = best_epochs(tmp_path)
    run_through(best, [math.nan, math.nan], tmp_path)
    assert best.best is None and kept(tmp_path) == {} and not best.is_over


@pytest.mark.parametrize(
    ("patience", "values", "end"), [(2, [1, 3, 2, 3, 9], 3), (1, [3, 2, 9], 1), (2, [1, 2, 3, 4], None)]
)
def test_a_run_that_gets_no_better_is_over(patience, values, end, tmp_path):
    assert run_through(best_epochs(tmp_path, patience=patience), map(float, values), tmp_path) == end


def test_what_it_knows_goes_on(tmp_path):
    best, other = best_epochs(tmp_path, keep=2), best_epochs(tmp_path, keep=2)
    run_through(best, [1.0, 3.0, 2.0], tmp_path)
    other.load_state_dict(best.state_dict())
    assert list(other.kept.items()) == [(1, 3.0), (2, 2.0)] and other.looked == 2


def test_a_metric_that_there_is_not_is_named(compose):
    with pytest.raises(ConfigError, match=r"got 'val/accuracy'; there are val/validation/top1, val/validation/top5"):
        train(compose(PRESET, "checkpoint.monitor=val/accuracy"))


def test_an_objective_that_there_is_not_is_named_after_the_first_epoch(compose):
    with pytest.raises(
        ConfigError, match=r"objective: expected a metric of validation, got 'val/acc'; there are val/v"
    ):
        train(config := compose(PRESET, "objective=val/acc"))
    (record,) = Path(config.paths.outputs).glob("runs/*/record.json")
    assert list(json.loads(record.read_text())["history"]) == ["0"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["checkpoint.patience=3"], r"checkpoint\.patience: expected null without checkpoint\.monitor=METRIC"),
        (["checkpoint.mode=largest", "checkpoint.monitor=x"], r"checkpoint\.mode: expected max or min, got 'largest'"),
        (["checkpoint.monitor=x", "checkpoint.keep=0"], r"checkpoint\.keep: expected at least 1, got 0"),
        (["trainer.ema=1.0"], r"trainer\.ema: expected null, or 0\.999 or another decay between 0 and 1, got 1\.0"),
        (["+trainer.emma=0.9"], r"did you mean trainer\.ema"),
        (["trainer.ema=0.9", "learners=gossip"], r"trainer\.ema: expected null with learners"),
        (["checkpoint.monitor=x", "learners=gossip"], r"checkpoint\.monitor: expected null with learners"),
    ],
)
def test_mistakes_are_named(overrides, message, compose):
    with pytest.raises(ConfigError, match=message):
        train(compose(PRESET, *overrides))


def test_runs_without_them_keep_their_signatures(compose):
    def signed(*overrides):
        return signature(validate(compose(PRESET, *overrides), TrainConfig))

    config = validate(compose(PRESET), TrainConfig)
    before = {key: value for key, value in config.items() if key not in ("checkpoint", "training")}
    before["trainer"] = {key: value for key, value in config["trainer"].items() if key != "ema"}
    assert signature(before) == signed() == signature(config)
    monitor = "checkpoint.monitor=val/validation/top1"
    assert len({signed(), signed(monitor), signed(monitor, "checkpoint.mode=min"), signed("trainer.ema=0.9")}) == 4
    assert signed(monitor) == signed(monitor, "checkpoint.keep=5")  # how many lie there changes nothing that is learned


@pytest.fixture
def falling(monkeypatch):
    """Validation finds what is told here, an epoch after the other."""
    values = []
    original = callbacks.EpochCheckpoint.on_train_epoch_end

    def told(self, trainer, module):
        trainer.callback_metrics["val/validation/top1"] = torch.tensor(values[trainer.current_epoch])
        original(self, trainer, module)

    monkeypatch.setattr(callbacks.EpochCheckpoint, "on_train_epoch_end", told)
    return values


def test_a_run_is_tested_by_its_best_epoch_and_ends_early(compose, falling, tmp_path):
    falling += [0.1, 0.9, 0.5, 0.4, 1.0]
    monitored = ["checkpoint.monitor=val/validation/top1", "checkpoint.patience=2", "trainer.max_epochs=5"]
    record = train(compose(PRESET, *monitored))
    folder = folder_of(record, tmp_path)
    assert list(record.history) == ["0", "1", "2", "3"] and record.status == "FINISHED"
    told = {"epoch": 1, "of": 4, "monitor": "val/validation/top1", "value": pytest.approx(0.9), "stopped_early": True}
    assert record.tested == told
    assert what_was_tested(record).startswith(
        "tested: epoch 2 of 4, where it stopped early, the best by val/validation"
    )
    best, last = (torch.load(path, weights_only=True) for path in (folder.best_checkpoint, folder.checkpoint))
    assert (best["epoch"], last["epoch"]) == (1, 3)
    # whoever reads the run reads that epoch
    outputs = tmp_path / "outputs"
    module, _ = trained_module(outputs, record.signature)
    assert_same(dict(module.state_dict()), dict(best["state_dict"]))
    with config_folder():
        again = evaluate(compose_root("evaluate", [f"paths.outputs={outputs}", f"run={record.signature}"]))
    assert again == pytest.approx(record.metrics)
    config = {"network": {"weights": f"run:{record.signature[:5]}"}, "paths": {"outputs": outputs}}
    assert weights_file(config) == folder.best_checkpoint
    folder.best_checkpoint.write_bytes(b"cut")
    with pytest.raises(ConfigError, match=r"best\.ckpt: .* delete it to use the last epoch's"):
        trained_module(outputs, record.signature)


@pytest.mark.parametrize("moment", ["before the checkpoint is kept", "in the test"])
def test_a_run_that_is_ended_there_goes_on_as_an_unbroken_one(moment, compose, falling, tmp_path, monkeypatch):
    falling += [0.1, 0.9, 0.5, 0.4, 1.0]
    monitored = ["checkpoint.monitor=val/validation/top1", "checkpoint.patience=2", "trainer.max_epochs=5"]
    unbroken = train(compose(PRESET, *monitored, f"paths.outputs={tmp_path}/whole"))
    asked = compose(PRESET, *monitored)

    def fails(self, *_):
        if moment == "in the test" or self.looked == 1:
            raise KeyboardInterrupt
        keep(self, *_)

    keep = BestEpochs.keep
    where = (BestEpochs, "keep") if moment != "in the test" else (callbacks.EpochCheckpoint, "on_test_start")
    with monkeypatch.context() as patch:
        patch.setattr(*where, fails)
        with pytest.raises(KeyboardInterrupt):
            train(asked)
    resumed = train(asked)
    assert resumed.tested == unbroken.tested and resumed.metrics == unbroken.metrics
    assert list(resumed.history) == list(unbroken.history)
    one, other = (folder_of(record, tmp_path / place) for record, place in ((unbroken, "whole"), (resumed, "outputs")))
    assert sorted(p.name for p in one.checkpoint.parent.iterdir()) == sorted(
        p.name for p in other.checkpoint.parent.iterdir() if p.name != "broken.ckpt"
    )
    assert_same(*(dict(torch.load(f.best_checkpoint, weights_only=True)["state_dict"]) for f in (one, other)))


@pytest.mark.parametrize("preset", [PRESET, "ppo/pendulum"])
def test_the_average_is_what_is_validated_tested_and_saved(preset, compose, tmp_path, monkeypatch):
    decay, mine, plain, validated = 0.8, {}, [], []
    original = WeightAverage.on_train_batch_end

    def watched(self, trainer, module, *rest):
        now = {name: part.clone() for name, part in averaged(module).items()}
        if not mine:
            mine.update(self.average)
            mine.update({name: part.clone() for name, part in mine.items()})
        share = min(decay, (1 + len(plain)) / (10 + len(plain)))
        for name, part in now.items():
            mine[name] = share * mine[name] + (1 - share) * part
        plain.append(now)
        original(self, trainer, module, *rest)

    def looked(self, trainer, module):
        validated.append({name: part.clone() for name, part in averaged(module).items()})
        leave(self, trainer, module)

    leave = WeightAverage.on_validation_end
    monkeypatch.setattr(WeightAverage, "on_train_batch_end", watched)
    monkeypatch.setattr(WeightAverage, "on_validation_end", looked)
    record = train(compose(preset, f"trainer.ema={decay}"))
    assert record.tested == {"ema": decay} and "decay 0.8" in what_was_tested(record)
    saved = torch.load(folder_of(record, tmp_path).checkpoint, weights_only=True)
    assert len(mine) > 2 and any(name.endswith("running_var") for name in mine) == (preset == PRESET)
    for name, value in mine.items():
        assert torch.allclose(saved["state_dict"][name], value, atol=1e-6), name
        assert torch.equal(validated[-1][name], saved["state_dict"][name]), name
        assert torch.equal(saved[WHILE_TRAINED][name], plain[-1][name]), name
    module, _ = trained_module(tmp_path / "outputs", record.signature)
    assert_same({name: part.clone() for name, part in averaged(module).items()}, validated[-1])
    if preset != PRESET:  # counters are no weights
        assert int(saved["state_dict"]["env_steps"]) == record.env_steps > 0


def test_what_has_no_weights_has_no_average(compose):
    with pytest.raises(ConfigError, match=r"trainer\.ema: expected null for RandomPolicy"):
        train(compose("baseline/random", "env=pendulum", "trainer.ema=0.9"))


def test_tables_say_which_weights_were_tested():
    def record(**tested):
        return Record("s", "n", "c", 0, "smoke", tested=tested)

    best = record(monitor="val/return", epoch=1, of=3, value=1.0)
    assert weights_line([record(), record()]) == []
    assert weights_line([best, best, record(ema=0.9)]) == [
        ("tested weights", "best epoch by val/return: 2 runs; last epoch, moving average (decay 0.9): 1 run")
    ]
