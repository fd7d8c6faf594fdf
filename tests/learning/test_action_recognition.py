"""Action recognition: every preset runs, training repeats, RubiksNet tells time's direction where
TSN cannot.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from comparing import assert_same, checkpoint, folder_of
from lightning_modules.action_recognition import ActionRecognition
from lightning_modules.schedules import rate
from slow import only
from visagent.config.presets import presets
from visagent.config.schemas import TrainConfig
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.networks import rubiksnet
from visagent.networks.parameter_groups import parameter_groups
from visagent.networks.rubiksnet import RubiksNet, save_official_checkpoint
from visagent.objectives.action_recognition import budget_loss, temperature
from visagent.runtime.fitting import build
from visagent.runtime.train import train
from visagent.seeding import derive_seed
from visagent.video.synthetic import ACTIONS, Example

PRESET = "rubiksnet/something_v2"
MEASURING = ("rubiksnet/cost", "rubiksnet/latency")
ALIKE = ("rubiksnet/something_v1_paper", "rubiksnet/hmdb51_paper", "rubiksnet/ucf101_paper")
"""The network and the schedule of rubiksnet/something_v2_paper, on data whose layouts other presets read."""
TRAINED = [name for name in presets() if name.startswith("rubiksnet/") and name not in (*MEASURING, *ALIKE)]


@pytest.mark.parametrize("preset", only(lambda preset: not preset.endswith("_paper"), TRAINED))
def test_every_preset_runs_with_debug_smoke(preset, compose, tmp_path, monkeypatch):
    for name, tier in rubiksnet.TIERS.items():  # deeper ones repeat the same blocks
        monkeypatch.setitem(rubiksnet.TIERS, name, replace(tier, blocks=(1, 1, 1, 1)))
    record = train(compose(preset))
    assert record.status == "FINISHED" and record.scale == "smoke" and len(record.history) == 2
    assert any(key.endswith("_clip/top1") or key == "test/dense/top1" for key in record.metrics)
    assert all(0 <= value <= 1 for key, value in record.metrics.items() if "/top" in key)
    assert record.metrics["test/network/parameters"] > 1e5 and record.metrics["test/network/gmacs"] > 0
    drawn = {path.stem for path in folder_of(record, tmp_path).figures.glob("*.png")}
    assert {"confusion", "learning_curves"} <= drawn
    assert ("spatial_shifts" in drawn) == (preset not in ("rubiksnet/tsn", "rubiksnet/tsm"))


def test_training_without_a_test_afterwards(compose, tmp_path):
    record = train(compose(PRESET, "trainer.max_epochs=1", "evaluate_after_training=false"))
    assert record.status == "FINISHED" and not any(key.startswith("test/") for key in record.metrics)
    assert [path.stem for path in folder_of(record, tmp_path).figures.glob("*.png")] == ["learning_curves"]


@pytest.mark.usefixtures("undrawn")
def test_counting_and_timing(compose):
    counted = train(compose("rubiksnet/cost", "network.tier=tiny"))
    assert counted.metrics["test/network/parameters"] == 1_898_760 and counted.metrics[
        "test/network/gmacs"
    ] == pytest.approx(3.695, abs=1e-3)
    small = ("algorithm.trials=3", "datamodule.shape=[1,4,8,6,6]", "network.channels=8")
    for kind in ("conv3d", "conv2d_shift", "rubiks_shift"):
        timed = train(compose("rubiksnet/latency", f"network.kind={kind}", *small))
        assert timed.metrics["test/network/latency_ms"] > 0 and timed.metrics["test/network/training_ms"] > 0
    assert timed.metrics["test/network/parameters"] == 8 * 8 + 3 * 8


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_seeded_runs_are_equal_and_neither_validation_nor_workers_change_them(compose, tmp_path):
    # with dropout, which draws from the global generator
    first = train(compose("rubiksnet/tsn", f"paths.outputs={tmp_path}/a"))
    helped = train(compose("rubiksnet/tsn", f"paths.outputs={tmp_path}/b", "datamodule.workers=2"))
    blind = train(compose("rubiksnet/tsn", f"paths.outputs={tmp_path}/c", "+trainer.limit_val_batches=0"))
    other = train(compose("rubiksnet/tsn", f"paths.outputs={tmp_path}/d", "seed=1"))
    weights = [
        checkpoint(r, f"{tmp_path}/{x}")["state_dict"]
        for r, x in zip((first, helped, blind, other), "abcd", strict=True)
    ]
    assert_same(weights[0], weights[1])
    assert_same(weights[0], weights[2])
    assert not torch.equal(weights[0]["network.new_fc.weight"], weights[3]["network.new_fc.weight"])
    assert first.signature == helped.signature


def module_of(compose, *overrides) -> ActionRecognition:
    config = validate(compose(PRESET, *overrides), TrainConfig)
    module, data = build(config)
    data.prepare_data()
    data.setup()

    class Trainer:
        datamodule, world_size, max_epochs = data, 1, 10

    module._trainer = Trainer()
    module.setup("fit")
    return module


def test_parameter_groups(compose):
    module = module_of(compose, "network.variant=rubiks3d-aq", "network.spatial=learned")
    groups = parameter_groups(module.network, 0.1, module.settings.shift_lr_factor, module.settings.attention_lr_factor)
    sizes = [sum(p.numel() for p in group["params"]) for group in groups]
    assert sum(sizes) == sum(p.numel() for p in module.network.parameters() if p.requires_grad)
    assert [group.get("weight_decay") for group in groups] == [None, 0.0, 0.0, 0.0]
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.1, 0.05, 0.1])
    named = dict(module.network.named_parameters())
    assert {id(p) for p in groups[2]["params"]} == {id(p) for name, p in named.items() if name.endswith("as3.shift")}
    assert {id(p) for p in groups[3]["params"]} == {
        id(p) for name, p in named.items() if name.endswith("conv2.0.weight")
    }
    fixed = module_of(compose, "network.spatial=fixed", "network.temporal=fixed")
    assert len(parameter_groups(fixed.network, 0.1, 1.0, 1.0)) == 2


def test_schedules():
    assert [rate("steps", p, 0.0, [0.4, 0.8]) for p in (0.0, 0.39, 0.4, 0.8)] == pytest.approx([1, 1, 0.1, 0.01])
    assert rate("cosine", 0.5) == pytest.approx(0.5) and rate("cosine", 1.0) == pytest.approx(0)
    assert rate("cosine", 0.0, 0.5) < 0.01 and rate("cosine", 0.25, 0.5) == pytest.approx(0.5, abs=0.01)
    assert rate("constant", 0.9, 0.5) == 1.0


def test_temperature_and_budget():
    found = [temperature(epoch, 40, 2.0, 1e-3) for epoch in (0, 20, 40, 50)]
    assert found == pytest.approx([2.0, math.sqrt(2.0 * 1e-3), 1e-3, 1e-3])
    share = torch.tensor(0.3, requires_grad=True)
    loss = budget_loss(share, 0.125)
    loss.backward()
    assert loss.item() == pytest.approx(0.175) and share.grad.item() == 1.0


@pytest.mark.usefixtures("undrawn")
def test_a_start_from_other_weights(compose, tmp_path):
    save_official_checkpoint(RubiksNet("tiny", 174, 8, "rubiks3d"), tmp_path / "pretrained.pth.tar")
    record = train(
        compose(
            PRESET, "network.tier=tiny", f"algorithm.initialize_from={tmp_path}/pretrained.pth.tar", "optimizer.lr=0"
        )
    )
    started = checkpoint(record, tmp_path)["state_dict"]["network.backbone.conv1.weight"]
    assert torch.equal(
        started, torch.load(tmp_path / "pretrained.pth.tar", weights_only=True)["model"]["backbone.conv1.weight"]
    )
    with pytest.raises(ConfigError, match="that it was made with"):
        train(compose(PRESET, f"algorithm.initialize_from={tmp_path}/pretrained.pth.tar"))
    with pytest.raises(ConfigError, match="no such file"):
        train(compose(PRESET, "algorithm.initialize_from=none.pth"))


@pytest.fixture(scope="module")
def two_directions(tmp_path_factory):
    """Something pushed to the right or to the left, as folders of frames: 128 clips to learn from and 64 to test on."""
    folder = tmp_path_factory.mktemp("directions")
    for split, count in (("train", 128), ("val", 64)):
        for number in range(count):
            action = ACTIONS[4 + number % 2]
            clip = folder / split / action.snake / f"{number:03d}"
            clip.mkdir(parents=True)
            for index, frame in enumerate(Example(action, derive_seed(7, split, number), 32).frames()):
                Image.fromarray(frame).save(clip / f"{index:02d}.jpg", quality=95)
    return folder


LEARN = (
    "video_set=kinetics", "datamodule.dense=false", "datamodule.mirror=none", "datamodule.protocols=[1_clip]",
    "datamodule.crop=24", "datamodule.resize=28", "optimizer.lr=5e-3", "+trainer.limit_val_batches=0",
)  # fmt: skip


@pytest.mark.parametrize(("variant", "epochs", "low", "high"), [("rubiks3d", 16, 0.8, 1.0), ("rubiks2d", 8, 0.2, 0.7)])
@pytest.mark.slow
def test_time_is_learned_by_what_sees_it(variant, epochs, low, high, compose, two_directions):
    """Both directions have the same frames: averaging over these is guessing, whatever it learns."""
    settings = (f"paths.videos={two_directions}", f"network.variant={variant}", f"trainer.max_epochs={epochs}")
    record = train(compose(PRESET, *LEARN, *settings))
    assert low <= record.metrics["test/1_clip/top1"] <= high, record.metrics


@pytest.mark.slow
def test_attention_keeps_its_budget_and_its_accuracy_when_made_whole(compose, two_directions):
    attention = (
        "network.variant=rubiks3d-aq",
        "algorithm.budget=0.25",
        "trainer.max_epochs=10",
        "algorithm.anneal_epochs=8",
    )
    record = train(compose(PRESET, *LEARN, f"paths.videos={two_directions}", *attention))
    assert record.metrics["test/shifts/budget_gap"] < 0.02
    assert record.metrics["test/1_clip/top1"] == pytest.approx(record.metrics["test/1_clip_soft/top1"], abs=0.02)
