"""What an entry of a data folder is, by its name: one rule for every layout.

Read are videos and pictures with a known suffix, and folders (of a class, or of a video's frames). Ignored is what an
operating system or another program hides there. Refused, by name, is everything else.
"""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Literal

VIDEO_SUFFIXES = (".webm", ".mp4", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")
PICTURES = (".jpg", ".jpeg", ".png")
HIDDEN = ("thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "lost+found")
"""Names in lower case that are nobody's data, besides those that begin with a dot."""
FLOW = re.compile(r"(^|[\W_])(flow|tvl#)([\W_]|$)|^[xyuv][\W_]*#$")
"""Series of optical flow that extractors leave beside the frames, such as flow_x_00001.jpg."""
Kind = Literal["video", "picture", "folder", "hidden", "other"]


def hidden(name: str) -> bool:
    """Whether an entry of this name is nobody's data."""
    return name.startswith(".") or name.lower() in HIDDEN


def kind(entry: Path) -> Kind:
    """What an entry of a folder is; one that is not there is taken by its name."""
    suffix = entry.suffix.lower()
    if hidden(entry.name):
        return "hidden"
    if suffix in VIDEO_SUFFIXES:
        return "video"
    if suffix in PICTURES:
        return "picture"
    return "folder" if entry.is_dir() else "other"


def frames_of(folder: Path) -> list[Path]:
    """The frames of a video that is kept as a folder of pictures, in the order of the numbers in their names.

    Optical flow beside them is left out.

    Raises:
        ValueError: when there are none, or names leave open which ones they are or in which order; the message names
            them.
    """
    names = sorted(entry.name for entry in folder.iterdir() if not hidden(entry.name))
    series: defaultdict[str, list[tuple[tuple[int, ...], str]]] = defaultdict(list)
    for name in names:
        stem, dot, suffix = name.rpartition(".")
        if f"{dot}{suffix.lower()}" in PICTURES:
            series[re.sub(r"\d+", "#", stem.lower())].append((tuple(map(int, re.findall(r"\d+", stem))), name))
    if not series:
        raise ValueError(
            f"it holds no frames ({', '.join(PICTURES)})" + (f" but {', '.join(names[:3])}" if names else "")
        )
    if not any("#" in pattern for pattern in series):  # names without numbers: in their own order
        return [folder / name for pictures in series.values() for _, name in pictures]
    frames = {pattern: pictures for pattern, pictures in series.items() if not FLOW.search(pattern)} or series
    if len(frames) > 1:
        several = ", ".join(
            f"{pictures[0][1]} and {len(pictures) - 1} more like it" for pictures in list(frames.values())[:3]
        )
        raise ValueError(f"expected one series of numbered pictures, got several: {several}")
    ((_, numbered),) = frames.items()
    numbered.sort()
    for (number, name), (following, other) in pairwise(numbered):
        if number == following:
            raise ValueError(f"expected one picture for each number, got {name} and {other}")
    return [folder / name for _, name in numbered]
