"""Samples: shapes, what they depend on, mirroring with labels, replacement of broken files."""

from __future__ import annotations

import os
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from odd_videos import ODD
from torch.utils.data import Dataset

from datamodules.action_recognition import ActionRecognitionDataModule, BrokenVideosError, ClipLoader
from visagent.config.video_schemas import ActionRecognitionDataSettings
from visagent.errors import ConfigError
from visagent.video.clip_lists import Clip
from visagent.video.command import main
from visagent.video.dataset import (
    EvaluationClips,
    Sample,
    TrainingClips,
    VideoBatch,
    collate,
    load,
    protocol,
    stretches,
)
from visagent.video.decode import BACKENDS, OPENED_AT_MOST
from visagent.video.entries import VIDEO_SUFFIXES
from visagent.video.layouts import mirrored_labels, read

SETTINGS = {
    "root": "embedded",
    "fold": 1,
    "embedded_train": 16,
    "embedded_val": 8,
    "embedded_size": 32,
    "embedded_seed": 0,
    "num_frames": 4,
    "crop": 16,
    "resize": 20,
    "batch_size": 4,
    "eval_batch_size": 3,
    "workers": 0,
    "backend": "decord",
    "mirror": "none",
    "dense": False,
    "protocols": ["1_clip", "2_clip"],
    "rand_augment": 0,
    "rand_augment_magnitude": 9,
    "color_jitter": 0.0,
    "repeats": 1,
    "test_split": "val",
    "missing_share": 0.1,
    "broken_share": 0.0,
    "seed": 0,
}


def datamodule(layout, cache, **changes):
    settings = ActionRecognitionDataSettings(layout=layout, cache=str(cache), **{**SETTINGS, **changes})
    made = ActionRecognitionDataModule(settings)
    made.prepare_data()
    made.setup()
    return made


def training_clips(clips, seed=0, epoch=0, mirrored=()):
    return TrainingClips(clips, 4, 16, "decord", list(mirrored), False, seed, epoch)


@pytest.mark.parametrize("layout", ["something_v2", "something_v1", "ucf101", "hmdb51", "kinetics"])
def test_every_layout_gives_batches(layout, synthetic):
    data = datamodule(layout, synthetic(layout).parent)
    batches = list(data.train_dataloader())
    assert len(batches) == len(data.train_dataloader()) == 4
    assert all(batch.clips.shape == (4, 1, 4, 3, 16, 16) for batch in batches)
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(16))
    shapes = {batch.name: tuple(batch.clips.shape[1:]) for batch in data.test_dataloader()}
    assert shapes == {"1_clip": (1, 4, 3, 16, 16), "2_clip": (6, 4, 3, 16, 16)}
    assert sum(len(batch) for batch in data.val_dataloader()) == 8


def test_a_sample_depends_on_seed_epoch_and_number_alone(synthetic):
    clips = read("something_v2", synthetic("something_v2"), "train").clips
    first = training_clips(clips)[3].clips
    for other in (training_clips(clips), training_clips(clips)):
        [other[number] for number in (7, 1)]
        assert np.array_equal(first, other[3].clips)
    assert not np.array_equal(first, training_clips(clips, epoch=1)[3].clips)
    assert not np.array_equal(first, training_clips(clips, seed=1)[3].clips)


def test_workers_change_nothing(synthetic):
    root = synthetic("ucf101").parent
    alone, helped = (list(datamodule("ucf101", root, workers=workers).train_dataloader()) for workers in (0, 2))
    for a, b in zip(alone, helped, strict=True):
        assert torch.equal(a.clips, b.clips) and torch.equal(a.label, b.label) and a.progress == b.progress


class Opening(Dataset):
    """Samples that say which process opened them."""

    backend, device, shape = "torchcodec", "cpu", (1, 3, 1, 1)

    def __len__(self):
        return 40

    def __getitem__(self, index):
        return Sample(np.zeros((1, 1, 3, 1, 1), np.uint8), os.getpid(), index, ())


def test_workers_are_replaced_before_they_have_opened_too_many_files(monkeypatch):
    batches = [list(range(start, start + 4)) for start in range(0, 40, 4)]
    monkeypatch.setitem(OPENED_AT_MOST, "torchcodec", 9)
    found = list(load(Opening(), batches, 2))
    assert torch.cat([batch.index for batch in found]).tolist() == list(range(40))
    opened = Counter(torch.cat([batch.label for batch in found]).tolist())
    assert max(opened.values()) == 8 and len(opened) == 6 and os.getpid() not in opened
    monkeypatch.delitem(OPENED_AT_MOST, "torchcodec")
    assert len({int(label) for batch in load(Opening(), batches, 2) for label in batch.label}) == 2


