"""Actors: PPO against Stable-Baselines3, collection against plain loops, scaling over processes, pictures against a
copy of memory.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch

from benchmarks.report import Part, Row
from visagent.actors.pool import SerialActors
from visagent.actors.process import ProcessActors
from visagent.actors.roles import Task
from visagent.actors.segments import RolloutRoleFactory
from visagent.envs.gymnasium_world import GymnasiumWorlds
from visagent.envs.world import WorldFactory
from visagent.networks.actor_critic import ActorCritic
from visagent.testing.worlds import SleepingWorlds

ROUNDS = 5
BATCH = 2048
BATCHES = 6
CHEETAH = "HalfCheetah-v5"
PEERS = (("Dummy", 8), ("Dummy", 16), ("Subproc", 2), ("Subproc", 8))
SLEEP_S = 0.02
ACTORS = (1, 4, 16, 64)  # starting 64 processes takes two cores more than a minute


def parts(device: str, long: bool) -> list[Part]:
    """All rows of the area; the device plays no part."""
    torch.set_num_threads(1)
    peers = PEERS if long else PEERS[:1]  # a round of one of them takes half a minute
    rounds = 5 if long else 3
    counts = ACTORS if long else ACTORS[:3]
    others = [
        Part("collection", 30, _collection),
        Part("scaling over processes", 150 if long else 45, lambda: _scaling(counts)),
        Part("pictures", 15, lambda: [_pictures()]),
    ]
    if importlib.util.find_spec("stable_baselines3"):
        return [
            Part("PPO against Stable-Baselines3", 20 * rounds * (1 + len(peers)), lambda: [_training(rounds, peers)]),
            *others,
        ]
    print("skipped: PPO against Stable-Baselines3, which is not installed; type pip install stable_baselines3")
    return others


def _training(rounds: int, peers: Sequence[tuple[str, int]]) -> Row:
    """Whole training steps of PPO, each side in a process of its own, in turn; the same networks (64-64 tanh), batch,
    minibatch and passes.
    """
    ours: list[float] = []
    theirs: dict[tuple[str, int], list[float]] = {peer: [] for peer in peers}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            ours.append(_alone(f"_visagent({folder + '/' + str(number)!r})"))
            for kind, count in peers:
                theirs[kind, count].append(_alone(f"_stable_baselines({kind!r}, {count})"))
    best = max(peers, key=lambda peer: statistics.median(theirs[peer]))
    peer = f"Stable-Baselines3, best of its settings here: {best[0]} with {best[1]}"
    return Row(
        f"PPO on {CHEETAH}, training",
        statistics.median(ours),
        statistics.median(theirs[best]),
        2.0,
        "max",
        "steps/s",
        peer,
    )


def _alone(call: str) -> float:
    """What a function of this module returns in a process of its own."""
    code = f"from benchmarks import actors; print(actors.{call})"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent
    )
    return float(printed.stdout.split()[-1])


def _visagent(outputs: str) -> float:
    """Steps a second of `visagent-train` without its start, evaluation and tracking."""
    from hydra import compose, initialize_config_module

    from lightning_modules.ppo import PPO
    from visagent.config.schemas import register
    from visagent.runtime.train import train

    register()
    settings = [
        "experiment=ppo/half_cheetah", "name=benchmark", f"datamodule.iterations_per_epoch={BATCHES + 1}",
        "trainer.max_epochs=1", "datamodule.eval_episodes=1",
        "+trainer.limit_val_batches=0", "evaluate_after_training=false", "logger=none", "progress=none",
        f"paths.outputs={outputs}",
    ]  # fmt: skip
    with initialize_config_module("visagent.conf", version_base="1.3"):
        config = compose("train", settings)
    ends: list[float] = []
    step = PPO.training_step

    def timed(self: PPO, batch: object, index: int) -> None:
        step(self, batch, index)  # type: ignore[arg-type]
        ends.append(time.perf_counter())

    PPO.training_step = timed  # type: ignore[assignment, method-assign]
    train(config)
    return BATCH * BATCHES / (ends[-1] - ends[0])


def _stable_baselines(kind: str, count: int) -> float:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

    torch.set_num_threads(1)
    worlds = make_vec_env(CHEETAH, count, vec_env_cls=DummyVecEnv if kind == "Dummy" else SubprocVecEnv)
    model = PPO("MlpPolicy", worlds, n_steps=BATCH // count, batch_size=64, n_epochs=10, device="cpu", seed=0)
    model.learn(BATCH)
    began = time.perf_counter()
    model.learn(BATCH * BATCHES, reset_num_timesteps=False)
    taken = time.perf_counter() - began
    worlds.close()
    return BATCH * BATCHES / taken


def _roles(worlds: WorldFactory, count: int, steps: int) -> RolloutRoleFactory:
    torch.manual_seed(0)
    policy = ActorCritic(worlds.spaces(), [64, 64], [64, 64], "tanh", False, 0.0, True, 256, 0, True).eval()
    return RolloutRoleFactory(worlds, policy, count, steps, 0)


def _collection() -> list[Row]:
    """Two processes with their batches joined, against the loop of one process over the same worlds, and against two
    such loops at once.
    """
    make, context = _roles(GymnasiumWorlds(CHEETAH), 8, 128), multiprocessing.get_context("spawn")
    alone, together = SerialActors(make, 1), ProcessActors(make, 2, make.policy.state_dict())
    for actors in (alone, together):
        actors.publish(make.policy.state_dict(), 0)
        actors.collect(Task(0, 0, True))
    pipes = [context.Pipe() for _ in range(2)]
    loops = [context.Process(target=_loop, args=(theirs,), daemon=True) for _, theirs in pipes]
    for loop in loops:
        loop.start()

    def apart() -> None:
        for ours, _ in pipes:
            ours.send(3)
        for ours, _ in pipes:
            ours.recv()

    apart()
    one, two, both = [], [], []
    task = Task(0, 1, False)
    for _ in range(3 * ROUNDS):
        one.append(2 * 3 * 1024 / _seconds(lambda: [alone.collect(task) for _ in range(3)]))
        two.append(3 * 2048 / _seconds(lambda: [together.collect(task) for _ in range(3)]))
        both.append(3 * 2048 / _seconds(apart))
    for actors in (alone, together):
        actors.close()
    for ours, _ in pipes:
        ours.send(0)
    rate = statistics.median(two)
    return [
        Row(
            "collection, two processes",
            rate,
            statistics.median(one),
            0.85,
            "max",
            "steps/s",
            "twice one process's loop",
        ),
        Row(
            "collection, two processes",
            rate,
            statistics.median(both),
            0.9,
            "max",
            "steps/s",
            "two such loops at once: what the cores allow",
        ),
    ]


def _loop(pipe: Connection) -> None:
    """Make as many batches in one process as the pipe says, until it says 0."""
    torch.set_num_threads(1)
    make = _roles(GymnasiumWorlds(CHEETAH), 8, 128)
    actors = SerialActors(make, 1)
    actors.publish(make.policy.state_dict(), 0)
    actors.collect(Task(0, 0, True))
    while count := pipe.recv():
        for _ in range(count):
            actors.collect(Task(0, 1, False))
        pipe.send(count)
    actors.close()


def _seconds(function: Callable[[], object]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _scaling(counts: Sequence[int]) -> Iterator[Row]:
    """Steps a second of many processes whose worlds sleep, against as many times what the sleep alone allows."""
    make = _roles(SleepingWorlds(SLEEP_S), 1, 50)
    label, one = f"worlds that sleep {SLEEP_S * 1000:.0f} ms", 0.0
    for count in counts:
        actors = ProcessActors(make, count, make.policy.state_dict())
        actors.publish(make.policy.state_dict(), 0)
        actors.collect(Task(0, 0, True))

        def twice(actors: ProcessActors = actors) -> None:
            for _ in range(2):
                actors.collect(Task(0, 1, False))

        rates = [count * 100 / _seconds(twice) for _ in range(ROUNDS)]
        actors.close()
        rate = statistics.median(rates)
        if count == 1:
            one = rate
        else:
            yield Row(f"{label}, {count} processes", rate, count * one, 0.9, "max", "steps/s", f"{count} x one process")


def _pictures() -> Row:
    """Batches of 84 x 84 x 9 pictures from four processes to the learner, against copying as many bytes within one."""
    steps, count = 64, 4
    make = _roles(SleepingWorlds(0.0, 84), 1, steps)
    actors = ProcessActors(make, count, make.policy.state_dict(), ahead=1)
    actors.publish(make.policy.state_dict(), 0)
    size = actors.collect(Task(0, 0, True)).arrays["observation.pixels"].nbytes
    source, place = np.ones(size, np.uint8), np.empty(size, np.uint8)
    rates, limits = [], []
    for _ in range(ROUNDS):
        rates.append(8 * size / 1e6 / _seconds(lambda: [actors.collect(Task(0, 1, False)) for _ in range(8)]))
        limits.append(8 * size / 1e6 / _seconds(lambda: [np.copyto(place, source) for _ in range(8)]))
    actors.close()
    peer = "a copy of memory (goal none: acting on the pictures is included)"
    return Row(
        "pictures of 84 x 84 x 9, 4 processes to the learner",
        statistics.median(rates),
        statistics.median(limits),
        0.0,
        "max",
        "MB/s",
        peer,
    )
