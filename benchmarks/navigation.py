"""Navigation: rollouts, rendering, scene making, memory, start-up."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.report import Part, Row, median_seconds
from visagent.actors.navigation_rollout import follow, rollout
from visagent.envs.navigation import NavigationObservation, NavigationWorld, SceneTables
from visagent.experience.navigation import Aggregate, NavigationSamples
from visagent.networks.navigation import NavigationNetwork, NavigationPolicy
from visagent.scenes.dump import read_dump
from visagent.scenes.layout import ROOM_TYPES, build_room
from visagent.scenes.make import make_scenes, recipes
from visagent.scenes.render import SceneRenderer

EPISODES, HORIZON = 1000, 300
PLAIN_STEPS = 400
SAMPLES = 115_000


def parts(device: str, long: bool) -> list[Part]:
    """All rows of the area."""
    torch.set_num_threads(1)
    return [
        Part("scenes, and rollouts in them", 150, lambda: _scenes(device)),
        Part("rendering", 20, _rendering),
        Part("memory", 1, lambda: [_memory()]),
        Part("start", 5, lambda: [_start_up()]),
    ]


def _scenes(device: str) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        yield _make_twenty(Path(folder))
        yield from _rollouts(Path(folder), device)


def _make_twenty(folder: Path) -> Row:
    began = time.perf_counter()
    for _ in make_scenes(folder, recipes()):
        pass
    return Row(
        "twenty scenes with features",
        time.perf_counter() - began,
        240.0,
        1.0,
        "min",
        "s",
        "limit: 4 minutes on two cores",
    )


def _rollouts(folder: Path, device: str) -> Iterator[Row]:
    names = ("bathroom_02", "bedroom_04", "living_room_05", "kitchen_02")
    tables = SceneTables([read_dump(folder / f"{name}.h5") for name in names])
    for width, projection, goal in (
        ("paper width (8192 inputs)", None, 100.0),
        ("laptop width (512 inputs)", 128, 1.0),
    ):
        torch.manual_seed(0)
        network = NavigationNetwork(tables, projection=projection).eval().to(device)
        batched, plain = _batched_rate(network, tables.to(device)), _plain_rate(network, tables.to(device))
        peer = "one episode at a time, same network"
        yield Row(f"rollout steps, {width}", batched, plain, goal, "max", "steps/s", peer)


def _starts(tables: SceneTables) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    targets = (
        torch.randint(tables.count, (20,), generator=rng).repeat_interleave(EPISODES // 20).to(tables.graph.device)
    )
    scene = tables.scene_of[targets]
    starts = tables.first[scene] + (torch.rand(EPISODES, generator=rng).to(targets.device) * tables.size[scene]).long()
    able = tables.distance(starts, targets) > 0
    return starts[able], targets[able]


def _batched_rate(network: NavigationNetwork, tables: SceneTables) -> float:
    """Steps per second of an untrained policy's evaluation, its precomputation included."""
    starts, targets = _starts(tables)
    steps = 0

    def run() -> None:
        nonlocal steps
        world = NavigationWorld(tables, HORIZON)
        steps = rollout(
            follow(NavigationPolicy(network), deterministic=False),
            world,
            starts,
            targets,
            torch.Generator().manual_seed(0),
        ).steps
        if tables.graph.is_cuda:
            torch.cuda.synchronize()

    return steps / seconds if (seconds := median_seconds(run, 3)) else 0.0


@torch.inference_mode()
def _plain_rate(network: NavigationNetwork, tables: SceneTables) -> float:
    """Steps per second of the loop that users write: one episode, one forward pass and one table look-up per step."""
    starts, targets = _starts(tables)

    def run() -> None:
        taken, episode = 0, 0
        while taken < PLAIN_STEPS:
            state, target = int(starts[episode]), int(targets[episode])
            scene = tables.scene_of[target : target + 1]
            history = [state] * 4
            for _ in range(HORIZON):
                observation = NavigationObservation(
                    torch.tensor([history], device=scene.device), torch.tensor([target], device=scene.device), scene
                )
                action = int(torch.distributions.Categorical(logits=network(observation).logits).sample())
                following = int(tables.graph[state, action])
                state = following if following >= 0 else state
                history = [*history[1:], state]
                taken += 1
                if state == target or taken >= PLAIN_STEPS:
                    break
            episode += 1

    return PLAIN_STEPS / median_seconds(run, 3)


def _rendering() -> Iterator[Row]:
    for kind in ROOM_TYPES:
        room = build_room(kind, 1, 1)
        with SceneRenderer(room, 1) as renderer:
            poses = slice(0, min(200, len(room.graph)))

            def run(
                renderer: SceneRenderer = renderer, location=room.location[poses], rotation=room.rotation[poses]
            ) -> None:  # type: ignore[no-untyped-def]
                for _ in renderer.frames(location, rotation):
                    pass

            rate = len(room.location[poses]) / median_seconds(run, 3, time.process_time)
        yield Row(f"rendering {kind} at 300x400", rate, 150.0, 1.0, "max", "frames/CPU-s", "limit: 150")


def _memory() -> Row:
    aggregate = Aggregate()
    for block in (48_000, SAMPLES - 48_000):
        zeros = NavigationSamples.empty()
        aggregate.append(NavigationSamples(*(t.new_zeros((block, *t.shape[1:])) for t in zeros.tensors())))
    return Row(
        f"DAgger data set of {SAMPLES:,} samples",
        aggregate.nbytes / 1e6,
        10.0,
        1.0,
        "min",
        "MB",
        "limit: 10 MB beside the features",
    )


def _start_up() -> Row:
    command = [shutil.which("visagent-train", path=str(Path(sys.executable).parent)) or "visagent-train", "--help"]
    durations = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        durations.append(time.perf_counter() - began)
    return Row("visagent-train --help", statistics.median(durations), 1.5, 1.0, "min", "s", "limit: 1.5 s")
