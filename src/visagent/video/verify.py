"""Find the videos of a data set that cannot be read, before a training meets them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from visagent.errors import ConfigError, MissingFileError
from visagent.video.decode import VideoError, all_frames, read_frames
from visagent.video.layouts import LAYOUTS, VIDEO_SUFFIXES, read
from visagent.video.sampling import middle_segments

DIFFERENCE = 8.0
"""Mean difference of pixel values above which two decoders mean different frames; converting colours differs by up to 3."""
FRAMES = 8

_MARKS = {
    "something_v2": ("20bn-something-something-v2", "20bn-something-something-v2-frames"),
    "something_v1": ("20bn-something-something-v1",),
    "ucf101": ("UCF-101",),
    "hmdb51": ("hmdb51_org",),
    "kinetics": ("train", "training"),
}


@dataclass(frozen=True)
class Verdict:
    """One video: how many frames it has, or why it cannot be used."""

    path: str
    frames: int
    problem: str | None


def detect(root: Path) -> str | None:
    """The layout that a folder has, or None."""
    return next((layout for layout, marks in _MARKS.items() if any((root / mark).is_dir() for mark in marks)), None)


def videos_of(root: Path, layout: str | None) -> list[str]:
    """All videos that a data set lists in either split and any fold, or, without a layout, all video files below a folder.

    Raises:
        ConfigError: when there are none.
        MissingFileError: when the folder or one of its lists is not there.
    """
    if not root.is_dir():
        raise MissingFileError(f"no folder {root}")
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(f"--layout: expected one of {', '.join(LAYOUTS)}, got {layout!r}")
    if layout is None:
        found = [str(path) for path in sorted(root.rglob("*")) if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    else:
        folds = (1, 2, 3) if layout in ("ucf101", "hmdb51") else (1,)
        found = list(dict.fromkeys(clip.path for split in ("train", "val") for fold in folds for clip in read(layout, root, split, fold).clips))
    if not found:
        raise ConfigError(f"{root}: no videos found; name the layout with --layout")
    return found


def verify(path: str, backend: str) -> Verdict:
    """Decode a video from its beginning, and check that the frames a training would ask for are those."""
    try:
        everything = all_frames(path)
        wanted = middle_segments(len(everything), FRAMES)[0]
        drawn = read_frames(path, lambda count: np.minimum(wanted, count - 1), backend)
    except VideoError as error:
        return Verdict(path, 0, error.reason)
    if drawn.shape[1:] != everything.shape[1:]:
        return Verdict(path, len(everything), f"{backend} sees {drawn.shape[2]} x {drawn.shape[1]} pixels, PyAV {everything.shape[2]} x {everything.shape[1]}")
    apart = np.abs(drawn.astype(np.int16) - everything[wanted]).mean(axis=(1, 2, 3))
    if apart.max() > DIFFERENCE:
        return Verdict(path, len(everything), f"{backend} returns other frames than were asked for: use datamodule.backend=pyav")
    return Verdict(path, len(everything), None)


def verify_all(paths: Sequence[str], backend: str, workers: int | None) -> Iterator[Verdict]:
    """Verdicts in order, from several processes."""
    with ProcessPoolExecutor(workers or os.cpu_count(), get_context("spawn")) as pool:
        yield from pool.map(partial(verify, backend=backend), paths, chunksize=4)
