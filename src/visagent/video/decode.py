"""Frames of a video by their numbers, from files and from folders of pictures.

decord reads a few frames of a long clip fastest, and torchcodec where there are many key frames; both jump to the
frames that are wanted. What they return differs from what was asked for in a container without timestamps whose codec
reorders frames (MPEG-4 with B-frames in an AVI), where frames are hidden, and in whatever else `visagent.video.films`
knows of. Such files are decoded from the start by PyAV, whichever backend is chosen.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from visagent.errors import ConfigError
from visagent.video import containers
from visagent.video.entries import PICTURES, frames_of

if TYPE_CHECKING:
    import av
    import torch

    from visagent.video.films import Film, Turn

Frames = NDArray[np.uint8]
"""`[T, H, W, 3]`, RGB."""
Choose = Callable[[int], NDArray[np.int64]]
"""From a video's number of frames to the numbers of those wanted, from 0."""

BACKENDS = ("decord", "pyav", "torchcodec")
USUAL_RATE = 12.0
"""Frames a second of videos that do not say; Something-Something's are recorded so."""
OPENED_AT_MOST = {"torchcodec": 4000}
"""Files after which a process that decodes is replaced, for backends whose memory grows with every file: torchcodec by
about 30 KB.
"""


class VideoError(Exception):
    """A video that cannot be read; the message names it and says why."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = str(path), reason

    def __reduce__(self) -> tuple[Any, ...]:  # it crosses from worker processes
        return (VideoError, (self.path, self.reason))


def require(backend: str) -> None:
    """Check that a backend is there.

    Raises:
        ConfigError: when it is not installed, or finds no FFmpeg.
        ValueError: for an unknown backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"video backend: expected one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "torchcodec":
        _torchcodec()


def device_of(backend: str, device: torch.device) -> str:
    """Where a backend decodes for networks on some device: torchcodec on that GPU, where its build can; anything else
    on the CPU.
    """
    if backend != "torchcodec" or device.type != "cuda" or _torchcodec().__version__.endswith("+cpu"):
        return "cpu"
    return str(device)


def read_frames(path: Path | str, choose: Choose, backend: str = "decord", device: str = "cpu") -> Frames:
    """Read some frames: of the file's film, of its shown frames, upright, all as large as its first one.

    Args:
        path: a video, a folder of numbered pictures, or one picture.
        choose: which frames, given how many there are. It is asked again where fewer decode than the file announces.
        backend: `decord`, `pyav` or `torchcodec`; a folder needs none.
        device: where torchcodec decodes; see `device_of`.

    Returns:
        The chosen frames.

    Raises:
        VideoError: when it is missing, empty, cut off, has no picture, or does not decode.
        ConfigError: when the backend is not installed.
        ValueError: for an unknown backend.
    """
    path = Path(path)
    require(backend)
    if path.is_dir():
        return _read_folder(path, choose)
    if path.suffix.lower() in PICTURES:
        return _read_pictures(path, [path], choose)
    try:
        container = containers.inspect(path)
    except OSError as error:
        raise VideoError(path, error.strerror or "cannot be opened") from error
    if container.bytes == 0:
        raise VideoError(path, "the file is empty")
    return _read_film(path, container, functools.cache(choose), backend, device)


def _read_film(path: Path, container: containers.Container, choose: Choose, backend: str, device: str) -> Frames:
    import av

    from visagent.video import films

    try:
        if backend in JUMPING:
            frames = JUMPING[backend](path, container, choose, device)
            if frames is not None:
                return frames
        with films.open_file(path) as file:
            return _read_pyav(path, container, films.survey(file, container), choose)
    except films.NoFilmError as error:
        raise VideoError(path, str(error)) from error
    except (av.FFmpegError, OSError) as error:
        reason = f"PyAV cannot read it ({_first_line(error)})"
        raise VideoError(path, f"{container.cut_off}; {reason}" if container.missing else reason) from error


def _pick(path: Path, choose: Choose, count: int) -> NDArray[np.int64]:
    if count < 1:
        raise VideoError(path, "it holds no frames")
    chosen = np.asarray(choose(count), np.int64)
    if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= count:
        raise ValueError(f"expected frames in 0..{count - 1} of {path}, got {chosen.tolist()}")
    return chosen


def _read_decord(path: Path, container: containers.Container, choose: Choose, device: str) -> Frames | None:
    """Frames by decord; None for a film that it would not return right, or refuses."""
    from visagent.video import films

    if not container.has_timestamps:
        return None
    with films.open_file(path, probe=False) as file:
        film = films.survey(file, container)
        if not (film.steady and film.alone and film.upright(container)):
            return None
    import decord

    chosen = _pick(path, choose, film.count)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        if len(reader) != film.count:
            return None
        frames: Frames = reader.get_batch(chosen.tolist()).asnumpy()
    except (RuntimeError, decord.DECORDError, UnicodeError):  # where the file is broken, PyAV says so too
        return None
    return frames


