"""Videos as people bring them along: `python odd_videos.py FOLDER` writes them, in a process of its own (decord's
libraries hide the encoders').

Each frame has its number in six large black or white squares, and a bar that moves: what is read can be told from it,
and which way is up.
"""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

COUNT, RATE = 40, 12
VP9 = ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"})
VP8 = ("libvpx", {"deadline": "realtime", "cpu-used": "8"})
H264 = ("libx264", {"preset": "ultrafast"})
MPEG4 = ("mpeg4", {"b": "2000000"})
ALL = list(range(COUNT))
PLAIN = {
    "vp9.webm": (*VP9, 0),
    "vp8.webm": (*VP8, 0),
    "h264_b.mp4": ("libx264", {}, 2),
    "mpeg4_b.mp4": (*MPEG4, 2),
    "mpeg4.avi": (*MPEG4, 0),
    "mpeg4_b.avi": (*MPEG4, 2),
    "mpeg4_b.mkv": (*MPEG4, 2),
}
"""What `write_video` writes: codec, its options, B-frames in a row."""
ODD = {
    **{f"latin1.{suffix}": ALL for suffix in ("avi", "mp4", "mov", "mkv", "webm")},
    **{f"edit_list.{suffix}": ALL[10:] for suffix in ("mp4", "mov")},
    **{f"edit_list_end.{suffix}": ALL[:25] for suffix in ("mp4", "mov")},
    **{f"copied_cut.{suffix}": ALL[16:] for suffix in ("mp4", "mov")},
    "hidden_vp8.webm": [*ALL[:7], *ALL[8:]],
    **{f"turned_{number}.mp4": ALL for number in range(8)},
    **{f"turned_5.{suffix}": ALL for suffix in ("mov", "mkv", "webm")},
    **{f"two.{suffix}": ALL for suffix in ("mp4", "mkv", "avi")},
    "second_is_default.mkv": ALL,
    "picture_first.mkv": ALL,
    "cover_first.mp4": ALL,
    "cover_last.mp4": ALL,
    "cover.mkv": ALL,
    **{f"size_changes.{suffix}": ALL for suffix in ("webm", "mp4", "mkv", "avi", "ts")},
    "size_grows.webm": ALL,
    **{f"size_changes_h264.{suffix}": ALL for suffix in ("mp4", "mkv")},
    "size_changes_mpeg4.mp4": ALL,
    "motion_jpeg.avi": ALL,
    "b_frames_h264.avi": ALL,
    "b_frames.ts": ALL,
    "starts_between_key_frames.mkv": ALL[12:],
    **{f"junk_behind.{suffix}": ALL for suffix in ("mp4", "avi", "webm", "mkv")},
    **{f"riff_{name}.avi": ALL for name in ("absurd", "surplus", "zero")},
    "segment_surplus.webm": ALL,
    "odd_size.mp4": ALL,
    "odd_size.mkv": ALL,
}
"""Files, and the numbers that are written in their frames."""
TURNS = (
    (0, False, False),
    (0, True, False),
    (0, False, True),
    (180, False, False),
    (90, False, False),
    (270, False, False),
    (90, True, False),
    (270, True, False),
)
"""What PyAV is told, degrees and flips, so that a picture is stored in each of the eight ways."""


def numbered(height: int = 64, width: int = 96, count: int = COUNT) -> np.ndarray:
    """Frames `[T, H, W, 3]`."""
    y, x = height / 64, width / 96
    frames = np.full((count, height, width, 3), 20, np.uint8)
    for t in range(count):
        for bit in range(6):
            frames[t, int(8 * y) : int(24 * y), int((2 + bit * 15) * x) : int((14 + bit * 15) * x)] = (
                255 if t >> bit & 1 else 0
            )
        frames[t, int(40 * y) : int(56 * y), int(2 * t * x) : int((2 * t + 8) * x)] = (200, 60, 30)
    return frames


