"""Data sets as they are distributed, the synthetic ones in their layouts, and what is wrong with a folder."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from visagent.config import video_schemas
from visagent.errors import ConfigError, MissingFileError
from visagent.video import command
from visagent.video.decode import VideoError, all_frames, count_frames, read_frames
from visagent.video.layouts import LAYOUTS, Survey, detect, mirrored_labels, read, survey
from visagent.video.make import Recipe, make
from visagent.video.synthetic import ACTIONS, examples
from visagent.video.verify import videos_of


def test_what_must_not_import_the_readers_knows_their_names():
    assert command.LAYOUTS == video_schemas.LAYOUTS == tuple(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_synthetic_data_read_back(layout, synthetic):
    root = synthetic(layout)
    assert detect(root) == layout
    for split, count in (("train", 16), ("val", 8)):
        found = read(layout, root, split)
        assert len(found.clips) == count and len(found.classes) == len(ACTIONS)
        assert sorted(clip.label for clip in found.clips) == sorted(list(range(8)) * (count // 8))
        assert all(20 <= count_frames(clip.path) <= 28 for clip in found.clips)
    assert len(set(videos_of(root, layout))) == 24
    labels = mirrored_labels(found.classes)
    by_name = dict(zip(found.classes, labels, strict=True))
    for name, mirrored in by_name.items():
        plain = name.lower()
        moves = "left" in plain or "clockwise" in plain
        assert (mirrored != found.classes.index(name)) == moves, name
        assert labels[mirrored] == found.classes.index(name)


def test_what_was_drawn_is_what_is_read(synthetic):
    """The label of a file is the action that was drawn into it, in every layout: frames of the same example agree."""
    names = {layout: [] for layout in LAYOUTS}
    for layout in LAYOUTS:
        found = read(layout, synthetic(layout), "train")
        for clip in found.clips:
            names[layout].append(found.classes[clip.label])
    drawn = {action.label for action in ACTIONS}
    assert set(names["something_v2"]) == set(names["something_v1"]) == set(names["kinetics"]) == drawn
    assert set(names["ucf101"]) == {action.camel for action in ACTIONS} and set(names["hmdb51"]) == {
        action.snake for action in ACTIONS
    }
    example = examples("train", 1, 32, 0)[0]
    assert np.array_equal(example.frames(), examples("train", 1, 32, 0)[0].frames())


def test_twins_are_each_others_reversal():
    forwards, backwards = (
        np.stack([e.frames()[[0, -1]].mean() for e in examples("x", 8 * 12, 32, 3)[start::8]]) for start in (2, 3)
    )
    assert abs(forwards.mean() - backwards.mean()) < 6  # the same distribution of frames
    for first, second in zip(ACTIONS[::2], ACTIONS[1::2], strict=True):
        assert first.scene == second.scene and second.backwards and not first.backwards


def test_making_again_and_elsewhere(synthetic, tmp_path):
    root = synthetic("something_v2")
    assert list(make(Recipe("something_v2", 16, 8, 32, 0), root)) == []
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match="was not made by this command"):
        list(make(Recipe("something_v2", 16, 8, 32, 0), tmp_path / "mine"))
    for settings, message in (({"layout": "x"}, "layout"), ({"train": 4}, "at least 8"), ({"size": 33}, "even size")):
        with pytest.raises(ConfigError, match=message):
            Recipe(**{"layout": "ucf101", "train": 16, "val": 8, "size": 32, "seed": 0, **settings})


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, newline="")


def something_v2_folder(root, generation):
    labels = {
        "Holding something": "0",
        "Pushing something from left to right": "1",
        "Pretending to put something into something else that cannot support it": "2",
    }
    train = [
        {"id": "78687", "label": "holding potato", "template": "Holding [something]", "placeholders": ["potato"]},
        {
            "id": "7",
            "label": "x",
            "template": "Pretending to put [something] into [something else that cannot support it]",
            "placeholders": ["a", "b"],
        },
    ]
    prefix = "labels/" if generation == "new" else "something-something-v2-"
    for name, content in (("labels", labels), ("train", train), ("validation", train[:1]), ("test", [{"id": "1420"}])):
        write(root / f"{prefix}{name}.json", json.dumps(content))
    (root / "20bn-something-something-v2").mkdir()


@pytest.mark.parametrize("generation", ["new", "old"])
def test_something_v2_of_both_generations(generation, tmp_path):
    something_v2_folder(tmp_path, generation)
    train, val = read("something_v2", tmp_path, "train"), read("something_v2", tmp_path, "val")
    assert [(clip.path.rsplit("/", 1)[1], clip.label) for clip in train.clips] == [("78687.webm", 0), ("7.webm", 2)]
    assert len(val.clips) == 1 and train.classes[1] == "Pushing something from left to right"


def test_something_v2_as_extracted_frames(tmp_path):
    something_v2_folder(tmp_path, "new")
    (tmp_path / "20bn-something-something-v2").rename(tmp_path / "20bn-something-something-v2-frames")
    assert read("something_v2", tmp_path, "train").clips[0].path.endswith("20bn-something-something-v2-frames/78687")


def test_ucf101_as_distributed(tmp_path):
    """Windows line ends, 1-based labels, none in the test list, a file name spelled unlike its folder."""
    (tmp_path / "UCF-101").mkdir()
    lists = tmp_path / "ucfTrainTestlist"
    write(lists / "classInd.txt", "1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n")
    write(
        lists / "trainlist02.txt",
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nHandstandPushups/v_HandStandPushups_g01_c01.avi 2\r\n",
    )
    write(lists / "testlist02.txt", "HandstandPushups/v_HandStandPushups_g02_c01.avi\r\n")
    train, val = read("ucf101", tmp_path, "train", 2), read("ucf101", tmp_path, "val", 2)
    assert [clip.label for clip in train.clips] == [0, 1] and [clip.label for clip in val.clips] == [1]
    assert train.clips[1].path.endswith("UCF-101/HandstandPushups/v_HandStandPushups_g01_c01.avi")
    with pytest.raises(MissingFileError, match=r"trainlist01\.txt"):
        read("ucf101", tmp_path, "train", 1)
    write(lists / "trainlist02.txt", "Handstandpushups/x.avi 2\n")
    with pytest.raises(ConfigError, match="did you mean 'HandstandPushups'"):
        read("ucf101", tmp_path, "train", 2)


def test_hmdb51_as_distributed(tmp_path):
    """Names with any character, blanks at line ends, unused clips."""
    for action in ("wave", "brush_hair"):
        (tmp_path / "hmdb51_org" / action).mkdir(parents=True)
    splits = tmp_path / "testTrainMulti_7030_splits"
    write(
        splits / "brush_hair_test_split1.txt", "#April [x] (a) & b;c!@=_u_cm_np1.avi 1 \nother.avi 2 \nunused.avi 0 \n"
    )
    write(splits / "wave_test_split1.txt", "w.avi 1 \n")
    train, val = read("hmdb51", tmp_path, "train"), read("hmdb51", tmp_path, "val")
    assert train.classes == ("brush_hair", "wave") and [clip.label for clip in train.clips] == [0, 1]
    assert train.clips[0].path.endswith("/brush_hair/#April [x] (a) & b;c!@=_u_cm_np1.avi") and val.clips[
        0
    ].path.endswith("other.avi")
    write(splits / "wave_test_split1.txt", "w.avi\n")
    with pytest.raises(ConfigError, match=r"expected lines FILE 0\|1\|2"):
        read("hmdb51", tmp_path, "train")


def test_something_v1_as_distributed(tmp_path):
    (tmp_path / "20bn-something-something-v1").mkdir()
    write(
        tmp_path / "something-something-v1-labels.csv",
        "Holding something\nPutting something, something and something on the table\n",
    )
    write(
        tmp_path / "something-something-v1-train.csv",
        "100218;Putting something, something and something on the table\n",
    )
    write(tmp_path / "something-something-v1-validation.csv", "7;Holding something\n")
    train = read("something_v1", tmp_path, "train")
    assert train.clips[0].label == 1 and train.clips[0].path.endswith("20bn-something-something-v1/100218")
    write(tmp_path / "something-something-v1-train.csv", "100218\n")
    with pytest.raises(ConfigError, match="expected lines ID;CLASS"):
        read("something_v1", tmp_path, "train")


def test_pictures_as_videos_of_one_frame(tmp_path):
    from PIL import Image

    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (20, 16), (200, 0, 0)).save(tmp_path / split / name / "a.JPEG")
    clip = read("kinetics", tmp_path, "train").clips[1]
    assert clip.label == 1 and read_frames(clip.path, lambda count: np.zeros(count, int)).shape == (1, 16, 20, 3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_wrong_folder_is_named(layout, tmp_path):
    with pytest.raises(MissingFileError, match=r"got nothing at .*; paths\.videos=DIR"):
        read(layout, tmp_path / "none", "train")
    with pytest.raises(MissingFileError, match=r"has no (folder|train)"):
        read(layout, tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("train", "[]", "no train videos are listed"),
        ("train", '[{"id": "1"}]', "expected entries with id and template"),
        ("train", '[{"id": "1", "template": "Holdin [something]"}]', "did you mean 'Holding something'"),
        ("labels", '{"a": "0", "b": "2"}', "numbers 0 to 1, each once"),
        ("labels", "{", "expected JSON"),
        ("labels", "[]", "expected an object of class names and numbers"),
        ("labels", '{"a": "x"}', "expected a whole number for each class"),
        ("labels", '{"a": 0.0, "b": 1.5}', "numbers 0 to 1, each once"),
        ("labels", '{"a": "0", "b": "1", "a": "2"}', "each name once, got 'a' more than once"),
        (
            "train",
            '[{"id": "../../x", "template": "Holding [something]"}]',
            r"names within 20bn-something-something-v2, got '\.\./\.\./x\.webm'",
        ),
        (
            "train",
            '[{"id": 1, "template": "Holding [something]"}, {"id": "1", "template": "Pushing [something] from left to '
            'right"}]',
            "listed for two classes",
        ),
        ("train", "5", "expected a list of entries"),
        ("train", "[null]", "expected entries with id and template"),
        ("train", '[{"id": "1", "template": 3}]', "expected entries with id and template"),
    ],
)
def test_broken_annotations_are_named(file, text, said, tmp_path):
    something_v2_folder(tmp_path, "new")
    write(tmp_path / f"labels/{file}.json", text)
    with pytest.raises(ConfigError, match=said):
        read("something_v2", tmp_path, "train")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"foo bar baz", "expected lines NUMBER CLASS"),
        (b"x Push", "expected a whole number"),
        (b"2 Push", "numbers 1 to 1, each once"),
        (b"1 \xe9", "text in UTF-8"),
    ],
)
def test_a_broken_class_index_is_named(content, said, tmp_path):
    (tmp_path / "UCF-101").mkdir()
    write(tmp_path / "ucfTrainTestlist/classInd.txt", "")
    (tmp_path / "ucfTrainTestlist/classInd.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read("ucf101", tmp_path, "train")


def test_verifying_takes_the_folds_that_are_there(synthetic, tmp_path):
    shutil.copytree(synthetic("ucf101"), tmp_path / "data")
    for fold in (2, 3):
        for name in ("train", "test"):
            (tmp_path / f"data/ucfTrainTestlist/{name}list0{fold}.txt").unlink(missing_ok=True)
    assert len(videos_of(tmp_path / "data", "ucf101")) == 24


def test_hidden_folders_hold_no_class(synthetic, tmp_path):
    shutil.copytree(synthetic("hmdb51"), tmp_path / "data")
    before = read("hmdb51", tmp_path / "data", "train")
    (tmp_path / "data/hmdb51_org/.ipynb_checkpoints").mkdir()
    assert read("hmdb51", tmp_path / "data", "train") == before


def test_mirrored_labels():
    assert mirrored_labels(["Moving left", "Moving right", "Turning left", "Sit"]) == [1, 0, None, 3]
    assert mirrored_labels(["turn_clockwise", "turn_counterclockwise", "PushLeftToRight", "PushRightToLeft"]) == [
        1,
        0,
        3,
        2,
    ]


def test_two_processes_that_want_the_same_videos(tmp_path):
    """One makes them, the other waits and finds them."""
    import subprocess
    import sys

    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom visagent.video.make import Recipe, make\n\n"
        "if __name__ == '__main__':\n    print(sum(1 for _ in make(Recipe('ucf101', 8, 8, 16, 0), Path(sys.argv[1]), "
        "1)))\n"
    )
    processes = [
        subprocess.Popen([sys.executable, str(script), str(tmp_path / "data")], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    made = sorted(int(process.communicate(timeout=60)[0]) for process in processes)
    assert made == [0, 16] and all(process.returncode == 0 for process in processes)
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def pictures(folder, *names):
    """Pictures whose brightness is ten times their place."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names, start=1):
        Image.new("RGB", (16, 8), (10 * place,) * 3).save(folder / name, quality=95)


