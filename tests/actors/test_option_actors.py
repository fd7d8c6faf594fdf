"""Actors that run options: what is written of each decision, where batches and episodes end."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from visagent.actors.option_actors import OptionRoleFactory, RunThrough, run_option_episodes
from visagent.actors.pool import SerialActors
from visagent.actors.process import ProcessActors
from visagent.actors.roles import Task
from visagent.envs.tool_delivery import ToolDeliveryWorlds
from visagent.errors import ConfigError
from visagent.experience.option_decisions import OptionBatch
from visagent.networks.option_policies import OptionActorCritic, Situation

GAMMA = 0.9


def roles(scheme="async", steps=40, horizon=60, coupling="joint", critic="observations"):
    torch.manual_seed(0)
    worlds = ToolDeliveryWorlds(horizon=horizon)
    worlds = worlds.primitives() if scheme == "end2end" else worlds
    policy = OptionActorCritic(worlds.spaces(), coupling, [16], [16], critic).eval()
    return OptionRoleFactory(worlds, scheme, policy, 3, steps, GAMMA, 7)


def collect(make, tasks=3, workers=1):
    actors = SerialActors(make, workers)
    actors.publish(make.policy.state_dict(), 0)
    found = []
    for number in range(tasks):
        collected = actors.collect(Task(0, number, number == 0))
        arrays = {name: array.copy() for name, array in collected.arrays.items()}
        found.append(OptionBatch.join(arrays, 0, collected.episodes, {}))
    return found


@pytest.mark.parametrize("scheme", ["async", "sync_wait", "sync_cut", "end2end"])
def test_what_is_written(scheme):
    batches = collect(roles(scheme))
    episodes = [episode for batch in batches for episode in batch.episodes]
    for batch in batches:
        assert bool((batch.duration.sum(dim=0) >= 40).all()) and bool((batch.duration.sum(dim=0) <= 40 + 17).all())
        assert bool(batch.choosing[batch.valid].any(dim=-1).all()) and not batch.duration[~batch.valid].any()
        assert (scheme == "async") != bool(batch.choosing[batch.valid].all())
        if scheme == "end2end":
            assert batch.duration[batch.valid].unique().tolist() == [1]
        # A turtlebot that goes on does so with the option that ran before; after an episode's end all choose.
        for world in range(3):
            for k in range(1, int(batch.length[world])):
                over = bool(batch.terminated[k - 1, world] | batch.truncated[k - 1, world])
                goes_on = ~batch.choosing[k, world]
                assert not (over and bool(goes_on.any()))
                assert torch.equal(batch.options[k, world][goes_on], batch.options[k - 1, world][goes_on])
    assert len(episodes) >= 3 and all(episode.steps <= 60 for episode in episodes)
    for world in range(3):  # with the reward -1 of most steps the sums can be checked
        batch = batches[0]
        k = next(
            k for k in range(int(batch.length[world])) if batch.total_reward[k, world] == -batch.duration[k, world]
        )
        d = int(batch.duration[k, world])
        assert (
            float(batch.reward[k, world]) == pytest.approx(-(1 - GAMMA**d) / (1 - GAMMA), rel=1e-5)
            and batch.last_reward[k, world] == -1
        )
    paid = sum(float(batch.total_reward.sum()) for batch in batches)
    assert paid <= -sum(batch.env_steps for batch in batches) + 300 * (len(episodes) + 3)


@pytest.mark.parametrize("scheme", ["async", "sync_wait", "sync_cut", "end2end"])
def test_episodes_may_end_after_so_many_option_steps(scheme):
    make = dataclasses.replace(roles(scheme, horizon=10**6), max_option_steps=5)
    (batch,) = collect(make, tasks=1)
    for world in range(3):
        (ends,) = np.nonzero(batch.truncated[: int(batch.length[world]), world].numpy())
        assert len(ends) and ends.tolist() == list(range(4, int(batch.length[world]), 5))
    assert not batch.terminated.any() and all(episode.option_steps == 5 for episode in batch.episodes)
    episodes = run_option_episodes(make.policy, make.worlds, scheme, (1, 2, 3), False, max_option_steps=5)
    assert [episode.option_steps for episode in episodes] == [5, 5, 5]


def test_nothing_to_choose_is_an_error():
    make = roles()
    through = RunThrough(make.worlds, "async", 3)
    through.reset(np.ones(3, bool), (0, 1, 2))
    through.world.always = through.world.always.copy()
    through.world.always[1, 3:6] = False
    with pytest.raises(ConfigError, match="turtlebot_1 is to choose, and none of GoToWS, GoToTR, GetTool is available"):
        through.decide(make.policy, through.scheme.choosing(), np.arange(3), False, torch.Generator())


def test_values_and_log_probabilities_are_the_policys():
    make = roles(coupling="partial", critic="local", horizon=50)
    for batch in collect(make):
        valid = batch.valid
        situation = Situation(
            *(getattr(batch, name)[valid] for name in ("observation", "options", "choosing", "available"))
        )
        torch.testing.assert_close(make.policy.values(situation).detach(), batch.value[valid])
        torch.testing.assert_close(
            make.policy.evaluate_options(situation).log_prob.detach(), batch.log_prob[valid], atol=1e-6, rtol=0
        )
        assert bool((batch.final_value[batch.truncated] != 0).all()) and not batch.final_value[~batch.truncated].any()
        assert batch.last_value.shape == (3, 3)
    assert any(batch.truncated.any() for batch in collect(make))


def test_the_next_batch_goes_on_where_one_ended():
    """Two batches of 20 low-level steps and one of 40 are made of the same episodes, where the random numbers drawn are
    the same.
    """
    small, large = collect(roles(steps=20), 2), collect(roles(steps=4), 12)
    assert float(small[0].observation[0, 0, 3]) == 1.0  # every episode begins nowhere
    for batches in (small, large):
        for before, after in itertools.pairwise(batches):
            for world in range(3):
                last = int(before.length[world]) - 1
                if before.terminated[last, world] or before.truncated[last, world]:
                    assert bool(after.choosing[0, world].all())
                else:
                    goes_on = ~after.choosing[0, world]
                    assert torch.equal(after.options[0, world][goes_on], before.options[last, world][goes_on])


@pytest.mark.process
def test_processes_make_the_serial_batches():
    make = roles()
    serial, processes = SerialActors(make, 2), ProcessActors(make, 2, make.policy.state_dict())
    try:
        for actors in (serial, processes):
            actors.publish(make.policy.state_dict(), 0)
        for number in range(2):
            one, other = (actors.collect(Task(1, number, number == 0)) for actors in (serial, processes))
            assert one.arrays.keys() == other.arrays.keys()
            for name, array in one.arrays.items():
                assert np.array_equal(array, other.arrays[name]), name
            assert one.episodes == other.episodes
    finally:
        processes.close()


def test_evaluation_is_repeatable_and_of_whole_episodes():
    make = roles()
    first, again = (run_option_episodes(make.policy, make.worlds, "async", (1, 2, 3, 4), False) for _ in range(2))
    assert first == again and all(episode.steps == 60 and episode.success is False for episode in first)
    assert all(episode.paper_metric == pytest.approx(episode.last_rewards / episode.option_steps) for episode in first)
    greedy = run_option_episodes(make.policy, make.worlds, "async", (1, 2), True)
    assert greedy[0] == greedy[1]  # nothing is drawn
