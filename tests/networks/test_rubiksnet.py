"""RubiksNet against the released network's numbers, its parts against hand values, checkpoints in and out."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from cuda_ext.ops import normalize_shift_grad
from visagent.errors import ConfigError
from visagent.networks.counting import cost
from visagent.networks.rubiksnet import (
    VARIANTS,
    RubiksNet,
    load_official_checkpoint,
    save_official_checkpoint,
)
from visagent.networks.shift import AttentionShift, RubiksShift3D, TemporalShift, shiftnet_offsets, tsm_offsets
from visagent.networks.video_resnet import VideoResNet
from visagent.networks.weights import initialize_from

CHECKPOINTS = ("rubiksnet_tiny", "rubiksnet_tiny_aq")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture(scope="module")
def folder(golden):
    return golden / "rubiksnet"


def golden_clip(numbers, dtype) -> torch.Tensor:
    """As the reference's README entry says."""
    rng = np.random.RandomState(int(numbers["clip_seed"]))
    base = rng.randint(0, 256, size=(2, 8, 3, 28, 28), dtype=np.int64)
    noise = rng.randint(0, 64, size=(2, 8, 3, 224, 224), dtype=np.int64)
    clip = ((3 * np.repeat(np.repeat(base, 8, axis=3), 8, axis=4)) // 4 + noise).astype(np.uint8)
    assert hashlib.sha256(clip.tobytes()).hexdigest() == str(numbers["clip_sha256"])
    mean, std = (torch.tensor(v, dtype=dtype).view(3, 1, 1) for v in (MEAN, STD))
    return (torch.from_numpy(clip).to(dtype) / 255 - mean) / std


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 5e-5)])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_golden_logits_and_features(name, dtype, tolerance, folder, device, monkeypatch):
    # on a GPU, convolutions of float32 are shorter numbers otherwise
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    numbers = np.load(folder / f"{name}_logits.npz")
    network = load_official_checkpoint(folder / f"{name}.pth.tar").to(device, dtype)
    assert not network.training
    features: dict[str, torch.Tensor] = {}
    for stage in ("conv1", "layer0", "layer1", "layer2", "layer3", "layer4"):
        getattr(network.backbone, stage).register_forward_hook(
            lambda _, __, out, stage=stage: features.__setitem__(stage, out.cpu())
        )
    with torch.no_grad():
        logits = network(golden_clip(numbers, dtype).to(device)).cpu()
    assert np.abs(logits.numpy() - numbers["logits"]).max() < tolerance
    for stage, feature in features.items():
        assert list(feature.shape) == numbers[f"feat_{stage}_shape"].tolist()
        c, h = feature.shape[1:3]
        part = feature[:, :: max(1, c // 5), :: max(1, h // 3), :: max(1, h // 3)].numpy()
        assert np.abs(part - numbers[f"feat_{stage}_slice"]).max() < tolerance * 10, stage


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_golden_gradients(name, folder):
    """Normalised shift gradients, those of the attention, and the norm of every other; whole shifts are left out (ours
    is the true gradient).
    """
    numbers = np.load(folder / f"{name}_logits.npz")
    network = load_official_checkpoint(folder / f"{name}.pth.tar").double()
    loss = nn.functional.cross_entropy(
        network(golden_clip(numbers, torch.float64)), torch.from_numpy(numbers["labels"])
    )
    loss.backward()
    assert abs(loss.item() - float(numbers["loss"])) < 1e-9
    network.normalize_shift_gradients(1.0)
    norms = dict(zip(numbers["grad_param_names"].tolist(), numbers["grad_param_norms"].tolist(), strict=True))
    compared = 0
    for key, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None
        stored = f"grad/{key}"
        if key.endswith("shift"):
            smooth = (parameter.detach() != parameter.detach().round()).all(dim=0)
            difference = np.abs(parameter.grad[:, smooth].numpy() - numbers[stored][:, smooth.numpy()])
            assert difference.max() < 1e-5, key
            compared += int(smooth.sum())
        elif stored in numbers:
            assert np.abs(parameter.grad.numpy() - numbers[stored]).max() < 1e-5, key
        elif key in norms:
            assert float(parameter.grad.norm()) == pytest.approx(norms[key], rel=1e-5), key
    assert compared > 2500


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", range(6))
def test_golden_attention_shift(case, dtype, folder, device):
    numbers = np.load(folder / "attention_shift_cases.npz")

    def get(key):
        return torch.from_numpy(np.asarray(numbers[f"case{case:02d}_{key}"])).to(device, dtype)

    layer = AttentionShift(len(get("weight")), int(numbers[f"case{case:02d}_n_segment"])).to(device, dtype)
    layer.weight.data.copy_(get("weight"))
    layer.T.fill_(get("T"))
    x = get("x").requires_grad_()
    out = layer(x)
    out.backward(get("grad_out"))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for ours, key in (
        (layer.attention(), "attention"),
        (out, "out"),
        (x.grad, "grad_x"),
        (layer.weight.grad, "grad_weight"),
    ):
        limit = tolerance * max(1.0, float(get(key).abs().max()))
        assert float((ours.detach() - get(key)).abs().max()) < limit, key


# parameters, entries; with attention: parameters, trained, entries; multiply-adds of convolutions and linear layers in
# G
COUNTS = {
    "tiny": (1_898_760, 233, 1_904_123, 1_904_106, 267, 3.6950),
    "small": (3_597_366, 267, 3_604_511, 3_604_494, 301, 6.5057),
    "medium": (6_185_622, 454, 6_202_576, 6_202_542, 522, 10.9255),
    "large": (8_538_294, 675, 8_563_905, 8_563_854, 777, 15.3474),
}


@pytest.mark.parametrize("tier", COUNTS)
def test_parameters_and_multiply_adds(tier):
    count, entries, aq_count, aq_trained, aq_entries, gmacs = COUNTS[tier]
    plain, attention = RubiksNet(tier, 174), RubiksNet(tier, 174, variant="rubiks3d-aq")
    assert cost(plain, (1, 8, 3, 224, 224)).parameters == count and len(plain.state_dict()) == entries
    assert cost(attention, (1, 8, 3, 224, 224)).parameters == aq_count and len(attention.state_dict()) == aq_entries
    assert sum(p.numel() for p in attention.parameters() if p.requires_grad) == aq_trained
    for network in (plain, attention):
        assert cost(network, (1, 8, 3, 224, 224)).multiply_adds / 1e9 == pytest.approx(gmacs, abs=5e-5)


@pytest.mark.parametrize("frames", [1, 3, 8, 16])
@pytest.mark.parametrize("variant", VARIANTS)
def test_any_number_of_frames(variant, frames):
    network = RubiksNet("tiny", 5, frames, variant).eval()
    clips = torch.randn(2, frames, 3, 32, 48)
    logits = network(clips)
    assert logits.shape == (2, 5)
    assert torch.equal(logits, network(clips.flatten(1, 2)))
    with pytest.raises(ValueError, match=rf"expected clips \[N, {frames}, 3, H, W\], got"):
        network(torch.randn(2, frames + 1, 3, 32, 48))


@torch.no_grad()
def test_only_the_spatial_variant_cannot_tell_time_backwards():
    torch.manual_seed(0)
    clips = torch.randn(1, 8, 3, 32, 32)
    for variant in VARIANTS:
        network = RubiksNet("tiny", 5, 8, variant).eval()
        difference = float((network(clips) - network(clips.flip(1))).abs().max())
        assert (difference < 1e-5) == (variant == "rubiks2d"), variant
    for temporal in ("none", "shift"):
        network = VideoResNet(18, 5, 8, temporal).eval()
        nn.init.normal_(network.new_fc.weight)
        difference = float((network(clips) - network(clips.flip(1))).abs().max())
        assert (difference < 1e-4) == (temporal == "none")


@pytest.mark.parametrize("variant", ["rubiks3d", "rubiks3d-aq"])
@pytest.mark.parametrize(("spatial", "temporal"), [("fixed", "learned"), ("learned", "fixed"), ("fixed", "fixed")])
def test_fixed_shifts_stay(variant, spatial, temporal):
    network = RubiksNet("tiny", 4, 8, variant, spatial, temporal)
    before = {
        **{f"t/{k}": v.clone() for k, v in network.temporal_offsets().items()},
        **{f"s/{k}": v.clone() for k, v in network.spatial_offsets().items()},
    }
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.5)
    nn.functional.cross_entropy(network(torch.randn(2, 8, 3, 32, 32)), torch.tensor([0, 3])).backward()
    network.normalize_shift_gradients()
    optimizer.step()
    after = {
        **{f"t/{k}": v for k, v in network.temporal_offsets().items()},
        **{f"s/{k}": v for k, v in network.spatial_offsets().items()},
    }
    for name, value in before.items():
        fixed = (spatial if name.startswith("s/") else temporal) == "fixed"
        if fixed:
            assert torch.equal(value, after[name]), name
        elif variant == "rubiks3d" or name.startswith("s/"):
            assert not torch.equal(value, after[name]), name
    if temporal == "fixed":
        share = torch.stack([(v != 0).float().mean() for v in network.temporal_offsets().values()]).mean()
        assert float(share) == pytest.approx(0.25, abs=0.02)


def test_fixed_initialisations():
    assert tsm_offsets(16).tolist() == [1.0] * 2 + [-1.0] * 2 + [0.0] * 12
    offsets = shiftnet_offsets(20)
    assert offsets.shape == (2, 20)
    places, counts = offsets.t().unique(dim=0, return_counts=True)
    assert len(places) == 9 and counts.sum() == 20 and counts.max() == 4


def test_gradient_normalisation_follows_equation_6_9():
    layer = RubiksShift3D(2, 4, 1, False)
    layer.shift.grad = torch.tensor([[3.0, 0.0], [0.0, 0.0], [4.0, 0.0]])
    layer.normalize_gradient(2.0)
    norm = (6.0**2 + 4.0**2) ** 0.5
    assert torch.allclose(layer.shift.grad, torch.tensor([[6 / norm, 0.0], [0.0, 0.0], [4 / norm, 0.0]]))
    one_row = RubiksShift3D(2, 4, 1, False, learn_space=False)
    one_row.shift.grad = torch.tensor([[0.1, -3.0], [5.0, 1.0], [2.0, 2.0]])
    one_row.normalize_gradient(1.0)
    assert one_row.shift.grad.tolist() == [[1.0, -1.0], [0.0, 0.0], [0.0, 0.0]]
    assert torch.allclose(normalize_shift_grad(torch.tensor([[3.0], [4.0]])), torch.tensor([[0.6], [0.8]]))


def test_cold_attention_is_the_hard_shift():
    torch.manual_seed(0)
    network = RubiksNet("tiny", 6, 8, "rubiks3d-aq").eval()
    for attention in network.attentions():
        nn.init.uniform_(attention.weight)
    network.set_temperature(1e-6)
    clips = torch.randn(2, 8, 3, 32, 32)
    soft, share = network(clips), network.shift_share().item()
    offsets = network.temporal_offsets()
    hard = network.harden()
    assert not hard.attentions() and not any(isinstance(m, AttentionShift) for m in hard.modules())
    assert torch.allclose(hard(clips), soft, atol=1e-4)
    assert float(torch.stack([(v != 0).float().mean() for v in offsets.values()]).mean()) == pytest.approx(
        share, abs=1e-3
    )
    assert all(torch.equal(offsets[name], value) for name, value in hard.temporal_offsets().items())


def test_temporal_shift_reads_the_right_frame():
    frames = torch.arange(4.0).view(1, 4, 1, 1, 1).expand(1, 4, 3, 2, 2).flatten(0, 1)
    out = TemporalShift(torch.tensor([1.0, -1.0, 0.0]), 4)(frames)[:, :, 0, 0]
    assert out.t().tolist() == [[1, 2, 3, 0], [0, 0, 1, 2], [0, 1, 2, 3]]


def test_checkpoints_round_trip(tmp_path):
    for variant in ("rubiks3d", "rubiks3d-aq"):
        network = RubiksNet("tiny", 7, 8, variant).eval()
        save_official_checkpoint(network, tmp_path / "x.pth.tar")
        loaded = load_official_checkpoint(tmp_path / "x.pth.tar")
        assert all(
            torch.equal(a, b) for a, b in zip(network.state_dict().values(), loaded.state_dict().values(), strict=True)
        )
    with pytest.raises(ConfigError, match="released format"):
        save_official_checkpoint(RubiksNet("tiny", 7, variant="rubiks3d-iq"), tmp_path / "y")


def test_broken_checkpoints_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.pth: no such file"):
        load_official_checkpoint(tmp_path / "none.pth")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(ConfigError, match="expected a PyTorch file of tensors"):
        load_official_checkpoint(tmp_path / "text")
    torch.save({"model": {}}, tmp_path / "short")
    with pytest.raises(ConfigError, match="tier, num_classes, num_frames, variant missing"):
        load_official_checkpoint(tmp_path / "short")
    content = {
        "tier": "tiny",
        "num_classes": 7,
        "num_frames": 8,
        "variant": "rubiks3d",
        "model": RubiksNet("tiny", 8).state_dict(),
    }
    torch.save(content, tmp_path / "wrong")
    with pytest.raises(ConfigError, match="do not fit tiny rubiks3d"):
        load_official_checkpoint(tmp_path / "wrong")
    torch.save({**content, "variant": "attention"}, tmp_path / "variant")
    with pytest.raises(ConfigError, match="got 'attention'"):
        load_official_checkpoint(tmp_path / "variant")


@pytest.mark.parametrize("variant", ["rubiks3d", "rubiks3d-iq", "rubiks3d-aq"])
def test_inflation_of_a_spatial_network(variant, tmp_path):
    flat = RubiksNet("tiny", 1000, 1, "rubiks2d")
    torch.save({"state_dict": {f"network.{k}": v for k, v in flat.state_dict().items()}}, tmp_path / "run.ckpt")
    deep = RubiksNet("tiny", 8, 8, variant)
    time_before = {k: v.clone() for k, v in deep.temporal_offsets().items()}
    kept = initialize_from(deep, tmp_path / "run.ckpt")
    assert all(torch.equal(v, flat.spatial_offsets()[k]) for k, v in deep.spatial_offsets().items())
    assert all(torch.equal(v, time_before[k]) for k, v in deep.temporal_offsets().items())
    assert torch.equal(deep.backbone.conv1.weight, flat.backbone.conv1.weight)
    attention = [name for name in deep.state_dict() if name.endswith((".conv2.0.weight", ".conv2.0.T"))]
    assert kept == sorted(["new_fc.weight", "new_fc.bias", *attention])
    with pytest.raises(ConfigError, match="that it was made with"):
        initialize_from(RubiksNet("small", 8, 8, variant), tmp_path / "run.ckpt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tier": "huge"}, "expected one of tiny, small, medium, large, micro, got 'huge'"),
        ({"variant": "aq"}, "one of rubiks3d"),
        ({"spatial": "none"}, "got 'none'"),
        ({"num_frames": 0}, "at least one class and one frame"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        RubiksNet(**{"tier": "tiny", "num_classes": 3, **settings})


@pytest.mark.parametrize(
    ("depth", "parameters", "gmacs"), [(18, 11_265_774, 14.509), (34, 21_373_934, 29.307), (50, 23_864_558, 32.700)]
)
def test_baselines(depth, parameters, gmacs):
    for temporal in ("none", "shift"):
        network = VideoResNet(depth, 174, 8, temporal)
        counted = cost(network, (1, 8, 3, 224, 224))
        assert counted.parameters == parameters and counted.multiply_adds / 1e9 == pytest.approx(gmacs, abs=1e-3)
    with pytest.raises(ConfigError, match=r"network\.depth"):
        VideoResNet(101, 3)