def order(folder):
    return [round(float(value) / 10) for value in all_frames(folder).mean(axis=(1, 2, 3))]


@pytest.mark.parametrize(
    "name", ["{}.jpg", "img_{}.png", "IMG_{:05d}.JPG", "2024-01-{}_frame_0001.jpeg", "frame_{}_t0.5.jpg"]
)
def test_frames_are_read_in_the_order_of_their_numbers(name, tmp_path):
    pictures(tmp_path, *(name.format(number) for number in range(1, 13)))
    assert order(tmp_path) == list(range(1, 13))


@pytest.mark.parametrize("beside", ["flow_x_{}.jpg", "x_{:04d}.jpg", "{}_flow.png", "tvl1_u_{}.jpg", "._img_{}.jpg"])
def test_flow_and_hidden_pictures_are_no_frames(beside, tmp_path):
    pictures(tmp_path, *(f"img_{number}.jpg" for number in range(1, 13)))
    pictures(
        tmp_path,
        *(beside.format(number) for number in range(3)),
        *(beside.replace("x", "y").format(number) for number in range(3)),
    )
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    assert order(tmp_path) == list(range(1, 13))


def test_a_series_of_any_name_is_read_and_names_without_numbers_keep_their_order(tmp_path):
    pictures(tmp_path / "river-flow-1", *(f"river-flow-1_{number}.jpg" for number in range(1, 13)))
    assert order(tmp_path / "river-flow-1") == list(range(1, 13))
    pictures(tmp_path / "letters", "a.jpg", "b.jpg", "c.png")
    assert order(tmp_path / "letters") == [1, 2, 3]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            ("img_1.jpg", "img_2.jpg", "depth_1.jpg"),
            r"one series of numbered pictures, got several: depth_1\.jpg and 0 more like it, img_1\.jpg and 1 more",
        ),
        (("flow_x_1.jpg", "flow_y_1.jpg"), "one series of numbered pictures, got several"),
        (("1.jpg", "01.jpg"), r"one picture for each number, got 01\.jpg and 1\.jpg"),
        (("1.jpg", "1.png"), r"one picture for each number, got 1\.jpg and 1\.png"),
        (("1.bmp", "2.bmp"), r"holds no frames \(\.jpg, \.jpeg, \.png\) but 1\.bmp, 2\.bmp"),
        ((), "holds no frames"),
    ],
)
def test_a_folder_that_leaves_open_what_its_frames_are_is_refused(names, said, tmp_path):
    pictures(tmp_path / "clip", *names)
    with pytest.raises(VideoError, match=said):
        read_frames(tmp_path / "clip", np.arange)


