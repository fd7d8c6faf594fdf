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
from numpy.typing import NDArray

from visagent.errors import ConfigError, MissingFileError
from visagent.video.clip_lists import SPLITS
from visagent.video.decode import OPENED_AT_MOST, VideoError, count_frames, read_frames, require
from visagent.video.layouts import FOLDS, LAYOUTS, WITH_FOLDS, has_fold, read, video_files
from visagent.video.sampling import middle_segments

DIFFERENCE = 8.0
"""Mean difference of pixel values above which two decoders mean different frames; converting colours differs by up to
3.
"""
FRAMES = 8


@dataclass(frozen=True)
class Verdict:
    """One video: how many frames it has, or why it cannot be used."""

    path: str
    frames: int
    problem: str | None


def videos_of(root: Path, layout: str | None) -> list[str]:
    """All videos that a data set lists in either split and any fold that is there, or, without a layout, all video
    files below a folder.

    Raises:
        ConfigError: when there are none.
        MissingFileError: when the folder or one of its lists is not there.
    """
    if not root.is_dir():
        raise MissingFileError(f"no folder {root}")
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(f"--layout: expected one of {', '.join(LAYOUTS)}, got {layout!r}")
    if layout is None:
        videos = video_files(root)
    else:
        folds = FOLDS if layout in WITH_FOLDS else FOLDS[:1]
        listed = [
            (split, fold) for fold in folds for split in SPLITS if fold == FOLDS[0] or has_fold(layout, root, fold)
        ]
        videos = list(
            dict.fromkeys(clip.path for split, fold in listed for clip in read(layout, root, split, fold).clips)
        )
    if not videos:
        raise ConfigError(f"{root}: no videos found; name the layout with --layout")
    return videos


def verify(path: str, backend: str) -> Verdict:
    """Decode a video from its beginning, and check that the frames a training would ask for are those."""
    counted = 0

    def sampled_and_last(count: int) -> NDArray[np.int64]:
        nonlocal counted
        counted = count
        return np.append(middle_segments(count, FRAMES)[0], count - 1)

    def sampled(count: int) -> NDArray[np.int64]:
        wanted: NDArray[np.int64] = np.minimum(middle_segments(counted, FRAMES)[0], count - 1)
        return wanted

    try:
        if Path(path).is_dir():
            for number in range(count_frames(path)):
                read_frames(path, lambda _, number=number: np.array([number]))  # type: ignore[misc]
        expected = read_frames(path, sampled_and_last, "pyav")[:-1]
        drawn = read_frames(path, sampled, backend)
    except VideoError as error:
        return Verdict(path, 0, error.reason)
    if drawn.shape != expected.shape:
        return Verdict(
            path,
            counted,
            f"{backend} sees {drawn.shape[2]} x {drawn.shape[1]} pixels, PyAV {expected.shape[2]} x "
            f"{expected.shape[1]}",
        )
    apart = np.abs(drawn.astype(np.int16) - expected).mean(axis=(1, 2, 3))
    if apart.max() > DIFFERENCE:
        return Verdict(
            path, counted, f"{backend} returns other frames than were asked for: use datamodule.backend=pyav"
        )
    return Verdict(path, counted, None)


def verify_all(paths: Sequence[str], backend: str, workers: int | None) -> Iterator[Verdict]:
    """Verdicts in order, from several processes, which are replaced where the backend needs that.

    Raises:
        ConfigError: when the backend is not installed.
    """
    require(backend)
    some = OPENED_AT_MOST.get(backend, len(paths)) or 1
    for start in range(0, len(paths), some):
        with ProcessPoolExecutor(workers or os.cpu_count(), get_context("spawn")) as pool:
            yield from pool.map(partial(verify, backend=backend), paths[start : start + some], chunksize=4)
