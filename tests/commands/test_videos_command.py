"""`visagent-videos` in this process."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image

from visagent.errors import ConfigError, MissingFileError
from visagent.video.command import main


def test_make_says_what_it_did(tmp_path, capsys):
    command = [
        "make",
        str(tmp_path / "data"),
        "--layout",
        "hmdb51",
        "--train",
        "8",
        "--val",
        "8",
        "--size",
        "16",
        "--workers",
        "1",
    ]
    assert main(command) == 0
    assert "16 videos made" in capsys.readouterr().out
    assert main(command) == 0
    assert "there already" in capsys.readouterr().out


def test_verify_finds_what_is_broken(synthetic, tmp_path, capsys):
    whole = synthetic("something_v2")
    assert main(["verify", str(whole), "--workers", "1"]) == 0
    assert "24 videos (something_v2), 20 to 28 frames: 0 broken" in capsys.readouterr().out
    shutil.copytree(whole, tmp_path / "data")
    videos = tmp_path / "data" / "20bn-something-something-v2"
    (videos / "2.webm").unlink()
    (videos / "4.webm").write_bytes((videos / "4.webm").read_bytes()[:-200])
    (videos / "6.webm").write_bytes(b"")
    for name in ("99.webm", "[6].webm.part", ".DS_Store"):
        (videos / name).write_bytes(b"")
    assert main(["verify", str(tmp_path / "data"), "--workers", "1"]) == 1
    shown = capsys.readouterr().out
    for expected in (
        "2.webm: No such file",
        "4.webm: it is cut off: 200 of",
        "6.webm: the file is empty",
        ": 3 broken",
        "1 not listed: 99.webm",
        "1 refused",
        ": [6].webm.part",
        "1 ignored",
    ):
        assert expected in shown


def test_verify_any_folder(synthetic, tmp_path, capsys):
    (tmp_path / "some").mkdir()
    source = next((synthetic("ucf101") / "UCF-101").rglob("*.avi"))
    shutil.copy(source, tmp_path / "some" / "a.avi")
    assert main(["verify", str(tmp_path), "--workers", "1", "--backend", "pyav"]) == 0
    assert "1 video (no known layout)" in capsys.readouterr().out
    with pytest.raises(MissingFileError, match="no folder"):
        main(["verify", str(tmp_path / "none")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no videos found"):
        main(["verify", str(tmp_path / "empty")])


def test_show_draws_one_video_of_each_class(synthetic, tmp_path, capsys):
    assert main(["show", str(synthetic("something_v1")), "--out", str(tmp_path / "sheet.png")]) == 0
    assert "8 of 8 classes, 16 videos in train" in capsys.readouterr().out
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (8 * 112, 8 * 128)
    shutil.copytree(synthetic("something_v2"), tmp_path / "data")
    for video in (tmp_path / "data/20bn-something-something-v2").glob("[1-8].webm"):
        video.write_bytes(b"")
    assert main(["show", str(tmp_path / "data"), "--out", str(tmp_path / "sheet.png")]) == 0
    said = capsys.readouterr()
    assert "8 of 8 classes" in said.out and "the file is empty; showing another one of its class" in said.err
    with pytest.raises(ConfigError, match="expected a picture's name"):
        main(["show", str(synthetic("something_v1")), "--out", str(tmp_path / "sheet.bin")])
    (tmp_path / "none").mkdir()
    with pytest.raises(ConfigError, match="name it with --layout"):
        main(["show", str(tmp_path / "none")])