def class_folders(root, *more):
    for name in ("train/cat/1.mp4", "train/cat/clip/1.jpg", "train/dog/2.avi", "val/cat/3.mp4", *more):
        write(root / name, "x")
    return root


def test_what_class_folders_hold_is_read_refused_or_ignored(tmp_path):
    beside = (
        "train/notes.txt",
        "train/dog/2.avi.part",
        "train/cat/._1.mp4",
        "train/.DS_Store",
        "train/dog/Thumbs.db",
        "train/__MACOSX/._cat.mp4",
        "train/@eaDir/x.mp4",
    )
    found = read("kinetics", class_folders(tmp_path, *beside), "train")
    assert found.classes == ("cat", "dog")
    assert [(clip.path.removeprefix(f"{tmp_path}/train/"), clip.label) for clip in found.clips] == [
        ("cat/1.mp4", 0),
        ("cat/clip", 0),
        ("dog/2.avi", 1),
    ]
    assert [name.removeprefix(f"{tmp_path}/train/") for name in found.refused] == ["notes.txt", "dog/2.avi.part"]
    assert survey(tmp_path, videos_of(tmp_path, "kinetics")) == Survey((), found.refused, 5)
    assert [path.removeprefix(f"{tmp_path}/") for path in videos_of(tmp_path, None)] == [
        "train/cat/1.mp4",
        "train/dog/2.avi",
        "val/cat/3.mp4",
    ]


