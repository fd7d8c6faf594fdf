"""Video loading: the DataModule's loader against the decoder alone, and its memory over thousands of clips."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.report import Row

WORKERS = 2
FILES = 24
ROUNDS = 3
OPENED = 5000


def measure(device: str) -> list[Row]:
    """All rows of the area; the device plays no part."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with spawn.Pool(WORKERS) as pool:  # processes of their own: decord hides the encoders
            pool.map(partial(_write, folder), range(FILES))
        rows = []
        for kind, label in (("webm", "VP9 WebM 426 x 240, 48 frames (Something-Something V2)"), ("avi", "MPEG-4 AVI 320 x 240, 175 frames (UCF-101)")):
            paths = sorted(str(path) for path in folder.glob(f"*.{kind}"))
            rates = [(_raw_rate(paths), _loader_rate(paths)) for _ in range(ROUNDS)]
            limit, ours = (float(np.median(column)) for column in zip(*rates, strict=True))
            rows.append(Row(f"loader, {label}", ours, limit, 0.9, "max", "clips/s", f"decoding alone, {WORKERS} processes"))
        with spawn.Pool(1) as pool:
            growth = pool.apply(_growth, (sorted(str(path) for path in folder.glob("*.*"))[:: FILES // 2],))
        rows.append(Row(f"memory growth over {OPENED:,} clips", max(growth, 0.1), 20.0, 1.0, "min", "MB", "limit: 20 MB"))
    return rows


def _write(folder: Path, number: int) -> None:
    """Film of moving things over a textured ground, at the bit rates of the real data."""
    from visagent.video.decode import write_video
    from visagent.video.synthetic import examples

    example = examples("bench", FILES, 240, 0)[number]
    frames = example.frames()
    wide = np.concatenate([frames, frames[:, :, ::-1]], axis=2)
    there_and_back = np.concatenate([wide, wide[::-1]] * 4)
    write_video(folder / f"{number:03d}.webm", there_and_back[:48, :, :426], "libvpx-vp9", 12, {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "6"})
    write_video(folder / f"{number:03d}.avi", there_and_back[:175, :, :320], "mpeg4", 25, {"b": "800000"})


def _decode(path: str) -> int:
    """Eight frames as training asks for them, by the backend that serves the file."""
    from visagent.video.decode import read_frames
    from visagent.video.sampling import random_segments

    rng = np.random.default_rng(0)
    return len(read_frames(path, lambda count: random_segments(count, 8, rng)[0]))


def _raw_rate(paths: Sequence[str]) -> float:
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.map(_decode, paths[: 2 * WORKERS], chunksize=1)
        began = time.perf_counter()
        pool.map(_decode, list(paths) * 2, chunksize=1)
        return 2 * len(paths) / (time.perf_counter() - began)


def _loader_rate(paths: Sequence[str]) -> float:
    """Clips per second once the workers run."""
    from datamodules.action_recognition import ClipLoader
    from visagent.video.dataset import TrainingClips
    from visagent.video.layouts import Clip

    data = TrainingClips([Clip(path, 0) for path in paths], 8, 224, "decord", [], False, 0, 0)
    numbers = list(range(len(paths))) * 4
    loader = ClipLoader(data, [numbers[start : start + 8] for start in range(0, len(numbers), 8)], WORKERS, "", {}, None)
    counted, began = 0, 0.0
    for batch in loader:
        if counted == 0:
            began = time.perf_counter()
        counted += len(batch)
    return (counted - 8) / (time.perf_counter() - began)


def _growth(paths: Sequence[str]) -> float:
    """Megabytes that a process grows by between the five hundredth clip and the last."""
    from visagent.video.dataset import TrainingClips
    from visagent.video.layouts import Clip

    data = TrainingClips([Clip(path, 0) for path in paths], 1, 32, "decord", [], False, 0, 0)
    early = 0.0
    for number in range(OPENED):
        data[number % len(paths)]
        if number == 500:
            early = _resident()
    return _resident() - early


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
