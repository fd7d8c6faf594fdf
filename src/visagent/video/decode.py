"""Frames of a video by their numbers, from files and from folders of pictures.

decord reads a few frames of a long clip fastest, but from a container without timestamps whose codec reorders frames (MPEG-4 with B-frames in
an AVI) it returns others than asked for, in a wrong order. Such files are decoded from the start by PyAV, whichever backend is chosen.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visagent.video import containers
from visagent.video.entries import PICTURES, frames_of

if TYPE_CHECKING:
    import av

Frames = NDArray[np.uint8]
"""`[T, H, W, 3]`, RGB."""
Choose = Callable[[int], NDArray[np.int64]]
"""From a video's number of frames to the numbers of those wanted, from 0."""

BACKENDS = ("decord", "pyav")
HEADER_SURPLUS = 2
"""A container may announce so many frames more than it holds, where its codec delays them: the last one stands in for these."""


class VideoError(Exception):
    """A video that cannot be read; the message names it and says why."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = str(path), reason

    def __reduce__(self) -> tuple[Any, ...]:  # it crosses from worker processes
        return (VideoError, (self.path, self.reason))


def read_frames(path: Path | str, choose: Choose, backend: str = "decord") -> Frames:
    """Read some frames.

    Args:
        path: a video, a folder of numbered pictures, or one picture.
        choose: which frames, given how many there are.
        backend: `decord` or `pyav`; a folder needs neither.

    Returns:
        The chosen frames.

    Raises:
        VideoError: when it is missing, empty, cut off, has no picture, or does not decode.
        ValueError: for an unknown backend.
    """
    path = Path(path)
    if backend not in BACKENDS:
        raise ValueError(f"video backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    if path.is_dir():
        return _read_folder(path, choose)
    if path.suffix.lower() in PICTURES:
        return _read_pictures(path, [path], choose)
    try:
        found = containers.inspect(path)
    except OSError as error:
        raise VideoError(path, error.strerror or "cannot be opened") from error
    if found.bytes == 0:
        raise VideoError(path, "the file is empty")
    if found.missing > 0:
        raise VideoError(path, f"it is cut off: {found.missing} of {found.missing + found.bytes} bytes are missing")
    if backend == "decord" and found.has_timestamps:
        try:
            return _read_decord(path, choose)
        except VideoError:  # it refuses some whole files; where this one is broken, PyAV says so too
            return _read_pyav(path, choose)
    return _read_pyav(path, choose)


def _pick(path: Path, choose: Choose, count: int) -> NDArray[np.int64]:
    if count < 1:
        raise VideoError(path, "it holds no frames")
    chosen = np.asarray(choose(count), np.int64)
    if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= count:
        raise ValueError(f"expected frames in 0..{count - 1} of {path}, got {chosen.tolist()}")
    return chosen


def _read_decord(path: Path, choose: Choose) -> Frames:
    import decord

    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        count = len(reader)
        chosen = _pick(path, choose, count)
        frames: Frames = reader.get_batch(chosen.tolist()).asnumpy()
    except (RuntimeError, decord.DECORDError) as error:
        raise VideoError(path, f"decord cannot read it ({_first_line(error)})") from error
    return frames


def _read_pyav(path: Path, choose: Choose) -> Frames:
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(path, "it has no video stream")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            packets = list(container.demux(stream))  # what the header says of their number need not hold
            count = sum(1 for packet in packets if packet.size)
            chosen = _pick(path, choose, count)
            wanted, furthest = set(chosen.tolist()), int(chosen.max())
            found: dict[int, Frames] = {}
            number, frame = -1, None
            for number, frame in enumerate(frame for packet in packets for frame in packet.decode()):
                if number in wanted:
                    found[number] = _rgb(frame)
                if number >= furthest:
                    break
    except (av.FFmpegError, OSError) as error:
        raise VideoError(path, f"PyAV cannot read it ({_first_line(error)})") from error
    if frame is None or number < furthest - HEADER_SURPLUS:
        raise VideoError(path, f"it is cut off: {number + 1} of {count} frames decode")
    if number < furthest:
        found[number] = _rgb(frame)
    return np.stack([found[min(index, number)] for index in chosen.tolist()])


def _rgb(frame: av.VideoFrame) -> Frames:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def _read_folder(path: Path, choose: Choose) -> Frames:
    try:
        files = frames_of(path)
    except ValueError as error:
        raise VideoError(path, str(error)) from error
    return _read_pictures(path, files, choose)


def _read_pictures(path: Path, files: Sequence[Path], choose: Choose) -> Frames:
    chosen = _pick(path, choose, len(files))
    found: dict[int, Frames] = {}
    for index in sorted(set(chosen.tolist())):
        try:
            with Image.open(files[index]) as picture:
                found[index] = np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError) as error:
            raise VideoError(files[index], f"the picture cannot be read ({_first_line(error)})") from error
    if len({frame.shape for frame in found.values()}) > 1:
        raise VideoError(path, "its pictures differ in size")
    return np.stack([found[index] for index in chosen.tolist()])


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def all_frames(path: Path | str, backend: str = "pyav") -> Frames:
    """Every frame."""
    return read_frames(path, lambda count: np.arange(count), backend)


def count_frames(path: Path | str, backend: str = "decord") -> int:
    """How many frames there are."""
    counted: list[int] = []

    def first(count: int) -> NDArray[np.int64]:
        counted.append(count)
        return np.zeros(1, np.int64)

    read_frames(path, first, backend)
    return counted[0]


def write_video(path: Path, frames: Sequence[Frames] | Frames, codec: str, fps: int, options: Mapping[str, str] | None = None, b_frames: int = 0) -> None:
    """Encode frames `[T, H, W, 3]` with PyAV, the same bytes each time; the container follows from the name.

    Args:
        path: for example `x.webm` or `x.avi`.
        frames: even height and width.
        codec: FFmpeg's name of it, `libvpx-vp9`, `mpeg4`, `libx264`.
        fps: frames per second.
        options: of the codec.
        b_frames: how many in a row; with any, a key frame comes every 12.

    Raises:
        RuntimeError: in a process that has loaded decord, whose libraries hide the encoders'.
    """
    if "decord" in sys.modules:
        raise RuntimeError("write_video: decord is loaded in this process, and its libvpx hides the one that encodes; encode in another process")
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=fps, options=dict(options or {}))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = frames[0].shape[0], frames[0].shape[1], "yuv420p"
        stream.codec_context.thread_count = 1
        stream.codec_context.max_b_frames = b_frames
        if b_frames:
            stream.codec_context.gop_size = 12
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
