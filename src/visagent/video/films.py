"""What of a video file is its film: which stream, which of its packets are shown, which way is up, how large.

Every backend obeys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
from av.sidedata.sidedata import SideData, Type
from av.stream import Disposition
from numpy.typing import NDArray

from visagent.video.containers import Container

HEADER_SURPLUS = 2
"""A container may announce so many frames more than it holds, where its codec delays them."""
BESIDE = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
"""Pictures that go with a film, such as a cover, and are none."""
VP8_SHOWN = 0x10
"""The bit of a VP8 frame's first byte that says that it is shown (RFC 6386, Section 9.1)."""
TURNED_WITHIN = ("h264", "hevc")
"""Codecs whose streams may say themselves which way is up."""
LAYER = re.compile(rb"\x00\x00\x01[\x20-\x2f].*?(?=\x00\x00\x01|\Z)", re.DOTALL)
"""MPEG-4's description of a stream (ISO/IEC 14496-2, Section 6.2.3)."""

if TYPE_CHECKING:
    Packet = av.Packet[av.VideoStream]
Picture = NDArray[np.uint8]
"""`[H, W, 3]`, RGB."""


class NoFilmError(Exception):
    """A file that opens, and holds no film or not all of it; the message says why."""


@dataclass(frozen=True)
class Film:
    """The film of an open file.

    Attributes:
        stream: that holds it.
        packets: of the stream, in the order of decoding, up to the one that empties the decoder.
        count: how many of them are shown; the decoder has the last word.
        steady: whether each packet has a time of its own, none is hidden, the first one is a key frame, and none
            describes another stream than the headers do: so that what a decoder returns after a jump is the frame that
            was wanted.
        alone: whether no other stream has pictures.
    """

    stream: av.VideoStream
    packets: list[Packet]
    count: int
    steady: bool
    alone: bool

    def frames(self) -> Iterator[av.VideoFrame]:
        """The frames that are shown, from the first one, each time anew."""
        self.stream.codec_context.flush_buffers()
        for packet in self.packets:
            yield from packet.decode()  # the decoder drops what is marked as discarded

    def upright(self, container: Container) -> bool:
        """Whether its frames are stored as they are shown; where its container or codec may say otherwise, the first
        one is decoded.
        """
        if not container.turned and self.stream.codec_context.codec.canonical_name not in TURNED_WITHIN:
            return True
        first = next(self.frames(), None)
        return first is None or Turn.of(first) == Turn()


