"""Which frames of a video make a clip: the segment sampling of TSN (Wang et al. 2016) as RubiksNet uses it, and dense
sampling.

All return frame numbers from 0, `[views, T]`, for a video of `count` frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
DENSE_SPAN = 64
"""Frames that a densely sampled clip spans."""
DENSE_STARTS = 10
"""Clips of a densely sampled test video."""


def random_segments(count: int, frames: int, rng: np.random.Generator) -> Indices:
    """Training: one frame drawn from each of `frames` equal segments; a video with fewer frames than segments gives its
    first one.
    """
    length = count // frames
    if length == 0:
        return np.zeros((1, frames), np.int64)
    return (np.arange(frames) * length + rng.integers(length, size=frames))[None]


def middle_segments(count: int, frames: int) -> Indices:
    """One clip: the middle frame of each segment."""
    tick = count / frames
    return np.array([[int(tick / 2 + tick * segment) for segment in range(frames)]], np.int64)


def validation_segments(count: int, frames: int) -> Indices:
    """Like `middle_segments`; a video with no more frames than segments gives its first one, as in training."""
    return middle_segments(count, frames) if count > frames else np.zeros((1, frames), np.int64)


def two_clips(count: int, frames: int) -> Indices:
    """Two clips: the middle frames, and the first frames of the segments."""
    tick = count / frames
    first = np.array([[int(tick * segment) for segment in range(frames)]], np.int64)
    return np.concatenate([middle_segments(count, frames), first])


def random_dense(count: int, frames: int, rng: np.random.Generator) -> Indices:
    """Training on long videos: frames at even distances within a span of 64 from a random start, going round at the
    end.
    """
    starts = max(1, 1 + count - DENSE_SPAN)
    start = 0 if starts == 1 else int(rng.integers(0, starts - 1))
    return _dense(count, frames, start)[None]


def ten_dense(count: int, frames: int) -> Indices:
    """Testing on long videos: ten spans from start to end."""
    starts = max(1, 1 + count - DENSE_SPAN)
    return np.stack(
        [_dense(count, frames, int(start)) for start in np.linspace(0, starts - 1, num=DENSE_STARTS, dtype=int)]
    )


def _dense(count: int, frames: int, start: int) -> Indices:
    if frames > DENSE_SPAN:
        raise ValueError(
            f"dense sampling: expected at most {DENSE_SPAN} frames, the span that they lie in, got {frames}"
        )
    return (np.arange(frames, dtype=np.int64) * (DENSE_SPAN // frames) + start) % count
