"""Exported networks compute what the network computes, in other programs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode

from slow import first
from visagent.config.presets import options
from visagent.config.schemas import register
from visagent.config.validation import locate, parameters
from visagent.errors import ConfigError
from visagent.networks.deploy import MOST_GROUPS, SeparableShift, WholeShift, action_network, deployable
from visagent.networks.rubiksnet import RubiksNet, save_official_checkpoint
from visagent.runtime.building import make
from visagent.runtime.export import export
from visagent.runtime.train import train


def shaken(variant, spatial="learned", temporal="learned", tier="micro", frames=4):
    """A network whose shifts, statistics and squeeze are not those it begins with."""
    torch.manual_seed(0)
    network = RubiksNet(tier, 5, frames, variant, spatial, temporal)
    for _, block in network.blocks():
        if block.space.shift.requires_grad:
            block.space.shift.data.mul_(2.3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
    return network.eval()


@pytest.mark.parametrize("tier", first(1, ["micro", "small"]))
@pytest.mark.parametrize(
    ("spatial", "temporal"), [("learned", "learned"), ("fixed", "fixed"), ("fixed", "learned"), ("learned", "fixed")]
)
@pytest.mark.parametrize("variant", ["rubiks3d", "rubiks3d-iq", "rubiks3d-aq", "rubiks2d"])
@torch.no_grad()
def test_plain_operations_compute_the_same(variant, spatial, temporal, tier):
    network = shaken(variant, spatial, temporal, tier)
    clips = torch.randn(2, 4, 3, 40, 32)
    plain = deployable(network)
    expected = network.harden()(clips)
    assert float((plain(clips) - expected).abs().max() / expected.abs().max()) < 1e-5


@torch.no_grad()
def test_few_displacements_become_slices_and_many_convolutions():
    kinds = {type(block.as3) for _, block in deployable(shaken("rubiks2d", spatial="fixed")).blocks()}
    assert kinds == {WholeShift}
    network = shaken("rubiks3d-iq")
    assert len(torch.unique(network.backbone.layer0[0].space.shift.round().t(), dim=0)) > MOST_GROUPS
    assert {type(block.as3) for _, block in deployable(network).blocks()} == {SeparableShift}


def pytest_generate_tests(metafunc):
    if "classifier" in metafunc.fixturenames:
        names, networks = zip(*classifiers(), strict=True)
        metafunc.parametrize("classifier", networks, ids=names)


def settings(*overrides):
    register()
    with initialize_config_module("visagent.conf", version_base="1.3"):
        return hydra_compose("export", list(overrides))


class Operators(TorchDispatchMode):
    """Notes whose operators run, `aten` being PyTorch's own."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.add(func.namespace)
        return func(*args, **(kwargs or {}))


def classifiers():
    """The networks in conf/network that classify clips, by what their classes take."""
    register()
    found = []
    for name in options("network"):
        with initialize_config_module("visagent.conf", version_base="1.3"):
            network = hydra_compose(f"network/{name}").network
        if {"num_classes", "num_frames"} <= set(parameters(locate(network._target_, "network"))):
            found.append((name, network))
    assert len(found) >= 5, "a network that classifies clips is known by its arguments"
    return found


@torch.no_grad()
def test_every_classifier_is_exported_in_operations_that_every_runtime_has(monkeypatch, classifier):
    from visagent.networks import rubiksnet

    for name, tier in rubiksnet.TIERS.items():  # deeper ones repeat the same blocks
        monkeypatch.setitem(rubiksnet.TIERS, name, replace(tier, blocks=(1, 1, 1, 1)))
    torch.manual_seed(0)
    found = action_network(
        make("network", OmegaConf.to_container(classifier))(num_classes=5, num_frames=4), list("abcde"), 4, 32
    )
    with Operators() as operators:
        plain = found.plain(clips := found.inputs["clips"].example(2))
    assert operators.seen == {"aten"}
    expected = found.network(clips)
    assert float((plain - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.parametrize("network", first(1, ["network.variant=rubiks3d-aq", "network=tsm"]))
def test_a_run_exports_to_onnx(network, compose, tmp_path, capsys):
    config = compose(
        "rubiksnet/something_v2",
        network,
        "trainer.max_epochs=1",
        "evaluate_after_training=false",
        "+trainer.limit_train_batches=1",
    )
    record = train(config)
    target = export(settings(f"run={record.signature}", f"paths.outputs={config.paths.outputs}", "trials=2", "batch=3"))
    assert target.name == "network.onnx" and target.parent.name == record.signature
    assert "exported" in capsys.readouterr().out
    described = json.loads(target.with_suffix(".json").read_text())
    assert len(described["classes"]) == 8 and described["inputs"]["clips"]["shape"] == ["N", 8, 3, 16, 16]
    session = onnxruntime.InferenceSession(str(target), providers=["CPUExecutionProvider"])
    assert session.run(None, {"clips": np.zeros((5, 8, 3, 16, 16), np.float32)})[0].shape == (5, 8)


def test_a_released_checkpoint_exports_to_a_pytorch_archive(tmp_path):
    save_official_checkpoint(RubiksNet("tiny", 7), tmp_path / "net.pth.tar")
    target = export(
        settings(f"checkpoint={tmp_path}/net.pth.tar", "format=pt2", f"output={tmp_path}/net.pt2", "trials=1")
    )
    loaded = torch.export.load(target).module()
    with torch.no_grad():
        assert loaded(torch.zeros(3, 8, 3, 224, 224)).shape == (3, 7)


def test_what_was_there_stays_where_the_new_file_is_wrong(tmp_path, monkeypatch):
    save_official_checkpoint(RubiksNet("tiny", 7), tmp_path / "net.pth.tar")
    (tmp_path / "net.pt2").write_text("of yesterday")
    asked = settings(f"checkpoint={tmp_path}/net.pth.tar", "format=pt2", f"output={tmp_path}/net.pt2", "trials=1")
    monkeypatch.setattr("visagent.runtime.export.TOLERANCE", -1.0)
    with pytest.raises(ConfigError, match="nothing was kept"):
        export(asked)
    assert (tmp_path / "net.pt2").read_text() == "of yesterday"
    assert {path.name for path in tmp_path.iterdir()} == {"net.pth.tar", "net.pt2"}


def test_what_cannot_be_exported_is_said():
    with pytest.raises(ConfigError, match=r"expected either run=SIGNATURE or checkpoint="):
        export(settings())
    with pytest.raises(ConfigError, match="format: expected onnx or pt2"):
        export(settings("run=x", "format=tflite"))
    with pytest.raises(ConfigError, match=r"output: expected a file NAME\.onnx, as format=onnx, got 'net\.json'"):
        export(settings("run=x", "output=net.json"))