@dataclass(frozen=True)
class Turn:
    """How stored frames become upright: transposed, then mirrored along either axis.

    The eight turns that need no interpolation.
    """

    transposed: bool = False
    upside_down: bool = False
    mirrored: bool = False

    @staticmethod
    def of(frame: av.VideoFrame) -> Turn:
        """What a frame's display matrix asks for, to the nearest quarter turn; none without one."""
        data = cast("Mapping[Type, SideData]", frame.side_data).get(
            Type.DISPLAYMATRIX
        )  # typed as if it held motion vectors alone
        if data is None:
            return Turn()
        # (x, y) is shown at (ax + cy, bx + dy)
        a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].astype(np.int64)
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return Turn(False, bool(d < 0), bool(a < 0))
        return Turn(True, bool(b < 0), bool(c < 0))

    def __call__(self, picture: Picture) -> Picture:
        """A stored picture upright."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]


def open_file(path: Path, probe: bool = True) -> av.container.InputContainer:
    """Open a video file with PyAV, whatever its metadata are encoded in.

    Args:
        path: of the file.
        probe: decode a little to learn what the headers do not say; without, it is several times as quick, and good for
            surveying containers whose headers say all that matters (`Container.has_timestamps`).

    Raises:
        av.FFmpegError: when it is none.
    """
    options = {} if probe else {"codec_whitelist": "none"}  # of the decoders that opening may use
    # absolute: "a:b.mp4" is no protocol
    return av.open(str(path.absolute()), metadata_errors="ignore", container_options=options)


def survey(file: av.container.InputContainer, container: Container) -> Film:
    """Read a file's packets, without decoding them, and say what its film is.

    Of several streams it is one with more than a single picture, marked as the default one, the first one, in this
    order.

    Raises:
        NoFilmError: when it has no stream of pictures, or announces bytes and frames that it does not have.
        av.FFmpegError: when it cannot be read.
    """
    if not (streams := [stream for stream in file.streams.video if not stream.disposition & BESIDE]):
        raise NoFilmError("it has no video stream")
    if not (streams := [stream for stream in streams if stream.codec_context is not None]):
        raise NoFilmError("there is no decoder for its codec")
    packets: dict[int, list[Packet]] = {stream.index: [] for stream in streams}
    end = 0.0
    for packet in file.demux() if container.missing else file.demux(streams):
        if packet.stream_index in packets:
            packets[packet.stream_index].append(cast("Packet", packet))
        if container.missing and packet.pts is not None and packet.time_base is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    shown = {
        stream.index: [packet for packet in packets[stream.index] if _is_shown(packet, stream)] for stream in streams
    }
    stream = max(
        streams,
        key=lambda stream: (
            len(shown[stream.index]) > 1,
            bool(stream.disposition & Disposition.default),
            -stream.index,
        ),
    )
    stream.codec_context.thread_count = 1
    ours, visible = packets[stream.index], shown[stream.index]
    whole = [packet for packet in ours if packet.size]
    if container.missing and _is_cut(file, stream, whole, end):
        raise NoFilmError(container.cut_off)
    times = {packet.pts for packet in visible}
    timed = len(visible) == len(whole) == len(times) and None not in times
    steady = (
        timed
        and bool(whole)
        and whole[0].is_keyframe
        and not any(_describes_another(packet, stream) for packet in whole if packet.is_keyframe)
    )
    return Film(stream, ours, len(visible), steady, len(file.streams.video) == 1)


def _is_shown(packet: Packet, stream: av.VideoStream) -> bool:
    if not packet.size or packet.is_discard:  # marked so by edit lists, and by cuts that begin between key frames
        return False
    return stream.codec_context.codec.canonical_name != "vp8" or bool(memoryview(packet)[0] & VP8_SHOWN)


def _describes_another(packet: Packet, stream: av.VideoStream) -> bool:
    """Whether a key frame brings a description of the stream (its size, its references) that its container's headers
    lack.
    """
    codec, headers = stream.codec_context.codec.canonical_name, stream.codec_context.extradata or b""
    if codec == "mpeg4":
        layer = LAYER.search(memoryview(packet))
        return layer is not None and layer.group() not in headers
    if codec not in ("h264", "hevc"):
        return False
    if headers[:1] != b"\x01":  # start codes instead of lengths: rare in containers with headers
        return True
    width = (headers[4 if codec == "h264" else 21] & 3) + 1
    data, position = memoryview(packet), 0
    while position + width < len(data):
        start = position + width
        position = start + int.from_bytes(data[position:start], "big")
        kind, picture, description = (
            (data[start] & 0x1F, range(1, 6), 7) if codec == "h264" else (data[start] >> 1 & 0x3F, range(32), 33)
        )
        if kind == description and bytes(data[start:position]) not in headers:
            return True
        if kind in picture:  # descriptions come first
            return False
    return False


def _is_cut(file: av.container.InputContainer, stream: av.VideoStream, packets: list[Packet], end: float) -> bool:
    """Whether frames are missing where bytes are: by their announced number, or else by the announced duration."""
    if any(packet.is_corrupt for packet in packets):
        return True
    if stream.frames:
        return stream.frames - len(packets) > HEADER_SURPLUS
    return file.duration is not None and end * (1 + 0.5 / max(1, len(packets))) < file.duration / av.time_base
