"""What a video file's headers say: which container it is, and whether all of it is there.

Hints: the decoder has the last word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MATROSKA, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
CLUSTER, POSE = b"\x1f\x43\xb6\x75", re.compile(rb"\x76[\x73-\x75][\x84\x88]")
"""Matroska: where frames begin, and what looks like a rotation (ProjectionPoseYaw, Pitch or Roll, a float)."""
HEADERS = 1 << 16
"""Bytes in which the first cluster is looked for."""


@dataclass(frozen=True)
class Container:
    """A file as found.

    Attributes:
        kind: `matroska` (and WebM), `mp4` (and QuickTime), `avi`, or `other`.
        bytes: its size.
        missing: bytes that it announces and does not have. A hint: live recordings, repaired files and junk at the end
            announce too much.
        turned: whether its frames may have to be turned to be upright.
    """

    kind: str
    bytes: int
    missing: int
    turned: bool = True

    @property
    def has_timestamps(self) -> bool:
        """Whether it says when each frame is shown, so that decoders agree on a frame's number."""
        return self.kind in ("matroska", "mp4")

    @property
    def cut_off(self) -> str:
        """What is said of a file of which frames are missing too."""
        return f"it is cut off: {self.missing} of {self.missing + self.bytes} bytes are missing"


def inspect(path: Path) -> Container:
    """Read the headers of a file.

    Raises:
        OSError: when it cannot be opened.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start.startswith(MATROSKA):
            missing = max(0, _segment_end(file) - size)
            file.seek(0)
            headers, cluster, _ = file.read(HEADERS).partition(CLUSTER)
            return Container("matroska", size, missing, not cluster or POSE.search(headers) is not None)
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
