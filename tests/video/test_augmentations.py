"""What of training clips is varied: RandAugment, colour jitter, repeated sampling, mixup, CutMix."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from comparing import assert_same, checkpoint
from lightning_modules.action_recognition import ActionRecognition
from visagent.errors import ConfigError
from visagent.runtime.train import train
from visagent.video.clip_lists import Clip
from visagent.video.dataset import TrainingClips
from visagent.video.transforms import Augment

PRESET = "rubiksnet/something_v2"


@pytest.fixture
def frames():
    """A clip that stands still."""
    picture = np.random.default_rng(0).integers(0, 256, (1, 24, 24, 3), dtype=np.uint8)
    return np.repeat(picture, 5, axis=0)


@pytest.mark.parametrize("settings", [(2, 9, 0.0), (0, 9, 0.4), (1, 20, 0.2)])
def test_all_frames_of_a_clip_are_changed_alike_and_by_their_seed(settings, frames):
    augment = Augment(*settings)
    before = torch.random.get_rng_state()
    first, again = augment(frames, 3), augment(frames, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.dtype == np.uint8 and first.shape == frames.shape and np.array_equal(first, again)
    assert (first == first[:1]).all()
    others = [augment(frames, seed) for seed in range(8)]
    assert sum(not np.array_equal(other, frames) for other in others) >= 6
    assert len({other.tobytes() for other in others}) >= 6


def test_no_augmentation_changes_nothing(frames):
    assert np.array_equal(Augment(0, 9, 0.0)(frames, 1), frames)


def test_a_video_is_drawn_several_times_in_a_batch(synthetic):
    path = str(next(synthetic("something_v2").glob("*/*.webm")))
    clips = [Clip(path, 0), Clip(path, 1)]
    data = TrainingClips(clips, 4, 16, "pyav", [], False, 0, 0)
    one, other, second = data[1], data[3], data[0]
    assert one.index == other.index == 1 and one.label == other.label == 1 and second.index == 0
    assert not np.array_equal(one.clips, other.clips)


def module(mixup, cutmix):
    self = SimpleNamespace(classes=tuple("abcd"), settings=SimpleNamespace(mixup=mixup, cutmix=cutmix))
    return lambda clips, label: ActionRecognition.mixed(self, clips, label)


def test_mixup_mixes_clips_and_classes_by_the_same_share():
    torch.manual_seed(0)
    clips, label = torch.arange(3.0)[:, None, None, None, None].expand(3, 2, 3, 8, 8), torch.tensor([0, 1, 2])
    mixed, shares = module(0.8, 0.0)(clips, label)
    assert type(mixed) is torch.Tensor and torch.allclose(shares.sum(dim=1), torch.ones(3))
    expected = shares[:, :3] @ torch.arange(3.0)
    assert torch.allclose(mixed, expected[:, None, None, None, None].expand_as(mixed), atol=1e-6)
    assert (shares > 0).sum() > 3


def test_cutmix_takes_one_box_from_another_clip_in_all_frames():
    torch.manual_seed(1)
    clips, label = torch.arange(3.0)[:, None, None, None, None].expand(3, 4, 3, 16, 16), torch.tensor([0, 1, 2])
    mixed, shares = module(0.0, 1.0)(clips, label)
    own = mixed == clips
    assert (own == own[:, :1, :1]).all()  # the same box in all frames and colours
    assert torch.allclose(own[:, 0, 0].float().mean(dim=(1, 2)), shares[torch.arange(3), label], atol=1e-6)
    assert 0 < own.float().mean() < 1


def test_nothing_is_mixed_unless_asked_for():
    clips, label = torch.randn(3, 2, 3, 8, 8), torch.tensor([0, 1, 2])
    same, labels = module(0.0, 0.0)(clips, label)
    assert same is clips and labels is label


@pytest.mark.usefixtures("undrawn")
def test_a_run_with_all_of_it_resumes_bitwise(compose, tmp_path, monkeypatch):
    told = (
        "algorithm.mixup=0.8", "algorithm.cutmix=1.0", "datamodule.rand_augment=2", "datamodule.color_jitter=0.4",
        "datamodule.repeats=2", "datamodule.batch_size=8", "trainer.max_epochs=2",
    )  # fmt: skip
    unbroken = train(compose(PRESET, *told, f"paths.outputs={tmp_path}/a"))
    original = ActionRecognition.training_step

    def failing(self, batch, batch_index):
        if self.current_epoch == 1 and batch_index == 2:
            raise RuntimeError("power cut")
        return original(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(ActionRecognition, "training_step", failing)
        with pytest.raises(RuntimeError, match="power cut"):
            train(compose(PRESET, *told, f"paths.outputs={tmp_path}/b"))
    torch.manual_seed(99)
    resumed = train(compose(PRESET, *told, f"paths.outputs={tmp_path}/b"))
    assert unbroken.metrics == resumed.metrics
    one, other = (checkpoint(unbroken, tmp_path / "a"), checkpoint(resumed, tmp_path / "b"))
    assert_same(dict(one["state_dict"]), dict(other["state_dict"]))


def test_repeats_divide_a_batch(compose):
    with pytest.raises(ConfigError, match=r"datamodule\.repeats: expected a divisor of datamodule\.batch_size"):
        train(compose(PRESET, "datamodule.repeats=3"))
