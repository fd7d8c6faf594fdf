"""Every backend returns the frames that were asked for, from every container, and says what is wrong with a file."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from conftest import VIDEOS
from visagent.video.containers import inspect
from visagent.video.decode import BACKENDS, VideoError, all_frames, count_frames, read_frames, write_video

SPARSE = [1, 4, 9, 12, 13, 20, 27, 33, 38]


def numbers(frames: np.ndarray) -> list[int]:
    """The number written in each frame."""
    bright = np.stack([frames[:, 10:22, 4 + bit * 15 : 12 + bit * 15].mean(axis=(1, 2, 3)) > 128 for bit in range(6)], axis=1)
    return (bright * 2 ** np.arange(6)).sum(axis=1).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", VIDEOS)
def test_the_right_frames(name, backend, encoded):
    path = encoded / name
    assert count_frames(path, backend) == 40
    assert numbers(read_frames(path, lambda _: np.array(SPARSE), backend)) == SPARSE
    backwards = [30, 7, 7, 2]
    assert numbers(read_frames(path, lambda _: np.array(backwards), backend)) == backwards
    assert numbers(all_frames(path, backend)) == list(range(40))


def test_decord_alone_would_return_others(encoded):
    """Why AVI files go to PyAV: if this fails, decord has been mended and the detour can go."""
    import decord

    reader = decord.VideoReader(str(encoded / "mpeg4_b.avi"), num_threads=1)
    assert numbers(reader.get_batch(SPARSE).asnumpy()) != SPARSE


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty.webm", "empty"),
        ("text.avi", "cannot read it"),
        ("audio.webm", "cannot read it|no video stream"),
        ("missing.webm", "No such file"),
        ("cut.webm", "cut off"),
        ("cut.avi", "cut off"),
    ],
)
def test_broken_files_are_named(name, reason, backend, encoded):
    with pytest.raises(VideoError, match=reason) as caught:
        read_frames(encoded / name, lambda count: np.array([0, count - 1]), backend)
    assert name in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.reason) == (caught.value.path, caught.value.reason)


@pytest.mark.parametrize(
    ("name", "kind"), [("vp9.webm", "matroska"), ("mpeg4_b.mkv", "matroska"), ("h264_b.mp4", "mp4"), ("mpeg4.avi", "avi"), ("text.avi", "other")]
)
def test_containers(name, kind, encoded, tmp_path):
    found = inspect(encoded / name)
    assert found.kind == kind and found.missing == 0 and found.has_timestamps == (kind in ("matroska", "mp4"))
    if kind != "other":
        whole = (encoded / name).read_bytes()
        (tmp_path / "cut").write_bytes(whole[: len(whole) * 2 // 3])
        cut = inspect(tmp_path / "cut")
        assert cut.kind == kind and 0 < cut.missing <= len(whole) / 3 + 1


def test_one_frame(encoded):
    for backend in BACKENDS:
        assert numbers(read_frames(encoded / "one_frame.webm", lambda _: np.zeros(8, int), backend)) == [0] * 8


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


def test_settings_are_checked(encoded):
    with pytest.raises(ValueError, match="expected one of decord, pyav"):
        read_frames(encoded / "vp9.webm", lambda _: np.array([0]), "opencv")
    with pytest.raises(ValueError, match=r"expected frames in 0\.\.39"):
        read_frames(encoded / "vp9.webm", lambda _: np.array([40]), "pyav")
    import decord  # noqa: F401

    with pytest.raises(RuntimeError, match="another process"):
        write_video(encoded / "x.webm", np.zeros((1, 8, 8, 3), np.uint8), "libvpx-vp9", 12)
