"""Every backend returns the frames that were asked for, from every container, and says what is wrong with a file."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from odd_videos import ALL, ODD, PLAIN, numbers
from PIL import Image

from visagent.config import video_schemas
from visagent.errors import ConfigError
from visagent.video import command, decode
from visagent.video.containers import inspect
from visagent.video.decode import VideoError, all_frames, count_frames, device_of, read_frames, require, write_video
from visagent.video.verify import Verdict, verify

SPARSE = [1, 4, 9, 12, 13, 20, 27, 33, 38]


@pytest.mark.parametrize("name", PLAIN)
def test_the_right_frames(name, backend, encoded):
    path = encoded / name
    assert count_frames(path, backend) == 40
    assert numbers(read_frames(path, lambda _: np.array(SPARSE), backend)) == SPARSE
    backwards = [30, 7, 7, 2]
    assert numbers(read_frames(path, lambda _: np.array(backwards), backend)) == backwards
    assert numbers(all_frames(path, backend)) == list(range(40))


@pytest.mark.parametrize("name", ODD)
def test_odd_videos_look_the_same_to_every_backend(name, backend, encoded):
    """The frames that are shown, of the film, upright, in order, of one size: asked for all together, sparsely, and
    backwards.
    """
    path, expected = encoded / name, ODD[name]
    found = all_frames(path, backend)
    assert numbers(found) == expected
    # decoders enlarge and convert colours a little differently
    assert np.abs(found.astype(int) - all_frames(path, "pyav")).mean() < 1.0
    last = len(expected) - 1
    for wanted in ([1, last // 3, last // 2, last - 2, last], [last, 3, 3, last // 2]):
        assert numbers(read_frames(path, lambda _, wanted=wanted: np.array(wanted), backend)) == [
            expected[number] for number in wanted
        ]
    assert verify(str(path), backend) == Verdict(str(path), len(expected), None)


def test_odd_videos_are_odd(encoded):
    """What `ODD` promises: a film stored turned, hidden packets, metadata that are no UTF-8."""
    for name in ODD:
        if name.startswith("latin1"):
            with pytest.raises(UnicodeDecodeError):
                av.open(str(encoded / name))
    for name, hidden in (("edit_list.mp4", 10), ("copied_cut.mp4", 4)):
        with av.open(str(encoded / name)) as file:
            assert sum(packet.is_discard for packet in file.demux(video=0)) == hidden
    with av.open(str(encoded / "turned_5.mkv")) as file:
        assert next(file.decode(video=0)).width == 64


def test_decord_alone_would_return_others(encoded):
    """Why AVI files go to PyAV: if this fails, decord has been mended and the detour can go."""
    import decord

    reader = decord.VideoReader(str(encoded / "mpeg4_b.avi"), num_threads=1)
    assert numbers(reader.get_batch(SPARSE).asnumpy()) != SPARSE


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.webm", "empty"),
        ("text.avi", "cannot read it"),
        ("audio.webm", "cannot read it|no video stream"),
        ("missing.webm", "No such file"),
        ("cut.webm", "cut off"),
        ("cut.avi", "cut off"),
        ("cut.mp4", "cut off"),
        ("cut.mkv", "cut off"),
    ],
)
def test_broken_files_are_named(name, reason, backend, encoded):
    with pytest.raises(VideoError, match=reason) as caught:
        read_frames(encoded / name, lambda count: np.array([0, count - 1]), backend)
    assert name in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.reason) == (caught.value.path, caught.value.reason)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("vp9.webm", "matroska"),
        ("mpeg4_b.mkv", "matroska"),
        ("h264_b.mp4", "mp4"),
        ("mpeg4.avi", "avi"),
        ("text.avi", "other"),
    ],
)
def test_containers(name, kind, encoded, tmp_path):
    found = inspect(encoded / name)
    assert found.kind == kind and found.missing == 0 and found.has_timestamps == (kind in ("matroska", "mp4"))
    if kind != "other":
        whole = (encoded / name).read_bytes()
        (tmp_path / "cut").write_bytes(whole[: len(whole) * 2 // 3])
        cut = inspect(tmp_path / "cut")
        assert cut.kind == kind and 0 < cut.missing <= len(whole) / 3 + 1


def threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def test_no_thread_outlives_a_read(backend, encoded):
    """Worker processes are forked: what waits for a thread there waits for ever."""
    gc.collect()
    before = threads()
    gc.disable()
    try:
        for name in ("mpeg4.avi", "h264_b.mp4", "turned_5.mp4", "size_changes.webm"):
            read_frames(encoded / name, lambda _: np.array(SPARSE), backend)
        assert threads() == before
    finally:
        gc.enable()


def test_one_frame(backend, encoded):
    assert numbers(read_frames(encoded / "one_frame.webm", lambda _: np.zeros(8, int), backend)) == [0] * 8


@pytest.mark.parametrize(("name", "lost"), [("mpeg4.avi", 300), ("mpeg4.avi", 1), ("vp9.webm", 20)])
def test_files_whose_index_is_cut_off_are_whole(name, lost, backend, encoded, tmp_path):
    """The decoder decides: all frames are there."""
    path = tmp_path / name
    path.write_bytes((encoded / name).read_bytes()[:-lost])
    assert inspect(path).missing == lost
    assert numbers(all_frames(path, backend)) == ALL


def test_names_that_are_no_text_or_look_like_addresses(backend, encoded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (os.fsdecode(b"caf\xe9.webm"), "http:x.webm", "%03d [1] & '\".webm"):
        shutil.copy(encoded / "vp9.webm", name)
        assert numbers(read_frames(name, lambda _: np.array(SPARSE), backend)) == SPARSE


def test_folders_of_pictures(tmp_path):
    for number in range(12):
        Image.new("RGB", (20, 10), (number * 20, 0, 0)).save(tmp_path / f"{number + 1:05d}.jpg", quality=95)
    frames = read_frames(tmp_path, lambda count: np.array([count - 1, 3, 3]))
    assert frames.shape == (3, 10, 20, 3)
    assert np.abs(frames[:, 0, 0, 0].astype(int) - [220, 60, 60]).max() < 5
    (tmp_path / "00004.jpg").write_bytes(b"nothing")
    with pytest.raises(VideoError, match=r"00004\.jpg: the picture cannot be read"):
        read_frames(tmp_path, lambda _: np.array([3]))
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="holds no frames"):
        read_frames(tmp_path / "none", lambda _: np.array([0]))
    Image.new("RGB", (30, 10)).save(tmp_path / "00004.jpg")
    with pytest.raises(VideoError, match="differ in size"):
        read_frames(tmp_path, lambda _: np.array([2, 3]))


def test_pictures_are_upright(tmp_path):
    """As their EXIF says."""
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[:10, :15] = (250, 20, 20)
    for orientation, stored in (
        (1, upright),
        (3, upright[::-1, ::-1]),
        (6, np.rot90(upright)),
        (5, upright.swapaxes(0, 1)),
    ):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "x.png", exif=exif)
        assert np.array_equal(read_frames(tmp_path / "x.png", lambda _: np.array([0]))[0], upright)


def test_a_backend_that_is_not_there_is_named(monkeypatch):
    decode._torchcodec.cache_clear()
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    with pytest.raises(
        ConfigError, match=r"backend=torchcodec: torchcodec cannot be imported.*pip install 'visagent\[torchcodec\]'"
    ):
        require("torchcodec")
    for known in ("decord", "pyav"):
        require(known)


def test_what_must_not_import_the_readers_knows_the_backends():
    assert command.BACKENDS == video_schemas.BACKENDS == decode.BACKENDS


@pytest.mark.gpu
def test_torchcodec_decodes_on_the_gpu(encoded, monkeypatch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    require("torchcodec")
    device = device_of("torchcodec", torch.device("cuda", 0))
    if device == "cpu":
        pytest.skip("this build of torchcodec decodes on the CPU alone")
    jumped = []
    monkeypatch.setitem(
        decode.JUMPING, "torchcodec", lambda *settings: jumped.append(decode._read_torchcodec(*settings)) or jumped[-1]
    )
    for name in ("h264_b.mp4", "vp9.webm"):
        found = read_frames(encoded / name, lambda _: np.array(SPARSE), "torchcodec", device)
        assert numbers(found) == SPARSE and jumped[-1] is not None
        assert np.abs(found.astype(int) - read_frames(encoded / name, lambda _: np.array(SPARSE), "pyav")).mean() < 3.0


def test_only_torchcodec_decodes_elsewhere_than_on_the_cpu(monkeypatch):
    monkeypatch.setattr(decode, "_torchcodec", lambda: SimpleNamespace(__version__="0.11.1+cu130"))
    cuda = torch.device("cuda", 1)
    assert [device_of(name, cuda) for name in decode.BACKENDS] == ["cpu", "cpu", "cuda:1"] and device_of(
        "torchcodec", torch.device("cpu")
    ) == "cpu"
    monkeypatch.setattr(decode, "_torchcodec", lambda: SimpleNamespace(__version__="0.11.1+cpu"))
    assert device_of("torchcodec", cuda) == "cpu"


def test_settings_are_checked(encoded):
    with pytest.raises(ValueError, match="expected one of decord, pyav, torchcodec"):
        read_frames(encoded / "vp9.webm", lambda _: np.array([0]), "opencv")
    with pytest.raises(ValueError, match=r"expected frames in 0\.\.39"):
        read_frames(encoded / "vp9.webm", lambda _: np.array([40]), "pyav")
    import decord  # noqa: F401

    with pytest.raises(RuntimeError, match="another process"):
        write_video(encoded / "x.webm", np.zeros((1, 8, 8, 3), np.uint8), "libvpx-vp9", 12)
