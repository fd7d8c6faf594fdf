"""Videos that lists name: one's own, and Kinetics as CVDF distributes it."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from visagent.errors import ConfigError, MissingFileError
from visagent.runtime.train import train
from visagent.video.clip_lists import Clip
from visagent.video.csv_lists import cvdf, own_list
from visagent.video.dataset import EvaluationClips, protocol, within
from visagent.video.decode import all_frames
from visagent.video.layouts import read


@pytest.fixture
def there(tmp_path):
    for name in ("a b.mp4", "c.mp4", "sub/d.mp4", "e.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def written(root, train, val="c.mp4 0\na b.mp4 1\n", suffix="txt", **others):
    (root / f"train.{suffix}").write_text(train)
    (root / f"val.{suffix}").write_text(val)
    for name, text in others.items():
        (root / f"{name}.txt").write_text(text)
    return own_list(root, "train")


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("a b.mp4 0\nc.mp4 1\n", "txt"),
        ("a b.mp4,0\nc.mp4,1\n", "csv"),
        ("path,label\na b.mp4,0\nc.mp4,1\n", "csv"),
        ('"a b.mp4", 0\r\n\r\n"c.mp4", 1\r\n', "csv"),
        ("a b.mp4\t0\nc.mp4\t1\n", "tsv"),
        ("a b.mp4 37 0\nc.mp4 50 1\n", "lst"),  # of TSN and TSM: how many frames
    ],
)
def test_lines_are_read_however_they_are_separated(text, suffix, there):
    found = written(there, text, suffix=suffix)
    assert found.clips == (Clip(str(there / "a b.mp4"), 0), Clip(str(there / "c.mp4"), 1))
    assert found.classes == ("0", "1") and not found.missing


def test_labels_are_names_or_numbers_of_named_classes(there):
    named = written(there, "a b.mp4 run\nc.mp4 jump\n", "e.mp4 sit\n")
    assert named.classes == ("jump", "run", "sit") and [clip.label for clip in named.clips] == [1, 0]
    numbered = written(there, "a b.mp4 1\nc.mp4 0\n", "e.mp4 1\n", classes="jump\nrun fast\nsit\n")
    assert numbered.classes == ("jump", "run fast", "sit") and [clip.label for clip in numbered.clips] == [1, 0]


def test_parts_of_a_video_are_clips_of_their_own(there):
    found = written(there, "a b.mp4 0 0 2.5\na b.mp4 1 2.5 4\na b.mp4 1 2.5 4\n")
    assert [clip.span for clip in found.clips] == [(0.0, 2.5), (2.5, 4.0)]
    assert found.refused == ("1 lines that stand there twice",)


def test_what_is_not_there_is_left_out_and_named(there):
    found = written(there, "a b.mp4 0\nlost.mp4 1\n/nowhere/x.mp4 1\n")
    assert len(found.clips) == 1 and found.missing == ("lost.mp4", "/nowhere/x.mp4")


@pytest.mark.parametrize(
    ("text", "others", "message"),
    [
        ("a.mp4\n", {}, r"train\.txt: expected lines PATH LABEL, .* got 'a\.mp4'"),
        ("c.mp4,0,1,2,3\n", {}, r"expected lines PATH LABEL"),
        ("c.mp4 0 5 4\n", {}, r"expected a begin from 0 on and an end after it"),
        ("c.mp4,0,x,4\n", {}, r"expected numbers for begin and end"),
        ("c.mp4 0\ne.mp4 7\n", {}, r"expected labels from 0 on without gaps, got 0 to 7 with 3 of them"),
        ("c.mp4 3\n", {"classes": "a\nb\n"}, r"expected labels from 0 to 1, got 3 for c\.mp4"),
        ("c.mp4 runn\n", {"classes": "run\nsit\n"}, r"unknown class 'runn'; did you mean 'run'"),
        ("c.mp4 0\n", {"classes": "a\na\n"}, r"expected each name once, got 'a' more than once"),
    ],
)
def test_lines_that_say_something_else_are_refused(text, others, message, there):
    with pytest.raises(ConfigError, match=message):
        written(there, text, **others)


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"has no train\.csv or train\.txt with a line PATH LABEL"):
        own_list(tmp_path, "train")


def kinetics(root, keep=4):
    head = "label,youtube_id,time_start,time_end,split\n"
    for split in ("train", "val"):
        rows = [(f"{split[0]}{n}", ("zumba", '"walking, fast"')[n % 2], 10 * n) for n in range(4)]
        (root / "annotations").mkdir(exist_ok=True)
        text = "".join(f"{label},{name},{begin},{begin + 10},{split}\n" for name, label, begin in rows)
        (root / "annotations" / f"{split}.csv").write_text(head + text)
        (root / split).mkdir(exist_ok=True)
        for name, _, begin in rows[:keep]:
            (root / split / f"{name}_{begin:06d}_{begin + 10:06d}.mp4").write_text("")


def test_kinetics_is_read_as_it_is_distributed(tmp_path):
    kinetics(tmp_path)
    found = read("kinetics", tmp_path, "train")
    assert found.classes == ("walking, fast", "zumba") and [clip.label for clip in found.clips] == [1, 0, 1, 0]
    assert found.clips[1].path.endswith("t1_000010_000020.mp4") and not found.missing
    (tmp_path / "few").mkdir()
    kinetics(tmp_path / "few", keep=1)
    few = cvdf(tmp_path / "few", "val")
    assert len(few.clips) == 1 and few.missing == tuple(f"v{n}_0000{n}0_0000{n + 1}0" for n in (1, 2, 3))


def test_missing_videos_are_counted_and_too_many_refused(compose, synthetic, tmp_path, caplog):
    root = tmp_path / "data"
    shutil.copytree(synthetic("lists"), root)
    gone = sorted((root / "videos").glob("train_*"))[:2]
    for path in gone:
        path.unlink()
    asked = ("datamodule.layout=lists", f"datamodule.root={root}", "trainer.max_epochs=1", "datamodule.batch_size=4")
    with pytest.raises(ConfigError, match=r"2 of 16 train videos are listed and not there, .*missing_share=0\.125"):
        train(compose("rubiksnet/something_v2", *asked))
    record = train(compose("rubiksnet/something_v2", *asked, "datamodule.missing_share=0.2"))
    assert record.status == "FINISHED" and record.history["0"]["data/videos"] == 14
    assert f"2 entries are not there: videos/{gone[0].name}, videos/{gone[1].name}" in caplog.text


def test_frames_come_from_the_part_that_is_meant(synthetic):
    path = str(next(synthetic("lists").glob("videos/*")))
    frames = all_frames(path)
    rate = 12.0  # of the synthetic videos
    part = Clip(path, 0, (4 / rate, 12 / rate))
    assert within(part, lambda count: np.arange(count))(len(frames)).tolist() == list(range(4, 12))
    side = frames.shape[1]
    sample = EvaluationClips([part], 8, protocol("1_clip", side, side), "pyav")[0]
    assert torch.equal(torch.from_numpy(sample.clips[0]).permute(0, 2, 3, 1), torch.from_numpy(frames[4:12]))
    beyond = EvaluationClips([Clip(path, 0, (90.0, 99.0))], 8, protocol("1_clip", side, side), "pyav")[0]
    assert not len(beyond.clips) and "it has no frame from 90 to 99" in beyond.broken[0][1]