def test_videos_that_no_list_names_are_known(tmp_path):
    something_v2_folder(tmp_path, "new")
    for name in ("78687.webm", "7.webm", "9.webm", ".9.webm", "7.webm.md5"):
        write(tmp_path / "20bn-something-something-v2" / name, "x")
    beside = survey(tmp_path, videos_of(tmp_path, "something_v2"))
    assert [path.rsplit("/", 1)[1] for path in (*beside.unlisted, *beside.refused)] == [
        "9.webm",
        "7.webm.md5",
    ] and beside.hidden == 1


LISTS = {
    "ucfTrainTestlist/classInd.txt": "1 A\n2 B\n",
    "ucfTrainTestlist/trainlist01.txt": "A/a.avi 1\nB/b.avi 2\n",
    "ucfTrainTestlist/testlist01.txt": "A/c.avi\n",
    "testTrainMulti_7030_splits/wave_test_split1.txt": "a.avi 1\nb.avi 2\n",
    "something-something-v1-labels.csv": "Holding something\nMoving something up\n",
    "something-something-v1-train.csv": "1;Holding something\n2;Moving something up\n",
    "something-something-v1-validation.csv": "3;Holding something\n",
}


def listed(root, layout, changes, encoding="utf-8"):
    (root / "UCF-101").mkdir(parents=True)
    (root / "hmdb51_org/wave").mkdir(parents=True)
    (root / "20bn-something-something-v1").mkdir()
    for name, text in {**LISTS, **changes}.items():
        write(root / name, "")
        (root / name).write_bytes(text.encode(encoding))
    found = read(layout, root, "train")
    return [(clip.path.split("/", len(root.parts))[-1], clip.label) for clip in found.clips]