def _read_torchcodec(path: Path, container: containers.Container, choose: Choose, device: str) -> Frames | None:
    """Frames by torchcodec; None for a film that it would not return right, or refuses."""
    from visagent.video import films

    if container.kind not in ("matroska", "mp4", "avi"):
        return None
    with films.open_file(path, probe=not container.has_timestamps) as file:
        film = films.survey(file, container)
        reordered = not container.has_timestamps and film.stream.codec_context.has_b_frames
        if reordered or not (film.steady and film.upright(container)):
            return None
        number = film.stream.index
    decoders = _torchcodec().decoders
    chosen = _pick(path, choose, film.count)
    try:
        decoder = decoders.VideoDecoder(
            str(path), stream_index=number, dimension_order="NHWC", num_ffmpeg_threads=1, device=device
        )
        if len(decoder) != film.count:
            return None
        frames: Frames = decoder.get_frames_at(chosen.tolist()).data.cpu().numpy()
    except (RuntimeError, ValueError, IndexError) as error:  # where the file is broken, PyAV says so too
        if device != "cpu" and "cuda" in str(error).lower():
            raise ConfigError(
                f"datamodule.backend=torchcodec cannot decode on {device} ({_first_line(error)}): use "
                "datamodule.backend=decord"
            ) from error
        return None
    return frames


JUMPING: Mapping[str, Callable[[Path, containers.Container, Choose, str], Frames | None]] = {
    "decord": _read_decord,
    "torchcodec": _read_torchcodec,
}
"""Readers that jump to the frames that are wanted."""


@functools.cache
def _torchcodec() -> Any:
    try:
        import torchcodec
        import torchcodec.decoders
    except ImportError as error:
        raise ConfigError(
            f"datamodule.backend=torchcodec: torchcodec cannot be imported ({error}); type pip install "
            "'visagent[torchcodec]'"
        ) from error
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            "datamodule.backend=torchcodec: torchcodec cannot be loaded; it needs FFmpeg 4 to 8 (apt-get install "
            "ffmpeg) and a version that fits "
            f"torch's; {_first_line(error)}"
        ) from error
    return torchcodec


def _read_pyav(path: Path, container: containers.Container, film: Film, choose: Choose) -> Frames:
    """Decode a film from its start; where fewer frames decode than its packets promise, these are all that there
    are.
    """
    from visagent.video.films import HEADER_SURPLUS, Turn

    count = film.count
    while True:
        chosen = _pick(path, choose, count)
        wanted, furthest = set(chosen.tolist()), int(chosen.max())
        decoded: dict[int, Frames] = {}
        number, frame, size, turn = -1, None, (0, 0), Turn()
        for number, frame in enumerate(film.frames()):
            if number == 0:
                size, turn = (frame.width, frame.height), Turn.of(frame)
            if number in wanted:
                decoded[number] = _rgb(frame, size, turn)
            if number >= furthest:
                break
        if frame is None:
            raise VideoError(path, "none of its frames decode")
        if number >= furthest - HEADER_SURPLUS:
            break
        if container.missing:
            raise VideoError(path, f"it is cut off: {number + 1} of {count} frames decode")
        count = number + 1
    if number < furthest:  # the last one stands in for those
        decoded[number] = _rgb(frame, size, turn)
    return np.stack([decoded[min(index, number)] for index in chosen.tolist()])


def _rgb(frame: av.VideoFrame, size: tuple[int, int], turn: Turn) -> Frames:
    from visagent.video.films import NoFilmError

    # One thread: others would outlive the file until the next garbage collection, which waits for them in vain in a
    # process forked meanwhile.
    if (frame.width, frame.height) != size:  # it changed on the way: as players do, and decord
        frame = frame.reformat(width=size[0], height=size[1], format="rgb24", interpolation="BICUBIC", threads=1)
    try:
        return turn(np.asarray(frame.to_ndarray(format="rgb24", threads=1), np.uint8))
    except ValueError as error:  # a pixel format without a conversion
        raise NoFilmError(f"its pictures cannot be converted to RGB ({_first_line(error)})") from error


def _read_folder(path: Path, choose: Choose) -> Frames:
    try:
        files = frames_of(path)
    except ValueError as error:
        raise VideoError(path, str(error)) from error
    return _read_pictures(path, files, choose)


def _read_pictures(path: Path, files: Sequence[Path], choose: Choose) -> Frames:
    chosen = _pick(path, choose, len(files))
    pictures: dict[int, Frames] = {}
    for index in sorted(set(chosen.tolist())):
        try:
            with Image.open(files[index]) as picture:
                pictures[index] = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise VideoError(files[index], f"the picture cannot be read ({_first_line(error)})") from error
    if len({frame.shape for frame in pictures.values()}) > 1:
        raise VideoError(path, "its pictures differ in size")
    return np.stack([pictures[index] for index in chosen.tolist()])


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


def frame_rate(path: Path | str) -> float:
    """Frames that a video shows in a second; of a folder of frames, which does not say, `USUAL_RATE`."""
    from visagent.video.films import open_file

    if is_frames(path):
        return USUAL_RATE
    import av

    try:
        with open_file(Path(path), probe=False) as file:
            rate = next((stream.average_rate for stream in file.streams.video if stream.average_rate), None)
    except av.FFmpegError as error:
        raise VideoError(path, _first_line(error)) from error
    return USUAL_RATE if rate is None else float(rate)


def is_frames(path: Path | str) -> bool:
    """Whether a video is kept as pictures: a folder of them, or one."""
    return Path(path).is_dir() or Path(path).suffix.lower() in PICTURES


def write_video(
    path: Path,
    frames: Sequence[Frames] | Frames,
    codec: str,
    fps: int,
    options: Mapping[str, str] | None = None,
    b_frames: int = 0,
) -> None:
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
        raise RuntimeError(
            "write_video: decord is loaded in this process, and its libvpx hides the one that encodes; encode in "
            "another process"
        )
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
