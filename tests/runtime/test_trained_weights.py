"""Runs that begin with weights from elsewhere (`network.weights`)."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf
from torchvision import models

from comparing import checkpoint, folder_of
from visagent.config.composition import signed
from visagent.config.schemas import TrainConfig
from visagent.config.signature import signature
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime.evaluate import trained as trained_module
from visagent.runtime.train import train

pytestmark = pytest.mark.usefixtures("undrawn")
STANDING = ("optimizer.lr=0", "trainer.max_epochs=1", "name=second")
"""Epochs in which no weight moves."""


def signature_of(config):
    return signature(signed(validate(config, TrainConfig)))


def network_of(outputs, record):
    return {
        name: value for name, value in checkpoint(record, outputs)["state_dict"].items() if name.startswith("network.")
    }


def test_a_run_begins_with_anothers_weights(compose, tmp_path, caplog):
    caplog.set_level("INFO", logger="visagent")
    first = train(compose("rubiksnet/something_v2"))
    outputs = tmp_path / "outputs"
    file = folder_of(first, outputs).checkpoint
    again = compose("rubiksnet/something_v2", *STANDING, f"network.weights=run:{first.signature[:6]}")
    plain = compose("rubiksnet/something_v2", *STANDING)
    by_path = compose("rubiksnet/something_v2", *STANDING, f"network.weights={file}", "network.strict=true")
    assert signature_of(again) == signature_of(by_path) != signature_of(plain)
    second = train(again)
    ours, theirs = network_of(outputs, second), network_of(outputs, first)
    learned = [name for name in ours if not name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert all(torch.allclose(ours[name], theirs[name]) for name in learned) and len(learned) > 20
    folder = folder_of(second, outputs).path
    assert (folder / "weights.txt").read_text().count("loaded") == len(theirs)
    assert f"weights of {file}: {len(theirs)} of {len(theirs)} loaded, 0 of them renamed, 100% of" in caplog.text
    file.rename(tmp_path / "elsewhere")  # what the run has learned is in its own checkpoint
    module, _ = trained_module(outputs, second.signature)
    assert torch.equal(module.network.new_fc.weight, ours["network.new_fc.weight"])


def test_a_policy_begins_with_anothers_weights_and_filter(compose, tmp_path):
    outputs = tmp_path / "outputs"
    first = train(compose("ppo/cartpole"))
    second = train(compose("ppo/cartpole", *STANDING, f"network.weights=run:{first.signature}", "network.strict=true"))
    ours, theirs = network_of(outputs, second), network_of(outputs, first)
    assert all(torch.allclose(ours[name], theirs[name]) for name in ours if ".normalizer." not in name)
    count = next(name for name in ours if name.endswith("normalizer.count"))
    assert ours[count] > theirs[count] > 0


def test_navigation_takes_the_layers_of_scenes_that_both_know(compose, tmp_path):
    outputs = tmp_path / "outputs"
    preset = "navigation/behaviour_cloning"
    first = train(compose(preset))
    told = (*STANDING, "datamodule.scene_names=[kitchen_01]", f"network.weights=run:{first.signature}")
    second = train(compose(preset, *told))
    ours, theirs = network_of(outputs, second), network_of(outputs, first)
    for part in ("siamese.weight", "fusion.bias"):
        assert torch.allclose(ours[f"network.{part}"], theirs[f"network.{part}"])
    kitchen = checkpoint(first, outputs)["scene_names"].index("kitchen_01")
    assert kitchen == 1 and torch.allclose(ours["network.policy_head.bias"][0], theirs["network.policy_head.bias"][1])


def test_imagenets_weights_are_taken_from_torchvisions_cache(compose, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    ask = ("network=tsm", "network.weights=torchvision")
    with pytest.raises(ConfigError, match=r"expected one resnet18-\*\.pth in torchvision's cache .*, got none"):
        train(compose("rubiksnet/something_v2", *ask))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    image = models.resnet18(weights=None)
    torch.save(image.state_dict(), cache / "resnet18-f37072fd.pth")
    record = train(compose("rubiksnet/something_v2", *ask, *STANDING))
    ours = network_of(tmp_path / "outputs", record)
    assert torch.allclose(ours["network.backbone.layer4.1.conv1.1.weight"], image.layer4[1].conv1.weight)
    (cache / "resnet18-5c106cde.pth").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"got several: resnet18-5c106cde\.pth, resnet18-f37072fd"):
        train(compose("rubiksnet/something_v2", *ask))
    chosen = compose("rubiksnet/something_v2", *STANDING, "network=tsm", "network.weights=torchvision:f37")
    assert signature_of(chosen) == record.signature
    with pytest.raises(ConfigError, match="are those of network=tsn and network=tsm"):
        train(compose("rubiksnet/something_v2", "network.weights=torchvision"))


def test_weights_that_are_not_there_are_named(compose, tmp_path):
    with pytest.raises(ConfigError, match=r"expected a file, got none\.pth .*type network\.weights=FILE"):
        train(compose("ppo/cartpole", "network.weights=none.pth"))
    with pytest.raises(ConfigError, match=r"got run:r0, of which there is none with a checkpoint"):
        train(compose("ppo/cartpole", "network.weights=run:r0"))


def test_runs_of_before_keep_their_signatures(compose):
    config = compose("ppo/cartpole")
    without = OmegaConf.create(OmegaConf.to_container(config))
    for key in ("weights", "strict", "weights_hash"):
        del without["network"][key]
    assert signature(OmegaConf.to_container(config, resolve=True)) == signature(
        OmegaConf.to_container(without, resolve=True)
    )
