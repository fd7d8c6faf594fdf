"""Options: a whole training on Tool Delivery in CPU-seconds, and many episodes in one call against one after the
other.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.report import Part, Row
from visagent.envs.option_worlds import OptionWorld, OptionWorldFactory
from visagent.envs.tool_delivery import ToolDeliveryWorlds
from visagent.envs.water_filling import WaterFillingWorlds

ROUNDS = 3
LIMIT_S = 40.0
EPISODES, STEPS = 64, 200


def parts(device: str, long: bool) -> list[Part]:
    """All rows of the area; the device plays no part."""
    return [Part("trainings", 45 * ROUNDS, _trainings), Part("worlds", 10, _worlds)]


def _trainings() -> Iterator[Row]:
    trainings = [_training(seed) for seed in range(ROUNDS)]
    peer = f"limit of {LIMIT_S:.0f} (a plain prototype took 70 to 105)"
    yield Row("Tool Delivery, 60,000 low-level steps", statistics.median(trainings), LIMIT_S, 1.0, "min", "CPU s", peer)


def _worlds() -> Iterator[Row]:
    for name, worlds in (
        ("Tool Delivery", ToolDeliveryWorlds(horizon=10**6)),
        ("Water Filling", WaterFillingWorlds(horizon=10**6)),
    ):
        together, apart = _rate(worlds, 1, EPISODES), _rate(worlds, EPISODES, 1)
        yield Row(
            f"{name}, {EPISODES} episodes in one call",
            together,
            apart,
            5.0,
            "max",
            "steps/s",
            "the same code, one episode after the other",
        )


def _training(seed: int) -> float:
    """CPU-seconds of `visagent-train experiment=option_mappo/tool_delivery`, start, evaluation and pictures
    included.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings = [
            "experiment=option_mappo/tool_delivery",
            f"seed={seed}",
            "logger=none",
            "progress=none",
            f"paths.outputs={folder}",
        ]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [str(Path(sys.executable).parent / "visagent-train"), *settings]
        subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parent.parent)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _rate(worlds: OptionWorldFactory, batches: int, episodes: int) -> float:
    """Low-level steps a second of all episodes."""
    rng = np.random.default_rng(0)
    made: list[OptionWorld] = [worlds.make(episodes) for _ in range(batches)]
    active, sizes = np.ones(episodes, bool), worlds.spaces().sizes
    for world in made:
        world.reset(active, range(episodes))
    options = np.stack([rng.integers(0, size, (STEPS // 10, episodes)) for size in sizes], axis=-1)
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for world in made:
            for number in range(STEPS):
                step = world.step(options[number // 10], active)
                over = step.terminated | step.truncated
                if over.any():
                    world.reset(over, range(int(over.sum())))
        found.append(batches * episodes * STEPS / (time.perf_counter() - began))
    return statistics.median(found)