def numbers(frames: np.ndarray) -> list[int]:
    """The number written in each frame of about 64 x 96, or of half that."""
    y, x = round(frames.shape[1] / 32) / 2, round(frames.shape[2] / 48) / 2
    squares = [
        frames[:, int(10 * y) : int(22 * y), int((4 + bit * 15) * x) : int((12 + bit * 15) * x)] for bit in range(6)
    ]
    bright = np.stack([square.mean(axis=(1, 2, 3)) > 128 for square in squares], axis=1)
    return (bright * 2 ** np.arange(6)).sum(axis=1).tolist()


def stored(frames: np.ndarray, turn: tuple[int, bool, bool]) -> np.ndarray:
    """Upright frames as they are stored where the display matrix turns them by some degrees, anticlockwise, and then
    mirrors them.
    """
    degrees, left_right, up_down = turn
    if left_right:
        frames = frames[:, :, ::-1]
    if up_down:
        frames = frames[:, ::-1]
    return np.rot90(frames, -degrees // 90, (1, 2))


def packets(frames: np.ndarray, stream) -> Iterator:
    """A stream's packets."""
    import av

    for frame in frames:
        yield from stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24"))
    yield from stream.encode()


def write(
    path: Path,
    codec: tuple[str, dict[str, str]],
    streams: Sequence[np.ndarray],
    b_frames: int = 0,
    metadata: Mapping[str, str] | None = None,
    turn: tuple[int, bool, bool] | None = None,
    pix_fmt: str = "yuv420p",
    default: int | None = None,
    cover: bytes | None = None,
) -> Path:
    """A file of some streams."""
    import av

    with av.open(str(path), "w", metadata_errors="surrogateescape") as file:
        file.metadata.update(metadata or {})
        made = []
        for number, frames in enumerate(streams):
            stream = file.add_stream(codec[0], rate=RATE, options=dict(codec[1]))
            stream.pix_fmt = pix_fmt
            stream.height, stream.width = frames.shape[1], frames.shape[2]
            stream.codec_context.thread_count, stream.codec_context.max_b_frames, stream.codec_context.gop_size = (
                1,
                b_frames,
                12,
            )
            if default is not None:
                stream.disposition = int(number == default)
            if turn is not None:
                stream.set_display_rotation(*turn)
            made.append(stream)
        if cover is not None:
            file.add_attachment("cover.jpg", "image/jpeg", cover)
        for frames, stream in zip(streams, made, strict=True):
            for packet in packets(frames, stream):
                file.mux(packet)
    return path


def change_size(
    path: Path, codec: tuple[str, dict[str, str]], sizes: Sequence[tuple[int, int]], pix_fmt: str = "yuv420p"
) -> None:
    """A file whose second half has another size."""
    import av

    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec[0], rate=RATE, options=dict(codec[1]))
        made = []
        for half, (height, width) in enumerate(sizes):
            context = stream.codec_context if half == 0 else av.CodecContext.create(codec[0], "w")
            context.height, context.width, context.pix_fmt, context.options = height, width, pix_fmt, dict(codec[1])
            context.time_base, context.framerate = Fraction(1, RATE), Fraction(RATE)
            context.thread_count, context.max_b_frames, context.gop_size = 1, 0, 12
            for number, frame in enumerate(numbered(height, width)[half * COUNT // 2 : (half + 1) * COUNT // 2]):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture.pts, picture.time_base = number, Fraction(1, RATE)
                made += [(half, packet) for packet in (stream if half == 0 else context).encode(picture)]
            made += [(half, packet) for packet in (stream if half == 0 else context).encode(None)]
        for number, (_, packet) in enumerate(made):
            packet.stream = stream
            packet.pts = packet.dts = number
            packet.time_base, packet.duration = Fraction(1, RATE), 1
            file.mux(packet)


def copy(source: Path, target: Path, first: int, start: int) -> None:
    """Packets from the first on, their times counted from `start` frames, as cutting without encoding does it."""
    import av

    with av.open(str(source)) as whole, av.open(str(target), "w") as file:
        stream = file.add_stream_from_template(whole.streams.video[0])
        for packet in [packet for packet in whole.demux(video=0) if packet.size][first:]:
            step = round(1 / (RATE * packet.time_base))
            packet.pts, packet.dts, packet.stream = packet.pts - start * step, packet.dts - start * step, stream
            file.mux(packet)


def hide(source: Path, target: Path, number: int) -> None:
    """A VP8 file of which one frame is decoded and not shown, as encoders write frames that others refer to."""
    data = bytearray(source.read_bytes())
    import av

    with av.open(str(source)) as file:
        packet = [packet for packet in file.demux(video=0) if packet.size][number]
        place = data.index(bytes(packet))
    data[place] &= ~0x10
    target.write_bytes(data)


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of the boxes in a stretch of an ISO file."""
    while start + 8 <= end:
        size, kind = struct.unpack(">I4s", data[start : start + 8])
        yield kind, start, start + size
        start += size


def box(kind: bytes, *parts: bytes) -> bytes:
    inside = b"".join(parts)
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


def trim(source: Path, target: Path, begin: int, frames: int) -> None:
    """An MP4 whose edit list begins some frames later and shows so many."""
    data = bytearray(source.read_bytes())
    movie = struct.unpack(">I", data[(place := data.index(b"mvhd") + 16) : place + 4])[0]
    media = struct.unpack(">I", data[(place := data.index(b"mdhd") + 16) : place + 4])[0]
    place = data.index(b"elst") + 12
    first = struct.unpack(">i", data[place + 4 : place + 8])[0]
    data[place : place + 8] = struct.pack(">Ii", frames * movie // RATE, first + begin * media // RATE)
    target.write_bytes(data)


def add_cover(source: Path, target: Path, first: bool, picture: bytes) -> None:
    """An MP4 with a cover, before its film or behind it."""
    data = source.read_bytes()
    item = box(b"covr", box(b"data", struct.pack(">II", 13, 0), picture))
    handler = box(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    udta = box(b"udta", box(b"meta", bytes(4), handler, box(b"ilst", item)))
    _, start, end = next(found for found in boxes(data, 0, len(data)) if found[0] == b"moov")
    parts = [data[a:b] for kind, a, b in boxes(data, start + 8, end) if kind != b"udta"]
    place = 1 if first else len(parts)
    target.write_bytes(data[:start] + box(b"moov", *parts[:place], udta, *parts[place:]) + data[end:])


def write_plain(folder: Path) -> None:
    """Every file of `PLAIN`, one of a single frame, one of sound alone."""
    import av

    from visagent.video.decode import write_video

    for name, (codec, options, b_frames) in PLAIN.items():
        write_video(folder / name, numbered(), codec, RATE, options, b_frames)
    write_video(folder / "one_frame.webm", numbered()[:1], VP9[0], RATE)
    with av.open(str(folder / "audio.webm"), "w") as file:
        stream = file.add_stream("libopus", rate=48000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 960 * 2), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48000, 0
        file.mux(stream.encode(frame))
        file.mux(stream.encode())


def write_odd(folder: Path) -> None:
    """Every file of `ODD`."""
    from PIL import Image

    frames = numbered()
    large = np.full((COUNT, 128, 160, 3), 90, np.uint8)
    latin = {"title": "caf\udce9", "comment": "\udcff\udcfe", "artist": "\udce4"}
    for suffix, codec in (("avi", MPEG4), ("mp4", H264), ("mov", MPEG4), ("mkv", H264), ("webm", VP9)):
        write(folder / f"latin1.{suffix}", codec, [frames], metadata=latin)
    for suffix in ("mp4", "mov"):
        plain = write(folder / f"plain.{suffix}", H264, [frames], b_frames=2)
        trim(plain, folder / f"edit_list.{suffix}", 10, 30)
        trim(plain, folder / f"edit_list_end.{suffix}", 0, 25)
        copy(plain, folder / f"copied_cut.{suffix}", 12, 16)
        plain.unlink()
    for number, turn in enumerate(TURNS):
        write(folder / f"turned_{number}.mp4", MPEG4, [stored(frames, turn)], turn=turn)
    for suffix, codec in (("mov", H264), ("mkv", H264), ("webm", VP9)):
        write(folder / f"turned_5.{suffix}", codec, [stored(frames, TURNS[5])], turn=TURNS[5])
    for suffix in ("mp4", "mkv", "avi"):
        write(folder / f"two.{suffix}", MPEG4, [frames, large])
    write(folder / "second_is_default.mkv", MPEG4, [large, frames], default=1)
    write(folder / "picture_first.mkv", MPEG4, [large[:1], frames])
    buffer = io.BytesIO()
    Image.new("RGB", (200, 200), (250, 250, 0)).save(buffer, "JPEG")
    for first in (True, False):
        add_cover(
            folder / "turned_0.mp4", folder / f"cover_{'first' if first else 'last'}.mp4", first, buffer.getvalue()
        )
    write(folder / "cover.mkv", MPEG4, [frames], cover=buffer.getvalue())
    smaller, larger = ((64, 96), (32, 48)), ((32, 48), (64, 96))
    for suffix, codec in (("webm", VP9), ("mp4", VP9), ("mkv", VP8), ("ts", H264)):
        change_size(folder / f"size_changes.{suffix}", codec, smaller)
    change_size(folder / "size_changes.avi", ("mjpeg", {}), smaller, "yuvj420p")
    change_size(folder / "size_grows.webm", VP9, larger)
    for suffix in ("mp4", "mkv"):
        change_size(folder / f"size_changes_h264.{suffix}", H264, smaller)
    change_size(folder / "size_changes_mpeg4.mp4", MPEG4, smaller)
    write(folder / "motion_jpeg.avi", ("mjpeg", {}), [frames], pix_fmt="yuvj420p")
    write(folder / "b_frames_h264.avi", H264, [frames], b_frames=2)
    write(folder / "b_frames.ts", H264, [frames], b_frames=2)
    copy(write(folder / "plain.mkv", H264, [frames]), folder / "starts_between_key_frames.mkv", 5, 5)
    write(folder / "odd_size.mp4", H264, [frames[:, :63, :95]], pix_fmt="yuv444p")
    write(folder / "odd_size.mkv", ("ffv1", {}), [frames[:, :63, :95]], pix_fmt="bgr0")
    vp8 = write(folder / "plain.webm", VP8, [frames])
    hide(vp8, folder / "hidden_vp8.webm", 7)
    avi = write(folder / "plain.avi", MPEG4, [frames])
    data = avi.read_bytes()
    for name, size in (("absurd", 0xFFFFFFFF), ("surplus", len(data) + 5000), ("zero", 0)):
        (folder / f"riff_{name}.avi").write_bytes(data[:4] + struct.pack("<I", size) + data[8:])
    for whole in (folder / "turned_0.mp4", avi, vp8, folder / "plain.mkv"):
        (folder / f"junk_behind{whole.suffix}").write_bytes(whole.read_bytes() + b"\x7fJUNK and more of it" * 20)
    data = bytearray(vp8.read_bytes())
    place = data.index(b"\x18\x53\x80\x67") + 4  # eight bytes: 0x01 and the segment's size
    data[place : place + 8] = struct.pack(">Q", 1 << 56 | 3 * len(data))
    (folder / "segment_surplus.webm").write_bytes(data)
    for whole in (vp8, avi, folder / "plain.mkv"):
        whole.unlink()


if __name__ == "__main__":
    write_plain(Path(sys.argv[1]))
    write_odd(Path(sys.argv[1]))
