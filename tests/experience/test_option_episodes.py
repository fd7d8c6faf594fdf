"""Whole episodes of decisions: put together over batches, kept, drawn."""

from __future__ import annotations

import torch

from visagent.actors.option_actors import OptionRoleFactory
from visagent.actors.pool import SerialActors
from visagent.actors.roles import Task
from visagent.experience.option_decisions import OptionBatch
from visagent.experience.option_episodes import EpisodeBuffer
from visagent.networks.scripted_options import UniformOptions
from visagent.testing.option_worlds import MeetingWorlds


class Uniform(UniformOptions):
    parts = values_count = 1

    def __init__(self, spaces):
        super().__init__(spaces)
        self.spaces = spaces

    def values(self, situation):
        return torch.zeros(len(situation.observation), 1)


def collect(buffer, tasks, horizon=12):
    worlds = MeetingWorlds(horizon)
    actors = SerialActors(OptionRoleFactory(worlds, "async", Uniform(worlds.spaces()), 2, 7, 1.0, 0), 1)
    buffer.begin(2)
    paid, ended = 0.0, []
    for number in range(tasks):
        found = actors.collect(Task(0, number, number == 0))
        batch = OptionBatch.join({name: array.copy() for name, array in found.arrays.items()}, 0, found.episodes, {})
        ended += found.episodes
        buffer.add(batch)
        paid += float(batch.total_reward.sum())
    return ended, paid


def test_episodes_are_whole_over_several_batches():
    buffer = EpisodeBuffer(MeetingWorlds(12).spaces(), 50, 12)
    ended, _ = collect(buffer, 9)
    assert len(buffer) == len(ended) >= 6
    for place, episode in enumerate(ended):
        length = int(buffer.length[place])
        assert (
            length == episode.option_steps
            and float(buffer.columns["reward"][place, :length].sum()) == episode.total_reward
        )
        assert int(buffer.columns["duration"][place, :length].sum()) == 12 and bool(buffer.terminated[place])
        assert bool(buffer.columns["choosing"][place, 0].all())


def test_draws_say_what_can_be_learned_from():
    buffer = EpisodeBuffer(MeetingWorlds(12).spaces(), 50, 12)
    ended, _ = collect(buffer, 9)
    drawn = buffer.draw(3, 4, torch.Generator().manual_seed(0), 5, 1, ended, {})
    assert (
        drawn.columns["observation"].shape[:3] == drawn.valid.shape
        and drawn.valid.shape[0] == 3
        and drawn.valid.shape[2] == 4
    )
    # 12 steps in decisions of at most 3
    assert drawn.terminated.sum(dim=1).eq(1).all() and drawn.valid.sum(dim=1).min() >= 4
    assert bool(drawn.valid[drawn.terminated].all())


def test_too_long_episodes_are_cut_and_the_oldest_forgotten():
    buffer = EpisodeBuffer(MeetingWorlds(12).spaces(), 4, 3)
    ended, _ = collect(buffer, 9)
    assert len(buffer) == 4 < len(ended) and buffer.length.tolist() == [3] * 4 and not buffer.terminated.any()
    again = EpisodeBuffer(MeetingWorlds(12).spaces(), 4, 3)
    again.load_state_dict(buffer.state_dict())
    draws = [b.draw(2, 3, torch.Generator().manual_seed(1), 0, 0, (), {}) for b in (buffer, again)]
    for name, part in draws[0].columns.items():
        assert torch.equal(part, draws[1].columns[name]), name
