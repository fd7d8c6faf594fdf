"""Video loading: the DataModule's loader against the decoder alone, and its memory over thousands of clips."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.report import Row

WORKERS = 2
FILES = 24
REPEATS = 6
ROUNDS = 5
OPENED = 5000


def measure(device: str) -> list[Row]:
    """All rows of the area; the device plays no part."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with spawn.Pool(WORKERS) as pool:  # processes of their own: decord hides the encoders
            pool.map(partial(_write, folder), range(FILES))
        rows = []
        for kind, label, decode in (
            ("webm", "VP9 WebM 426 x 240, 48 frames (Something-Something V2)", _decord),
            ("avi", "MPEG-4 AVI 320 x 240, 175 frames (UCF-101)", _pyav),
        ):
            paths = sorted(str(path) for path in folder.glob(f"*.{kind}"))
            rates = [(_raw_rate(paths, decode), _loader_rate(paths)) for _ in range(ROUNDS)]
            limit, ours = (float(np.median(column)) for column in zip(*rates, strict=True))
            rows.append(Row(f"loader, {label}", ours, limit, 0.9, "max", "clips/s", f"{decode.__name__[1:]} alone, {WORKERS} processes"))
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


def _decord(path: str) -> int:
    """Eight frames of a WebM file by decord's own calls."""
    import decord

    from visagent.video.sampling import random_segments

    reader = decord.VideoReader(path, num_threads=1)
    return len(reader.get_batch(random_segments(len(reader), 8, _rng(path))[0].tolist()).asnumpy())


def _pyav(path: str) -> int:
    """Eight frames of an AVI file, which has no index worth the name: by PyAV's own calls from the start to the last one wanted."""
    import av

    from visagent.video.sampling import random_segments

    with av.open(path) as container:
        stream = container.streams.video[0]
        wanted = random_segments(stream.frames, 8, _rng(path))[0].tolist()
        found = []
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
            if number == max(wanted):
                break
    return len(found)


def _rng(path: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(Path(path).name.encode()))


def _raw_rate(paths: Sequence[str], decode: Callable[[str], int]) -> float:
    """Clips per second of a decoder in as many processes as the loader has."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.map(decode, paths[: 2 * WORKERS], chunksize=1)
        began = time.perf_counter()
        pool.map(decode, list(paths) * REPEATS, chunksize=1)
        return REPEATS * len(paths) / (time.perf_counter() - began)


def _loader_rate(paths: Sequence[str]) -> float:
    """Clips per second from when each worker has sent its first batch."""
    from datamodules.action_recognition import ClipLoader
    from visagent.video.dataset import TrainingClips
    from visagent.video.layouts import Clip

    data = TrainingClips([Clip(path, 0) for path in paths], 8, 224, "decord", [], False, 0, 0)
    numbers = list(range(len(paths))) * REPEATS
    loader = ClipLoader(data, [numbers[start : start + 8] for start in range(0, len(numbers), 8)], WORKERS, "", {}, 0.0)
    counted, began = 0, 0.0
    for number, batch in enumerate(loader):
        if number >= WORKERS:
            counted += len(batch)
        elif number == WORKERS - 1:
            began = time.perf_counter()
    return counted / (time.perf_counter() - began)


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
