"""What a video file's first bytes say: which container it is, and whether all of it is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MATROSKA, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


@dataclass(frozen=True)
class Container:
    """A file as found.

    Attributes:
        kind: `matroska` (and WebM), `mp4` (and QuickTime), `avi`, or `other`.
        bytes: its size.
        missing: bytes that it announces and does not have.
    """

    kind: str
    bytes: int
    missing: int

    @property
    def has_timestamps(self) -> bool:
        """Whether it says when each frame is shown, so that decoders agree on a frame's number."""
        return self.kind in ("matroska", "mp4")


def inspect(path: Path) -> Container:
    """Read the headers of a file.

    Raises:
        OSError: when it cannot be opened.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start.startswith(MATROSKA):
            return Container("matroska", size, max(0, _segment_end(file) - size))
        if start[4:8] in BOXES:
            return Container("mp4", size, max(0, _boxes_end(file, size) - size))
        if start[:4] == b"RIFF" and start[8:11] == b"AVI":
            return Container("avi", size, max(0, int.from_bytes(start[4:8], "little") + 8 - size))
    return Container("other", size, 0)


def _segment_end(file: BinaryIO) -> int:
    """Where a Matroska file's segment ends; 0 when it does not say (a live stream)."""
    file.seek(len(MATROSKA))
    header = _vint(file)
    if header is None:
        return 0
    file.seek(file.tell() + header)
    if file.read(len(SEGMENT)) != SEGMENT:
        return 0
    length = _vint(file)
    return 0 if length is None else file.tell() + length


def _vint(file: BinaryIO) -> int | None:
    """A number of variable length (RFC 8794); None for the reserved one that means unknown, and at the file's end."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    width = 9 - first[0].bit_length()
    rest = file.read(width - 1)
    value = int.from_bytes(bytes([first[0] & (0xFF >> width)]) + rest, "big")
    return None if len(rest) < width - 1 or value == (1 << 7 * width) - 1 else value


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last box of an ISO file ends (ISO/IEC 14496-12, Section 4.2)."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        length = int.from_bytes(file.read(4), "big")
        file.read(4)
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
        if length == 0:  # to the end of the file
            return size
        if length < 8:
            return 0
        position += length
    return position
