"""Perturbed policies: the noise table, many weight vectors at once, what an actor reports of each."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from visagent.actors.perturbations import PerturbationRoleFactory
from visagent.actors.pool import SerialActors
from visagent.actors.roles import Task
from visagent.envs import border
from visagent.envs.gymnasium_world import GymnasiumWorlds
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.errors import ConfigError
from visagent.experience.noise import NoiseTable
from visagent.experience.perturbations import PerturbationBatch
from visagent.networks.evolved import EvolvedPolicy
from visagent.testing.worlds import CountingWorlds


def evolved(spaces, **changed):
    torch.manual_seed(0)
    return EvolvedPolicy(spaces, **{"hidden": [6, 5], "bins": 0, "action_noise": 0.01, "normalize": True, **changed})


def test_every_process_maps_the_same_numbers(tmp_path):
    table = NoiseTable(str(tmp_path / "a"), 3, 5000)
    other = pickle.loads(pickle.dumps(table))
    offsets = table.offsets(4, 100, np.random.default_rng(0))
    assert np.array_equal(table.rows(offsets, 100), other.rows(offsets, 100)) and other.numbers.base is not None
    assert np.array_equal(NoiseTable(str(tmp_path / "b"), 3, 5000).numbers, table.numbers) and list(
        (tmp_path / "a").iterdir()
    ) == [table.path]
    assert not np.array_equal(NoiseTable(str(tmp_path / "b"), 4, 5000).numbers, table.numbers)
    assert abs(table.numbers.mean()) < 0.05 and abs(table.numbers.std() - 1) < 0.05
    assert table.offsets(3, 5000, np.random.default_rng(0)).tolist() == [0, 0, 0]
    with pytest.raises(ConfigError, match=r"datamodule\.noise_size: expected at least the 5001 parameters"):
        table.offsets(1, 5001, np.random.default_rng(0))


@pytest.mark.parametrize(("kind", "bins"), [("continuous", 0), ("continuous", 10), ("discrete", 0)])
def test_many_vectors_at_once_are_each_alone(kind, bins):
    policy = evolved(WorldSpaces({"state": (3,)}, ActionSpace(kind, 2)), bins=bins)
    policy.normalizer.update(torch.randn(50, 3) * 4)
    vectors, state = torch.randn(4, len(policy.vector)), torch.randn(4, 3)
    together = policy.outputs(vectors, state)
    for place in range(4):
        first, second, last = vectors[place, :18].view(3, 6), vectors[place, 24:54].view(6, 5), vectors[place, 59:]
        hidden = torch.tanh(policy.normalizer(state[place]) @ first + vectors[place, 18:24])
        hidden = torch.tanh(hidden @ second + vectors[place, 54:59])
        width = len(last) // 6
        expected = hidden @ last[: 5 * width].view(5, width) + last[5 * width :]
        torch.testing.assert_close(together[place], expected.tanh() if kind == "continuous" and not bins else expected)
    actions = policy.choose(together, False, torch.Generator().manual_seed(0))
    if kind == "discrete":
        assert actions.tolist() == together.argmax(-1).tolist()
    elif bins:
        assert set(((actions + 1) * 4.5).round(decimals=4).flatten().tolist()) <= set(range(10)) and actions.shape == (
            4,
            2,
        )
    else:
        assert 0 < (actions - together).abs().max() < 0.06 and torch.equal(
            policy.choose(together, True, None), together
        )


def test_pixels_are_refused():
    with pytest.raises(ConfigError, match="an evolved policy sees states alone, got pixels"):
        evolved(WorldSpaces({"pixels": (3, 44, 44)}, ActionSpace("discrete", 2)))


def test_an_actor_reports_what_each_perturbed_policy_earned(tmp_path):
    worlds = GymnasiumWorlds("CartPole-v1", max_steps=40)
    policy, table = evolved(worlds.spaces()), NoiseTable(str(tmp_path), 0, 5000)
    actors = SerialActors(
        PerturbationRoleFactory(worlds, policy, table, pairs=3, episodes=2, count=4, sigma=0.5, seed=0), 2
    )
    actors.publish(policy.state_dict(), 0)
    found = actors.collect(Task(0, 0, True))
    batch = PerturbationBatch.join(found.arrays, 0, found.episodes, found.timing)
    assert len(batch.episodes) == 2 * 3 * 2 * 2 and batch.env_steps == sum(episode.steps for episode in batch.episodes)
    np.testing.assert_allclose(batch.returns * 2, batch.steps)  # CartPole pays 1 a step; the mean of two episodes
    assert batch.seen[0].sum() == batch.env_steps and len(set(batch.offset.tolist())) == 6
    assert batch.returns.std() > 1 and batch.returns[:, 0].tolist() != batch.returns[:, 1].tolist()
    copied = {name: array.copy() for name, array in found.arrays.items()}
    again = actors.collect(Task(0, 0, True))
    assert all(np.array_equal(copied[name], again.arrays[name]) for name in copied)
    with pytest.raises(ValueError, match=r"PerturbationBatch\.returns: expected \[P, 2\] = \[6, 2\]"):
        PerturbationBatch(**{**vars(batch), "returns": batch.returns[:2]})


def test_an_episode_without_an_end_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(border, "LONGEST", 30)
    worlds = CountingWorlds(10**6)
    policy = evolved(worlds.spaces())
    actors = SerialActors(
        PerturbationRoleFactory(worlds, policy, NoiseTable(str(tmp_path), 0, 500), 1, 1, 2, 0.1, 0), 1
    )
    actors.publish(policy.state_dict(), 0)
    with pytest.raises(
        border.WorldError, match=r"CountingWorlds: expected an episode to end, got 30 steps without an end"
    ):
        actors.collect(Task(0, 0, True))


def test_what_was_seen_is_counted_whole(tmp_path):
    worlds = CountingWorlds(4)
    policy = evolved(worlds.spaces())
    actors = SerialActors(
        PerturbationRoleFactory(worlds, policy, NoiseTable(str(tmp_path), 0, 500), 3, 1, 4, 0.1, 0), 1
    )
    actors.publish(policy.state_dict(), 0)
    found = actors.collect(Task(0, 0, True))
    assert found.arrays["steps"].tolist() == [[4, 4]] * 3 and found.arrays["seen_count"].tolist() == [24]
    assert found.arrays["seen_mean"].tolist() == [[1.5]] and found.arrays["seen_spread"][0, 0] == pytest.approx(6 * 5.0)
