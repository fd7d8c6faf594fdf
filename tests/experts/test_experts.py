"""The shortest-path expert and the beta schedules."""

from __future__ import annotations

import pytest
import torch

from visagent.errors import ConfigError
from visagent.experts.schedules import beta_schedule
from visagent.experts.shortest_path import ShortestPathExpert


def test_labels_are_optimal_with_the_first_in_action_order(tables):
    expert = ShortestPathExpert(tables)
    for index, scene in enumerate(tables.scenes):
        first = int(tables.first[index])
        target = 5
        states = torch.arange(len(scene)) + first
        label = expert.label(states, torch.full_like(states, first + target))
        for state in range(len(scene)):
            here = scene.distance[state, target]
            best = (
                [
                    a
                    for a in range(4)
                    if scene.graph[state, a] >= 0 and scene.distance[scene.graph[state, a], target] == here - 1
                ]
                if here > 0
                else []
            )
            assert label.optimal[state].nonzero()[:, 0].tolist() == best
            assert bool(label.valid[state]) == (state != target)
            if best:
                assert int(label.action[state]) == best[0]
    assert expert.queries == tables.count
    expert.peek(torch.tensor([0]), torch.tensor([5]))
    assert expert.queries == tables.count  # a peek is not a query


def test_about_half_of_the_pairs_have_several_optimal_actions(tables):
    expert = ShortestPathExpert(tables)
    states = torch.arange(int(tables.size[0])).repeat_interleave(int(tables.size[0]))
    targets = torch.arange(int(tables.size[0])).repeat(int(tables.size[0]))
    label = expert.peek(states, targets)
    share = (label.optimal.sum(dim=1)[label.valid] > 1).float().mean()
    assert 0.3 < float(share) < 0.7


def test_demonstrations_are_shortest_paths(tables, device):
    expert = ShortestPathExpert(tables.to(device))
    starts, targets = torch.tensor([0, 9, 17]), torch.tensor([30, 30, 16])
    states, actions, running = expert.demonstrate(starts, targets)
    lengths = running.sum(dim=0).cpu()
    assert lengths.tolist() == tables.distance(starts, targets).tolist()
    assert states[-1].tolist() == targets.tolist()
    assert expert.queries == int(lengths.sum())
    for t in range(len(actions)):
        moved = tables.to(device).graph[states[t], actions[t]]
        assert torch.equal(states[t + 1][running[t]], moved[running[t]])


def test_beta_schedules():
    assert [beta_schedule("indicator")(i) for i in range(3)] == [1.0, 0.0, 0.0]  # the paper's I(i = 1), rounds from 0
    assert [beta_schedule("linear", 2)(i) for i in range(4)] == [1.0, 0.5, 0.0, 0.0]
    assert [beta_schedule("exponential", 0.5)(i) for i in range(3)] == [1.0, 0.5, 0.25]
    assert beta_schedule("constant", 0.3)(7) == 0.3


@pytest.mark.parametrize(
    ("kind", "parameter", "said"),
    [
        ("indicator", 1.0, "takes no parameter"),
        ("linear", None, "expected a parameter"),
        ("linear", 0.5, "whole number"),
        ("exponential", 1.5, r"in \[0, 1\]"),
        ("sine", 1.0, "unknown"),
    ],
)
def test_bad_schedules(kind, parameter, said):
    with pytest.raises(ConfigError, match=said):
        beta_schedule(kind, parameter)
