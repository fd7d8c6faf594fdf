"""Samplers and transforms against the released code's numbers."""

from __future__ import annotations

import numpy as np
import pytest

from visagent.config import video_schemas
from visagent.config.schemas import TrainConfig
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.video import sampling, transforms

SEGMENTS = (8, 16)


@pytest.fixture(scope="module")
def cases(golden):
    return np.load(golden / "rubiksnet" / "rubiks_data_cases.npz")


@pytest.mark.parametrize("frames", SEGMENTS)
def test_golden_test_indices(frames, cases):
    for row, count in enumerate(cases["num_frames"].tolist()):
        expected = {
            "test_1clip": sampling.middle_segments(count, frames),
            "test_2clip": sampling.two_clips(count, frames),
            "test_dense10": sampling.ten_dense(count, frames),
            "val": sampling.validation_segments(count, frames),
        }
        for name, ours in expected.items():
            assert (ours.ravel() + 1).tolist() == cases[f"{name}_{frames}"][row].tolist(), (name, count)


@pytest.mark.parametrize("frames", SEGMENTS)
def test_golden_training_ranges(frames, cases):
    """Drawn indices stay in the reference's ranges and fill them (a range's rare ends may be missed by either side's
    draws).
    """
    for row, count in enumerate(cases["num_frames"].tolist()):
        rng = np.random.default_rng(count)
        for name, draw in (("train", sampling.random_segments), ("train_dense", sampling.random_dense)):
            drawn = np.stack([draw(count, frames, rng)[0] + 1 for _ in range(600)])
            low, high = cases[f"{name}_min_{frames}"][row], cases[f"{name}_max_{frames}"][row]
            slack = np.ceil((high - low) * 0.03)
            assert (np.abs(drawn.min(axis=0) - low) <= slack).all() and (
                np.abs(drawn.max(axis=0) - high) <= slack
            ).all(), (name, count)
            assert (drawn >= 1).all() and (drawn <= count).all()


def test_golden_training_crops(cases):
    for width, height in cases["frame_sizes_wh"].tolist():
        ours = {box for boxes in transforms.multi_scale_boxes(width, height, 224) for box in boxes}
        assert ours == {tuple(row) for row in cases[f"ms_crop224_candidates_{width}x{height}"].tolist()}


@pytest.mark.parametrize("size", ["320x240", "240x320", "256x256", "427x240"])
def test_golden_evaluation_transforms(size, cases):
    width, height = map(int, size.split("x"))
    rng = np.random.RandomState(int(cases[f"tf_seed_{size}"]))
    base = rng.randint(0, 256, size=(3, (height + 7) // 8, (width + 7) // 8, 3), dtype=np.int64)
    noise = rng.randint(0, 64, size=(3, height, width, 3), dtype=np.int64)
    frames = ((3 * np.repeat(np.repeat(base, 8, 1), 8, 2)[:, :height, :width]) // 4 + noise).astype(np.uint8)
    resized = transforms.resize_short_side(frames, 256)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (transforms.MEAN, transforms.STD))
    for name, crops in (
        ("1crop", [transforms.center_crop(resized, 224)]),
        ("3crop", transforms.three_crops(resized, 224)),
    ):
        out = np.concatenate(
            [
                ((transforms.channels_first(crop).astype(np.float32) / 255 - mean) / std).reshape(-1, 224, 224)
                for crop in crops
            ]
        )
        assert out.shape == tuple(cases[f"tf_{name}_{size}_shape"])
        assert np.abs(out[:, 3::23, 5::29] - cases[f"tf_{name}_{size}_slice"]).max() < 1e-6
        assert np.abs(out.mean(axis=(1, 2)) - cases[f"tf_{name}_{size}_mean"]).max() < 1e-6


def test_a_training_crop_is_one_place_for_all_frames():
    frames = np.broadcast_to(np.arange(60, dtype=np.uint8)[None, None, :, None] * 4, (3, 40, 60, 3))
    for seed in range(20):
        cut = transforms.random_crop(frames, 24, np.random.default_rng(seed))
        assert cut.shape == (3, 24, 24, 3)
        assert (cut == cut[:1]).all()
        assert (np.diff(cut[0, 0, :, 0].astype(int)) >= 0).all()


def test_training_crops_lie_within_frames_of_every_size():
    """Up to 400 pixels and every crop; a crop fits on a grid of quarters wherever its side does."""
    for size in range(16, 401):
        for shorter in range(1, 401):
            sides = transforms.crop_sides(shorter, size)
            assert min(sides) >= 1 and max(sides) <= shorter, (shorter, size)
    for one in range(1, 401):
        for other in {1, 2, 3, max(1, one - 1), one, 221, 222, 223, 224, 225, 226, 227, 399, 400}:
            for pair in transforms.multi_scale_boxes(one, other, 224):
                for width, height, x, y in pair:
                    assert 0 <= x <= one - width and 0 <= y <= other - height, (one, other)


@pytest.mark.parametrize("height", [222, 223])
def test_a_crop_shows_the_picture_where_its_shorter_side_is_just_below_it(height):
    frames = np.broadcast_to(np.arange(height, dtype=np.uint8)[None, :, None, None], (1, height, 400, 3))
    for seed in range(60):
        rows = transforms.random_crop(frames, 224, np.random.default_rng(seed))[0, :, 0, 0]
        assert len(np.unique(rows)) >= height * min(transforms.SCALES) - 1


def test_dense_clips_move_as_long_as_they_fit_their_span():
    for frames in range(2, sampling.DENSE_SPAN + 1):
        assert (np.diff(sampling.ten_dense(1000, frames)) >= 1).all()
    for draw in (lambda: sampling.ten_dense(100, 65), lambda: sampling.random_dense(100, 65, np.random.default_rng(0))):
        with pytest.raises(
            ValueError, match="dense sampling: expected at most 64 frames, the span that they lie in, got 65"
        ):
            draw()
    assert sampling.DENSE_SPAN == video_schemas.DENSE_SPAN  # what must not import the sampling knows its span


@pytest.mark.parametrize("asked", ["datamodule.dense=true", "datamodule.protocols=[1_clip,dense]"])
def test_more_frames_than_a_dense_clip_spans_are_refused_before_anything_runs(asked, compose):
    with pytest.raises(
        ConfigError,
        match=r"datamodule\.num_frames: expected at most 64 with datamodule\.\w+=.* got 65; for example "
        r"datamodule\.num_frames=64",
    ):
        validate(compose("rubiksnet/something_v2", "datamodule.num_frames=65", asked), TrainConfig)
    validate(compose("rubiksnet/something_v2", "datamodule.num_frames=64", asked), TrainConfig)
