"""Weights from elsewhere: what their files call them, and what becomes of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models

from visagent.errors import ConfigError
from visagent.networks.rubiksnet import RubiksNet, save_official_checkpoint
from visagent.networks.video_resnet import VideoResNet
from visagent.networks.weights import take_weights, weights_of

CLIPS = torch.rand(2, 8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def released_tsm(network, shifted):
    """What temporal-shift-module saves of a ResNet-18: DataParallel's names, the backbone under `base_model`,
    a first convolution under `net` where a shift stands before it.
    """
    state = {}
    for name, value in network.backbone.state_dict().items():
        if name.endswith(".offsets"):
            continue
        plain = name.replace(".conv1.1.", ".conv1.")
        if shifted and plain.startswith("layer"):
            plain = plain.replace(".conv1.", ".conv1.net.")
        state[f"module.base_model.{plain}"] = value
    state |= {f"module.new_fc.{name}": value for name, value in network.new_fc.state_dict().items()}
    return {"epoch": 50, "arch": "resnet18", "state_dict": state, "best_prec1": torch.tensor(59.1)}


@pytest.mark.parametrize("temporal", ["none", "shift"])
def test_released_tsn_and_tsm_compute_the_same_here(temporal, tmp_path):
    torch.manual_seed(0)
    trained, fresh = (VideoResNet(18, 5, temporal=temporal).eval() for _ in range(2))
    torch.save(released_tsm(trained, temporal == "shift"), tmp_path / "released.pth.tar")
    report = take_weights(fresh, tmp_path / "released.pth.tar", strict=True)
    with torch.no_grad():
        assert torch.equal(fresh(CLIPS), trained(CLIPS)) and not torch.allclose(fresh(CLIPS), torch.zeros(2, 5))
    assert report.left_out == {} and report.kept == ()
    assert report.taken["new_fc.weight"] == "new_fc.weight"
    first = "backbone.layer1.0.conv1.1.weight" if temporal == "shift" else "backbone.layer1.0.conv1.weight"
    assert first in report.renamed


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_torchvisions_resnets_become_tsn_and_tsm(depth, tmp_path):
    torch.manual_seed(0)
    image = getattr(models, f"resnet{depth}")(weights=None).eval()
    torch.save(image.state_dict(), tmp_path / "resnet.pth")
    tsn, tsm = VideoResNet(depth, 5).eval(), VideoResNet(depth, 5, temporal="shift").eval()
    for network in (tsn, tsm):
        report = take_weights(network, tmp_path / "resnet.pth")
        assert set(report.left_out) == {"fc.weight", "fc.bias"} and set(report.kept) == {"new_fc.weight", "new_fc.bias"}
        assert "[1000, " in report.left_out["fc.weight"]
    image.fc = nn.Identity()
    with torch.no_grad():
        assert torch.allclose(tsn.backbone(CLIPS[:, 0]), image(CLIPS[:, 0]), atol=1e-5)
    with pytest.raises(ConfigError, match=r"as network.strict=true asks.*fc.weight"):
        take_weights(tsn, tmp_path / "resnet.pth", strict=True)
    assert report.share > 0.99
    same = VideoResNet(depth, 1000)
    assert take_weights(same, tmp_path / "resnet.pth", strict=True).kept == ()  # as many classes


def test_tsn_begins_from_tsm_and_the_other_way_round(tmp_path):
    tsn, tsm = VideoResNet(18, 5), VideoResNet(18, 5, temporal="shift")
    for one, other in ((tsn, tsm), (tsm, tsn)):
        torch.save(one.state_dict(), tmp_path / "weights.pt")
        assert take_weights(other, tmp_path / "weights.pt", strict=True).kept == ()
        assert torch.equal(other.backbone.conv1.weight, one.backbone.conv1.weight)


def test_released_rubiksnets_and_those_of_runs_fit(tmp_path):
    torch.manual_seed(0)
    trained = RubiksNet("micro", 5)
    save_official_checkpoint(trained, tmp_path / "released.pth.tar")
    state = {f"network.{name}": value for name, value in trained.state_dict().items()}
    torch.save(
        {"state_dict": {**state, "clips_seen": torch.tensor(3)}, "pytorch-lightning_version": "2.6.6"},
        tmp_path / "run.ckpt",
    )
    for file in ("released.pth.tar", "run.ckpt"):
        fresh = RubiksNet("micro", 5)
        take_weights(fresh, tmp_path / file, strict=True)
        assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in trained.state_dict().items())
    report = take_weights(RubiksNet("micro", 7), tmp_path / "run.ckpt")
    assert set(report.kept) == {"new_fc.weight", "new_fc.bias"}
    assert "as initialised: new_fc.weight, new_fc.bias" in report.lines()
    left_out, kept = (
        next(line for line in report.table().splitlines() if what in line) for what in ("left out", "as i")
    )
    assert left_out.split(maxsplit=2) == ["-", "new_fc.weight", "left out: [5, 256], the network's is [7, 256]"]
    assert kept.split(maxsplit=2) == ["new_fc.weight", "-", "as initialised"]


def test_files_of_other_kinds_are_read_and_others_named(tmp_path):
    network = nn.Linear(2, 3)
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(network.state_dict(), tmp_path / "weights.safetensors")
    fresh = nn.Linear(2, 3)
    take_weights(fresh, tmp_path / "weights.safetensors", strict=True)
    assert torch.equal(fresh.weight, network.weight)
    compiled = {f"_orig_mod.module.{name}": value for name, value in network.state_dict().items()}
    torch.save({"model": compiled, "epoch": 3}, tmp_path / "compiled.pt")
    state, about = weights_of(tmp_path / "compiled.pt")
    assert set(state) == {"weight", "bias"} and about == {"epoch": 3}
    torch.save({"weight": torch.zeros(7)}, tmp_path / "other.pt")
    with pytest.raises(ConfigError, match=r"expected some that fit Linear, got .*0 of 1 loaded.*\[7\]"):
        take_weights(network, tmp_path / "other.pt")
    torch.save({"new_fc.bias": torch.zeros(5)}, tmp_path / "classifier.pt")
    with pytest.raises(ConfigError, match=r"expected some that fit RubiksNet, got .*1 of 1 loaded"):
        take_weights(RubiksNet("micro", 5), tmp_path / "classifier.pt")
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "none.pt")
    with pytest.raises(ConfigError, match=r"expected weights by name.*got epoch, lr"):
        take_weights(network, tmp_path / "none.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match="expected the safetensors format"):
        take_weights(network, tmp_path / "broken.safetensors")
