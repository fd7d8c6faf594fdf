"""Weights that are tested without training, several runs at once, predictions of videos without labels."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
import torch

from comparing import folder_of
from visagent import cli
from visagent.config.composition import compose_root, config_folder
from visagent.errors import ConfigError
from visagent.metrics.predictions import Predictions
from visagent.runtime.evaluate import evaluate
from visagent.runtime.train import train
from visagent.video.layouts import read

PRESET = "rubiksnet/something_v2"


@pytest.fixture
def run(trained):
    record, outputs = trained(PRESET)
    return record, folder_of(record, outputs)


def evaluation(outputs, *overrides):
    with config_folder():
        return compose_root("evaluate", [f"paths.outputs={outputs}", *overrides])


def test_weights_of_elsewhere_are_tested_as_the_run_that_made_them_was(run, compose, tmp_path):
    record, folder = run
    weights = tmp_path / "elsewhere.pth"
    state = torch.load(folder.checkpoint, weights_only=True)["state_dict"]
    torch.save(
        {f"module.{k.removeprefix('network.')}": v for k, v in state.items() if k.startswith("network.")}, weights
    )
    tested = train(compose(PRESET, "training=false", f"network.weights={weights}"))
    assert tested.status == "FINISHED" and not tested.history
    assert tested.metrics == record.metrics and tested.signature != record.signature
    assert tested.hardware["device"] == "1 x cpu"
    ours, theirs = (
        Predictions.load(where.path / "predictions" / "2_clip.npz") for where in (folder_of(tested, tmp_path), folder)
    )
    assert ours.videos == theirs.videos and np.array_equal(ours.logits, theirs.logits)
    assert ours.accuracies()["top1"] == record.metrics["test/2_clip/top1"]
    # it is a run as any other: it is evaluated, and found by the same command
    outputs = tmp_path / "outputs"
    again = evaluate(evaluation(outputs, f"run={tested.signature}"))
    assert again == pytest.approx(record.metrics)
    assert train(compose(PRESET, "training=false", f"network.weights={weights}")).attempts == 1


def test_what_is_killed_before_its_end_begins_again_with_the_weights(run, compose, tmp_path, monkeypatch):
    from visagent.runtime import fitting

    _, folder = run
    asked = compose(PRESET, "training=false", f"network.weights={folder.checkpoint}")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "draw", killed)  # the checkpoint is there
        with pytest.raises(KeyboardInterrupt):
            train(asked)
    assert train(asked).metrics == run[0].metrics


@pytest.mark.parametrize(
    ("preset", "overrides", "message"),
    [
        (PRESET, [], "network.weights: expected what is to be tested, with training=false"),
        ("rubiksnet/ucf101", ["network.weights={weights}"], "trained on other classes"),
        (
            PRESET,
            ["network.weights={weights}", "network.variant=rubiks3d-aq"],
            "all of RubiksNet's, as nothing is learned",
        ),
        (PRESET, ["network.weights={weights}", "learners=gossip"], "learners: expected null with training=false"),
    ],
)
def test_what_cannot_be_tested_is_refused(run, preset, overrides, message, compose):
    weights = run[1].checkpoint
    with pytest.raises(ConfigError, match=message):
        train(compose(preset, "training=false", *(each.format(weights=weights) for each in overrides)))


def test_the_command_tests_weights_as_a_run_without_training(monkeypatch, capsys):
    monkeypatch.setattr(cli, "_hydra", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["/bin/visagent-evaluate", f"experiment={PRESET}", "weights=run:r3f2", "seed=1"])
    cli.evaluate()
    assert sys.argv[1:] == ["training=false", f"experiment={PRESET}", "network.weights=run:r3f2", "seed=1"]
    assert sys.argv[0] == "/bin/visagent-train"
    monkeypatch.setattr(sys, "argv", ["visagent-evaluate", "run=r3f2,r81c", "fuse=[1,1]"])
    cli.evaluate()
    assert sys.argv[1:] == ["run=[r3f2,r81c]", "fuse=[1,1]"]
    monkeypatch.setattr(sys, "argv", ["visagent-evaluate", "run=r3f2", "weights=x.pth"])
    with pytest.raises(SystemExit):
        cli.evaluate()
    assert "both run= and weights=" in capsys.readouterr().err


def test_several_runs_are_evaluated_and_fused(trained, tmp_path, capsys):
    (one, outputs), (other, _) = trained(PRESET), trained(PRESET, "seed=1")
    mine = tmp_path / "outputs"
    for record in (one, other):
        shutil.copytree(folder_of(record, outputs).path, mine / "runs" / record.signature)
    asked = evaluation(mine, f"run=[{one.signature},{other.signature}]", "fuse=[1,3]")
    metrics = evaluate(asked)
    (where,) = (mine / "fusions").iterdir()
    kept = json.loads((where / "fusion.json").read_text())
    assert kept["runs"] == [one.signature, other.signature] and kept["metrics"] == metrics
    joined = Predictions.load(where / "1_clip.npz")
    assert joined.accuracies()["top1"] == metrics["test/1_clip/top1"]
    parts = [
        Predictions.load(next((mine / "runs" / record.signature / "evaluations").glob("*/predictions/1_clip.npz")))
        for record in (one, other)
    ]
    expected = (parts[0].probabilities + 3 * parts[1].probabilities) / 4
    assert np.allclose(joined.probabilities, expected, atol=1e-6)
    assert (where / "1_clip_confusion.png").stat().st_size > 1000
    assert "fusion of" in capsys.readouterr().out
    one_of_them = json.loads(next((mine / "runs" / one.signature / "evaluations").glob("*.json")).read_text())
    assert one_of_them["tested"] == {
        "checkpoint": "last.ckpt", "epoch": 1, "averaged": False, "weights": one_of_them["tested"]["weights"],
    }  # fmt: skip
    other_classes, there = trained("rubiksnet/ucf101")
    shutil.copytree(folder_of(other_classes, there).path, mine / "runs" / other_classes.signature)
    with pytest.raises(ConfigError, match="which differ first at 'Covering something with something' and 'CoveringW"):
        evaluate(evaluation(mine, f"run=[{one.signature},{other_classes.signature}]", "fuse=[1,3]"))
    with pytest.raises(ConfigError, match="fuse: expected a weight above 0 for each of several runs"):
        evaluate(evaluation(mine, f"run=[{one.signature},{other.signature}]", "fuse=[1]"))


@pytest.mark.parametrize("layout", ["something_v2", "something_v1"])
def test_predictions_for_a_test_without_labels_are_handed_in(layout, run, compose, synthetic, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(synthetic(layout), root)
    known = read(layout, root, "val").clips
    names = [clip.path.rpartition("/")[2].removesuffix(".webm") for clip in known]
    if layout == "something_v2":
        (next(root.glob("**/labels.json")).with_name("test.json")).write_text(json.dumps([{"id": n} for n in names]))
    else:
        (root / "something-something-v1-test.csv").write_text("".join(f"{n}\n" for n in names))
    record = train(
        compose(
            PRESET,
            "training=false",
            f"network.weights={run[1].checkpoint}",
            f"datamodule.layout={layout}",
            f"datamodule.root={root}",
            "datamodule.test_split=test",
        )
    )
    assert not [name for name in record.metrics if "top" in name or "class" in name]
    where = folder_of(record, tmp_path).path / "predictions"
    lines = [line.split(";") for line in (where / "1_clip_submission.csv").read_text().splitlines()]
    assert [line[0] for line in lines] == names
    logits = Predictions.load(where / "1_clip.npz").logits
    if layout == "something_v2":
        best = torch.from_numpy(logits).topk(5).indices.tolist()
        assert [[int(number) for number in line[1:]] for line in lines] == best
    else:
        assert [line[1] for line in lines] == [read(layout, root, "val").classes[n] for n in logits.argmax(axis=1)]


def test_only_something_something_has_a_test_without_labels(compose):
    with pytest.raises(ConfigError, match=r"datamodule\.test_split: expected val with datamodule\.layout=ucf101"):
        train(compose("rubiksnet/ucf101", "datamodule.test_split=test"))