@pytest.mark.parametrize(("workers", "limit"), [(1, 4), (2, 4), (3, 10), (2, 3), (0, 4), (2, None)])
def test_stretches_hold_every_batch_once_and_in_order(workers, limit):
    batches = [[0, 1, 2], [3], [4, 5, 6, 7], [8, 9], [10], [11, 12], [13]]
    cut = list(stretches(batches, workers, limit))
    assert [batch for stretch in cut for batch in stretch] == batches
    for stretch in cut if workers and limit else []:
        for worker in range(workers):
            mine = stretch[worker::workers]
            assert len(mine) <= 1 or sum(map(len, mine)) <= limit


def test_one_process_that_opens_everything_is_warned_of(monkeypatch, caplog):
    monkeypatch.setitem(OPENED_AT_MOST, "torchcodec", 3)
    list(load(Opening(), [[0, 1], [2, 3]], 0))
    assert "datamodule.workers=0 opens all in one process" in caplog.text


def test_odd_videos_train_and_show(encoded, backend, tmp_path, capsys):
    """A folder of nothing else: every clip is drawn, none is called broken."""
    names = [name for name in ODD if name.endswith(VIDEO_SUFFIXES)]
    for split in ("train", "val"):
        for number, name in enumerate(names):
            folder = tmp_path / split / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).symlink_to(encoded / name)
    data = datamodule("kinetics", tmp_path, root=str(tmp_path), backend=backend)
    assert sum(len(batch) for batch in data.train_dataloader()) == len(names) // 4 * 4
    assert sum(len(batch) for batch in data.val_dataloader()) == len(names)
    assert not data.broken["train"] and not data.broken["val"]
    if backend != BACKENDS[0]:
        return
    assert main(["show", str(tmp_path), "--out", str(tmp_path / "sheet.png")]) == 0
    assert f"2 of 2 classes, {len(names)} videos in train" in capsys.readouterr().out


def test_views_are_crops_first_then_clips(synthetic):
    clips = read("something_v2", synthetic("something_v2"), "val").clips
    middle = EvaluationClips(clips, 4, protocol("1_clip", 20, 16), "decord")[2].clips
    views = EvaluationClips(clips, 4, protocol("2_clip", 20, 16), "decord")[2].clips
    assert views.shape == (6, 4, 3, 16, 16)
    assert np.array_equal(views[4], middle[0])  # the middle crop, first clip
    assert not np.array_equal(views[4], views[5])


def test_mirrored_clips_have_the_mirrored_label(synthetic):
    found = read("something_v2", synthetic("something_v2"), "train")
    mirrored = mirrored_labels(found.classes)
    push = next(number for number, clip in enumerate(found.clips) if "left to right" in found.classes[clip.label])
    label = found.clips[push].label
    seen = set()
    for seed in range(30):
        plain, drawn = (
            training_clips(found.clips, seed)[push],
            training_clips(found.clips, seed, mirrored=mirrored)[push],
        )
        flipped = not np.array_equal(plain.clips, drawn.clips)
        if flipped:
            assert np.array_equal(plain.clips[..., ::-1], drawn.clips)
        assert drawn.label == (mirrored[label] if flipped else label)
        seen.add(flipped)
        never = training_clips(found.clips, seed, mirrored=[None] * 8)[push]
        assert np.array_equal(plain.clips, never.clips)
    assert seen == {True, False}


@pytest.fixture
def damaged(synthetic, tmp_path):
    """A data set with one empty, one cut and one missing file among sixteen."""
    shutil.copytree(synthetic("something_v2"), tmp_path / "data")
    videos = tmp_path / "data" / "20bn-something-something-v2"
    (videos / "3.webm").write_bytes(b"")
    (videos / "5.webm").write_bytes((videos / "5.webm").read_bytes()[:300])
    (videos / "9.webm").unlink()
    return tmp_path / "data"


def test_broken_files_are_replaced_named_and_counted(damaged, caplog):
    data = datamodule("something_v2", damaged.parent, root=str(damaged), broken_share=0.5)
    batches = list(data.train_dataloader())
    assert sum(len(batch) for batch in batches) == 16
    assert {path.rsplit("/", 1)[1] for path in data.broken["train"]} == {
        "3.webm",
        "5.webm",
        "9.webm",
    } and not data.broken["val"]
    assert data.statistics() == {"data/videos": 16.0, "data/broken": 3.0}
    assert "cannot read" in caplog.text and "3.webm: the file is empty" in caplog.text
    assert data.state_dict()["broken"] == data.broken


def test_too_many_broken_files_stop_the_training(damaged):
    data = datamodule("something_v2", damaged.parent, root=str(damaged), broken_share=0.1)
    with pytest.raises(
        BrokenVideosError,
        match=r"(?s)2 of 16 videos cannot be read.*visagent-videos verify.*broken_share=0\.125 would.*webm: ",
    ):
        list(data.train_dataloader())


def test_broken_files_that_were_mended_are_forgotten(damaged, synthetic):
    data = datamodule("something_v2", damaged.parent, root=str(damaged), broken_share=0.5)
    list(data.train_dataloader())
    name = "20bn-something-something-v2/3.webm"
    shutil.copy(synthetic("something_v2") / name, damaged / name)
    again = datamodule("something_v2", damaged.parent, root=str(damaged), broken_share=0.5)
    again.load_state_dict(data.state_dict())
    assert {path.rsplit("/", 1)[1] for path in again.broken["train"]} == {"5.webm", "9.webm"}


