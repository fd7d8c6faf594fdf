"""Actors and shards of off-policy learning: rows say what happened, a shard that dies changes nothing."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

from visagent.actors.exploration import Exploration
from visagent.actors.pool import SerialActors
from visagent.actors.process import ProcessActors
from visagent.actors.roles import Task
from visagent.actors.shards import ReplayShards, ShardOrder
from visagent.actors.transitions import TransitionRoleFactory
from visagent.envs.gymnasium_world import GymnasiumWorlds
from visagent.experience.transitions import TransitionBatch
from visagent.networks.deterministic import DeterministicActorCritic
from visagent.networks.policy import PolicyStep
from visagent.seeding import derive_seed

NETWORK = {
    "actor_hidden": [8], "critic_hidden": [8], "critics": 1, "pixel_channels": [], "pixel_kernels": [],
    "pixel_strides": [], "pixel_features": 1,
    "layer_norm": False,
}  # fmt: skip
NOISE = Exploration("normal", 0.5, 0.15, 0.001)


def transitions(worlds, steps=9, count=2, workers=2, random_tasks=1):
    torch.manual_seed(0)
    policy = DeterministicActorCritic(worlds.spaces(), **NETWORK)
    return TransitionRoleFactory(
        worlds, worlds.spaces(), policy, NOISE, count, count * workers, steps, random_tasks, 10, 0
    ), policy


def test_rows_say_what_happened():
    worlds = GymnasiumWorlds("Pendulum-v1", max_steps=4, frame_stack=3)
    make, policy = transitions(worlds)
    actors = SerialActors(make, 2)
    actors.publish(policy.state_dict(), 0)
    for task in (Task(0, 0, True), Task(0, 1, False)):
        found = actors.collect(task)
        rows = found.arrays
        assert rows["length"].tolist() == [11] * 4 if task.begin else rows["length"].tolist() == [9 + 2] * 4
    last = rows["serial"][:, 10].copy()
    assert (np.diff(rows["serial"][:, :11]) == 1).all()  # what follows each other says so
    first = actors.collect(Task(1, 0, True)).arrays
    assert (first["serial"][:, 0] > last + 1).all()  # and what does not does not
    for stream in range(4):
        world = worlds.make()
        shown = world.reset(derive_seed(0, "world", 1, stream // 2, 0, stream % 2))["state"]
        number = 0
        for step in range(9):
            assert first["step"][stream, number] == step % 4 and not first["final"][stream, number]
            np.testing.assert_array_equal(first["observation.state"][stream, number], shown[-3:])
            observation, reward, over, cut = world.step(first["action"][stream, number])
            shown = observation["state"]
            assert first["reward"][stream, number] == pytest.approx(reward)
            assert (first["terminated"][stream, number], first["truncated"][stream, number]) == (over, cut)
            number += 1
            if cut:
                assert first["final"][stream, number] and first["step"][stream, number] == 4
                np.testing.assert_array_equal(first["observation.state"][stream, number], shown[-3:])
                shown, number = world.reset(None)["state"], number + 1
    spread = np.abs(first["action"][..., 0] - first["action"][:1, ..., 0]).mean(axis=1)
    assert [episode.steps for episode in found.episodes] == [4] * len(found.episodes) and spread[3] > spread[1]


class Named(DeterministicActorCritic):
    """A policy that always does a half, and an expert that does a quarter."""

    def act(self, observation, state=None, deterministic=False, generator=None):
        return PolicyStep(torch.full((2, 1), 0.5 if deterministic else 0.75), None, torch.zeros(2))

    def expert_action(self, observation):
        return torch.full((2, 1), 0.25)


@pytest.mark.parametrize(
    ("collect", "kind", "expected"),
    [
        ("policy", "normal", (None, 0.5)), ("policy", "policy", (None, 0.75)), ("dagger", "normal", (0.25, 0.5)),
        ("expert", "normal", (0.25, 0.25)), ("student", "normal", (0.5, 0.5)),
    ],
)  # fmt: skip
def test_who_acts(collect, kind, expected):
    worlds = GymnasiumWorlds("Pendulum-v1", max_steps=40)
    policy = Named(worlds.spaces(), **NETWORK)
    still = Exploration(kind, 0.0, 0.15, 0.001)
    make = TransitionRoleFactory(worlds, worlds.spaces(), policy, still, 2, 2, 3, 1, 10, 0, collect)
    actors = SerialActors(make, 1)
    actors.publish(policy.state_dict(), 0)
    for number, action in enumerate(expected):
        taken = actors.collect(Task(0, number, number == 0)).arrays["action"][:, :3]
        assert (taken == action).all() if action is not None else len(np.unique(taken)) > 4  # at random


def test_noise_is_wide_in_some_worlds_and_narrow_in_others():
    assert NOISE.sigma(2, 2, 4)[:, 0].tolist() == [0.25, 0.375] and NOISE.sigma(0, 1, 1).item() == pytest.approx(
        0.5 / 3
    )
    rng, walk = torch.Generator().manual_seed(0), Exploration("ornstein_uhlenbeck", 1.0, 0.15, 0.01)
    noise, found = torch.zeros(200, 1), []
    for _ in range(2000):
        noise = walk.next(noise, torch.ones(200, 1), rng)
        found.append(noise)
    late = torch.stack(found[1000:])
    assert late.std() == pytest.approx((1 / 0.3) ** 0.5, rel=0.1)  # sigma^2 / (2 theta)
    assert (late[1:] - late[:-1]).std() == pytest.approx(0.1, rel=0.05)


@pytest.mark.process
@pytest.mark.slow
def test_shards_in_processes_draw_what_shards_here_draw_even_when_they_are_killed(tmp_path):
    worlds = GymnasiumWorlds("Pendulum-v1", max_steps=4, frame_stack=2)
    make, policy = transitions(worlds)
    batches = []
    for kind in ("serial", "process", "killed"):
        actors = SerialActors(make, 2) if kind == "serial" else ProcessActors(make, 2, policy.state_dict())
        shards = ReplayShards(actors.slots, worlds.spaces(), str(tmp_path / kind), 0, 3, 4, 30, 40, 2, 5, 3, 0)
        for shard in range(3):
            shards.store(shard, fresh=True)
        replay = SerialActors(shards, 3) if kind == "serial" else ProcessActors(shards, 3, {}, ahead=1)
        actors.publish(policy.state_dict(), 0)
        written, found = np.zeros(4, np.int64), []
        for number in range(6):
            rows = actors.collect(Task(0, number, number == 0))
            if kind == "killed" and number in (2, 4):
                os.kill(replay._processes[number % 3].pid, signal.SIGKILL)
            replay.request(Task(0, number, False, order=ShardOrder(rows.slot, tuple(written.tolist()), 2, number)))
            drawn = replay.receive()
            written += rows.arrays["length"]
            found.append({name: array.copy() for name, array in drawn.arrays.items()})
        assert drawn.restarts == (2 if kind == "killed" else 0)
        batches.append(found)
        actors.close()
        replay.close()
    for other in batches[1:]:
        for ours, theirs in zip(batches[0], other, strict=True):
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    batch = TransitionBatch.join(batches[0][-1], 2, 36, 0, [], {})
    assert (
        batch.observation["state"].shape == (2, 15, 6)
        and batch.action.shape == (2, 15, 1)
        and batch.rewards.shape == (2, 15, 3)
    )
    assert not torch.equal(batch.action[0], batch.action[1]) and batch.steps.min() >= 1
    with pytest.raises(ValueError, match=r"TransitionBatch\.action: expected \[U, N, ...\] with \[U, N\] = \[2, 15\]"):
        TransitionBatch(**{**vars(batch), "action": batch.action[:1]})
