"""Batched rollouts against the loop that one would write by hand."""

from __future__ import annotations

import pytest
import torch

from visagent.actors.navigation_rollout import follow, label_rollout, mix_with_expert, rollout, safety_strategy
from visagent.envs.navigation import NavigationObservation, NavigationWorld
from visagent.experts.shortest_path import ShortestPathExpert
from visagent.networks.navigation import NavigationNetwork, NavigationPolicy, SafetyHead

STARTS, TARGETS = torch.tensor([0, 9, 20, 60, 130]), torch.tensor([30, 50, 3, 11, 140])


@pytest.fixture
def network(tables):
    torch.manual_seed(0)
    return NavigationNetwork(tables, 32, 24, 16, 20).eval()


def test_argmax_rollout_equals_one_episode_at_a_time(network, tables):
    path = rollout(
        follow(NavigationPolicy(network), True), NavigationWorld(tables, 15), STARTS, TARGETS, torch.Generator()
    )
    for episode, (start, target) in enumerate(zip(STARTS.tolist(), TARGETS.tolist(), strict=True)):
        state, history, states, bumps = start, [start] * 4, [start], 0
        while len(states) - 1 < 15 and state != target:
            seen = NavigationObservation(torch.tensor([history]), torch.tensor([target]), tables.scene_of[[target]])
            following = int(tables.graph[state, int(network(seen).logits.argmax())])
            bumps += following < 0
            state = state if following < 0 else following
            history = [*history[1:], state]
            states.append(state)
        assert int(path.length[episode]) == len(states) - 1
        assert path.states[: len(states), episode].tolist() == states
        assert bool(path.success[episode]) == (state == target) and int(path.collisions[episode]) == bumps


def test_observations_hold_what_was_seen(network, tables):
    path = rollout(
        follow(NavigationPolicy(network), False),
        NavigationWorld(tables, 6),
        STARTS,
        TARGETS,
        torch.Generator().manual_seed(1),
    )
    observation = path.observations(tables)
    assert len(observation) == path.steps
    first = observation.history[: len(STARTS)]
    assert torch.equal(first, STARTS[:, None].repeat(1, 4))  # all episodes run at step 0
    second = observation.history[len(STARTS) : len(STARTS) + int((path.length > 1).sum())]
    assert torch.equal(second[:, :3], STARTS[path.length > 1][:, None].repeat(1, 3))
    chosen = torch.zeros(len(path.states) - 1, len(STARTS), dtype=torch.bool)
    chosen[2, 1] = True
    assert path.observations(tables, chosen).history.tolist() == [path.states[[0, 0, 1, 2], 1].tolist()]


def test_one_seed_one_rollout(network, tables, device):
    def run(seed):
        policy = NavigationPolicy(network.to(device))
        return rollout(
            follow(policy, False),
            NavigationWorld(tables.to(device), 10),
            STARTS,
            TARGETS,
            torch.Generator().manual_seed(seed),
        ).states

    assert torch.equal(run(0), run(0)) and not torch.equal(run(0), run(1))


def test_beta_one_is_the_expert_and_beta_zero_the_policy(network, tables):
    policy, expert = NavigationPolicy(network), ShortestPathExpert(tables)
    guided = rollout(
        mix_with_expert(policy, expert, 1.0),
        NavigationWorld(tables, 50),
        STARTS,
        TARGETS,
        torch.Generator().manual_seed(0),
    )
    assert guided.success.all() and torch.equal(guided.length, tables.distance(STARTS, TARGETS)) and expert.queries == 0
    alone = rollout(
        mix_with_expert(policy, expert, 0.0),
        NavigationWorld(tables, 10),
        STARTS,
        TARGETS,
        torch.Generator().manual_seed(0),
    )
    plain = rollout(
        follow(policy, False), NavigationWorld(tables, 10), STARTS, TARGETS, torch.Generator().manual_seed(0)
    )
    assert torch.equal(alone.states, plain.states)


def test_every_visited_state_is_one_query(network, tables):
    expert = ShortestPathExpert(tables)
    path = rollout(
        follow(NavigationPolicy(network), False),
        NavigationWorld(tables, 8),
        STARTS,
        TARGETS,
        torch.Generator().manual_seed(0),
    )
    samples = label_rollout(path, expert)
    assert len(samples) == path.steps == expert.queries
    batch = samples.batch(torch.arange(len(samples)), tables.scene_of)
    assert batch.optimal.gather(1, batch.action[:, None]).all()


def test_the_safety_strategy_asks_only_where_it_is_warned(network, tables):
    expert, head = ShortestPathExpert(tables), SafetyHead(2, 16)
    head.threshold.fill_(0.0)  # warns always: the expert drives
    path = rollout(
        safety_strategy(NavigationPolicy(network, head), expert),
        NavigationWorld(tables, 50),
        STARTS,
        TARGETS,
        torch.Generator().manual_seed(0),
    )
    assert path.success.all() and expert.queries == path.steps == int(path.asked.sum())
    # labelled already: not counted twice
    assert len(label_rollout(path, expert, path.asked, count=False)) == expert.queries
    expert.queries = 0
    head.threshold.fill_(1.0)  # never warns: the policy drives
    path = rollout(
        safety_strategy(NavigationPolicy(network, head), expert),
        NavigationWorld(tables, 5),
        STARTS,
        TARGETS,
        torch.Generator().manual_seed(0),
    )
    assert expert.queries == 0 and not path.asked.any()
    with pytest.raises(ValueError, match="needs a policy with a safety policy"):
        rollout(
            safety_strategy(NavigationPolicy(network), expert),
            NavigationWorld(tables, 5),
            STARTS,
            TARGETS,
            torch.Generator(),
        )
