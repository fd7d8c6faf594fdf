"""Video loading: the DataModule's loader with each backend against the decoder alone, and its memory over thousands of
clips.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.report import Part, Row
from visagent.video.decode import OPENED_AT_MOST

WORKERS = 2
FILES = 24
REPEATS = 6


def parts(device: str, long: bool) -> list[Part]:
    """All rows of the area; the device plays no part."""
    rounds, opened = (5, 5000) if long else (3, 2000)
    return [Part("loaders and memory", (700 if long else 280), lambda: _loaders(rounds, opened))]


def _loaders(rounds: int, opened: int) -> Iterator[Row]:
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with spawn.Pool(WORKERS) as pool:  # processes of their own: decord hides the encoders
            pool.map(partial(_write, folder), range(FILES))
        webm, avi = (
            "VP9 WebM 426 x 240, 48 frames (Something-Something V2)",
            "MPEG-4 AVI 320 x 240, 175 frames (UCF-101)",
        )
        for kind, label, backend, decode, goal in (
            ("webm", webm, "decord", _decord, 0.9),
            ("avi", avi, "decord", _pyav, 0.9),  # it reads AVI by PyAV
            ("webm", webm, "pyav", _pyav, 0.8),
            ("webm", webm, "torchcodec", _torchcodec, 0.8),
            ("avi", avi, "torchcodec", _torchcodec, 0.6),  # surveying the packets takes a share of what jumping leaves
        ):
            paths = sorted(str(path) for path in folder.glob(f"*.{kind}"))
            rates = [(_raw_rate(paths, decode), _loader_rate(paths, backend)) for _ in range(rounds)]
            limit, ours = (float(np.median(column)) for column in zip(*rates, strict=True))
            yield Row(
                f"loader, {backend}, {label}",
                ours,
                limit,
                goal,
                "max",
                "clips/s",
                f"{decode.__name__[1:]} alone, {WORKERS} processes",
            )
        some = sorted(str(path) for path in folder.glob("*.*"))[:: FILES // 2]
        for backend, limit in (("decord", 20.0), ("torchcodec", 200.0)):
            clips = min(opened, OPENED_AT_MOST.get(backend, opened))
            with spawn.Pool(1) as pool:
                growth = pool.apply(_growth, (some, backend, clips))
            yield Row(
                f"memory growth over {clips:,} clips, {backend}",
                max(growth, 0.1),
                limit,
                1.0,
                "min",
                "MB",
                f"limit: {limit:g} MB a process",
            )


def _write(folder: Path, number: int) -> None:
    """Film of moving things over a textured ground, at the bit rates of the real data."""
    from visagent.video.decode import write_video
    from visagent.video.synthetic import examples

    example = examples("bench", FILES, 240, 0)[number]
    frames = example.frames()
    wide = np.concatenate([frames, frames[:, :, ::-1]], axis=2)
    there_and_back = np.concatenate([wide, wide[::-1]] * 4)
    write_video(
        folder / f"{number:03d}.webm",
        there_and_back[:48, :, :426],
        "libvpx-vp9",
        12,
        {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "6"},
    )
    write_video(folder / f"{number:03d}.avi", there_and_back[:175, :, :320], "mpeg4", 25, {"b": "800000"})


def _decord(path: str) -> int:
    """Eight frames of a WebM file by decord's own calls."""
    import decord

    from visagent.video.sampling import random_segments

    reader = decord.VideoReader(path, num_threads=1)
    return len(reader.get_batch(random_segments(len(reader), 8, _rng(path))[0].tolist()).asnumpy())


def _pyav(path: str) -> int:
    """Eight frames by PyAV's own calls, from the start to the last one wanted."""
    import av

    from visagent.video.sampling import random_segments

    with av.open(path) as container:
        stream = container.streams.video[0]
        count = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)  # WebM does not say
        container.seek(0)
        wanted = random_segments(count, 8, _rng(path))[0].tolist()
        found = []
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                found.append(frame.to_ndarray(format="rgb24"))
            if number == max(wanted):
                break
    return len(found)


def _torchcodec(path: str) -> int:
    """Eight frames by torchcodec's own calls."""
    from torchcodec.decoders import VideoDecoder

    from visagent.video.sampling import random_segments

    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1)
    return len(decoder.get_frames_at(random_segments(len(decoder), 8, _rng(path))[0].tolist()).data.numpy())


def _rng(path: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(Path(path).name.encode()))


def _raw_rate(paths: Sequence[str], decode: Callable[[str], int]) -> float:
    """Clips per second of a decoder in as many processes as the loader has."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.map(decode, paths[: 2 * WORKERS], chunksize=1)
        began = time.perf_counter()
        pool.map(decode, list(paths) * REPEATS, chunksize=1)
        return REPEATS * len(paths) / (time.perf_counter() - began)


def _loader_rate(paths: Sequence[str], backend: str) -> float:
    """Clips per second from when each worker has sent its first batch."""
    from datamodules.action_recognition import ClipLoader
    from visagent.video.dataset import TrainingClips
    from visagent.video.layouts import Clip

    data = TrainingClips([Clip(path, 0) for path in paths], 8, 224, backend, [], False, 0, 0)
    numbers = list(range(len(paths))) * REPEATS
    loader = ClipLoader(data, [numbers[start : start + 8] for start in range(0, len(numbers), 8)], WORKERS, "", {}, 0.0)
    counted, began = 0, 0.0
    for number, batch in enumerate(loader):
        if number >= WORKERS:
            counted += len(batch)
        elif number == WORKERS - 1:
            began = time.perf_counter()
    return counted / (time.perf_counter() - began)


def _growth(paths: Sequence[str], backend: str, opened: int) -> float:
    """Megabytes that a process grows by between the five hundredth clip and the last."""
    from visagent.video.dataset import TrainingClips
    from visagent.video.layouts import Clip

    data = TrainingClips([Clip(path, 0) for path in paths], 1, 32, backend, [], False, 0, 0)
    early = 0.0
    for number in range(opened):
        data[number % len(paths)]
        if number == 500:
            early = _resident()
    return _resident() - early


def _resident() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6