@pytest.mark.parametrize("layout", ["ucf101", "hmdb51", "something_v1"])
def test_a_byte_order_mark_is_no_part_of_a_list(layout, tmp_path):
    assert listed(tmp_path / "marked", layout, {}, "utf-8-sig") == listed(tmp_path / "plain", layout, {})


@pytest.mark.parametrize(
    ("layout", "name", "text"),
    [
        ("ucf101", "ucfTrainTestlist/trainlist01.txt", "A/a.avi\t1\nB/b.avi  2\n"),
        ("ucf101", "ucfTrainTestlist/trainlist01.txt", "A/a.avi 120 1\nB/b.avi 98 2\n"),
        ("ucf101", "ucfTrainTestlist/trainlist01.txt", "UCF-101/A/a.avi 1\r\nB\\b.avi 2\r\n"),
        ("ucf101", "ucfTrainTestlist/trainlist01.txt", "A/a.avi 1\nA/a.avi 1\nB/b.avi 2\n"),
        ("hmdb51", "testTrainMulti_7030_splits/wave_test_split1.txt", "a.avi\t1 \r\nb.avi  2\r\n"),
        ("something_v1", "something-something-v1-train.csv", '1;"Holding something"\n 2 ; Moving something up \n'),
    ],
)
def test_lists_as_people_have_them(layout, name, text, tmp_path):
    assert listed(tmp_path / "theirs", layout, {name: text}) == listed(tmp_path / "ours", layout, {})


@pytest.mark.parametrize(
    ("layout", "name", "text", "said"),
    [
        (
            "ucf101",
            "ucfTrainTestlist/trainlist01.txt",
            "A/a.avi 0\nB/b.avi 1\n",
            r"expected 1, the number of A in classInd\.txt, at the end of 'A/a\.avi 0'",
        ),
        ("ucf101", "ucfTrainTestlist/trainlist01.txt", "A//etc/passwd.avi 1\n", "expected names within UCF-101"),
        ("ucf101", "ucfTrainTestlist/classInd.txt", "1 A\n2 A\n", "each name once, got 'A' more than once"),
        (
            "hmdb51",
            "testTrainMulti_7030_splits/wave_test_split1.txt",
            "a.avi 3\n",
            r"expected lines FILE 0\|1\|2, got 'a\.avi 3'",
        ),
        ("something_v1", "something-something-v1-labels.csv", "a\na\n", "each name once, got 'a' more than once"),
        (
            "something_v1",
            "something-something-v1-train.csv",
            "1;Holding something\n1;Moving something up\n",
            "1 is listed for two classes",
        ),
    ],
)
def test_lists_that_contradict_themselves_are_refused(layout, name, text, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        listed(tmp_path, layout, {name: text})


def test_lists_in_another_encoding_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"something-something-v1-train\.csv: expected text in UTF-8"):
        listed(tmp_path, "something_v1", {"something-something-v1-train.csv": "1;Holding caf\xe9\n"}, "latin-1")