def test_evaluation_leaves_broken_files_out(damaged):
    shutil.copytree(damaged, damaged.parent / "val")
    (damaged.parent / "val/20bn-something-something-v2/17.webm").write_bytes(b"")
    data = datamodule(
        "something_v2", damaged.parent, root=str(damaged.parent / "val"), eval_batch_size=1, broken_share=0.125
    )
    assert (
        sum(len(batch) for batch in data.val_dataloader()) == 7
        and len(data.broken["val"]) == 1
        and not data.broken["train"]
    )
    (damaged.parent / "val/20bn-something-something-v2/18.webm").write_bytes(b"")
    data = datamodule(
        "something_v2", damaged.parent, root=str(damaged.parent / "val"), eval_batch_size=1, broken_share=0.125
    )
    with pytest.raises(BrokenVideosError, match=r"2 of 8 videos cannot be read"):
        list(data.test_dataloader())


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_readable_ends_the_training(workers, tmp_path):
    """As an error that a user can mend, from worker processes too, whatever share is allowed for."""
    clips = training_clips([Clip(str(tmp_path / "x.webm"), 0)])
    (tmp_path / "x.webm").write_bytes(b"")
    assert len(clips[0].clips) == 0
    with pytest.raises(
        BrokenVideosError,
        match=r"(?s)20 videos drawn one after the other cannot be read; visagent-videos verify.*x\.webm: the file is "
        r"empty$",
    ):
        list(ClipLoader(clips, [[0, 0]], workers, "", {}, 1.0))


def test_resuming_needs_the_same_videos(synthetic, tmp_path):
    data = datamodule("something_v2", synthetic("something_v2").parent)
    state = data.state_dict()
    again = datamodule("something_v2", synthetic("something_v2").parent)
    again.load_state_dict({**state, "broken": {"train": {"a": "b"}, "val": {}}})
    assert again.broken == {"train": {"a": "b"}, "val": {}}
    with pytest.raises(ConfigError, match="have changed since this run began"):
        datamodule("something_v1", synthetic("something_v1").parent).load_state_dict(state)


def test_batches_are_checked():
    clips = torch.zeros(2, 1, 4, 3, 8, 8, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"expected uint8 clips \[N, V, T, 3, H, W\]"):
        VideoBatch(clips.float(), torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="as many labels"):
        VideoBatch(clips, torch.zeros(3), torch.zeros(2))
    with pytest.raises(ValueError, match="protocol: expected one of"):
        protocol("3_clip", 20, 16)


def test_a_batch_of_no_readable_video_names_what_is_broken(damaged):
    clips = read("something_v2", damaged, "train").clips
    data = EvaluationClips([clips[2], clips[4]], 4, protocol("1_clip", 20, 16), "decord")  # an empty file and a cut one
    batch = collate([data[0], data[1]], "1_clip", data.shape)
    assert len(batch) == 0 and batch.clips.shape == (0, 1, 4, 3, 16, 16) and batch.label.dtype == torch.int64
    assert [path.rsplit("/", 1)[1] for path, _ in batch.broken] == ["3.webm", "5.webm"]
    assert len(collate([], "1_clip", data.shape)) == 0


def test_what_is_not_read_and_what_is_in_both_splits_is_said(synthetic, tmp_path, caplog):
    shutil.copytree(synthetic("kinetics"), tmp_path / "data")
    (next((tmp_path / "data/train").iterdir()) / "clip.mp4.part").write_bytes(b"")
    datamodule("kinetics", tmp_path, root=str(tmp_path / "data"))
    assert (
        "1 entries are not read: " in caplog.text
        and "clip.mp4.part" in caplog.text
        and "both trained" not in caplog.text
    )
    shutil.copytree(synthetic("ucf101"), tmp_path / "both")
    lists = tmp_path / "both/ucfTrainTestlist"
    (lists / "testlist01.txt").write_text((lists / "trainlist01.txt").read_text())
    datamodule("ucf101", tmp_path, root=str(tmp_path / "both"))
    assert "16 entries are both trained and tested on: " in caplog.text


def test_a_batch_larger_than_the_data_is_refused(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "one").mkdir(parents=True)
        (tmp_path / split / "one" / "a.avi").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"datamodule\.batch_size=4 exceeds the 1 training videos: use 1 or less"):
        datamodule("kinetics", tmp_path, root=str(tmp_path))


def test_loading_leaves_the_global_generator_alone(synthetic):
    data = datamodule("ucf101", synthetic("ucf101").parent)
    before = torch.get_rng_state()
    list(data.train_dataloader())
    list(data.val_dataloader())
    assert torch.equal(before, torch.get_rng_state())
    assert isinstance(data.val_dataloader(), ClipLoader)
