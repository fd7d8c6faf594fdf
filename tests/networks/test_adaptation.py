"""A policy that adapts to the episode that it is in, and to no other."""

from __future__ import annotations

import copy

import pytest
import torch

from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.networks.adaptation import AdaptingPolicy
from visagent.networks.inverse_dynamics import InverseDynamics
from visagent.networks.policy import begin_again
from visagent.networks.soft_actor_critic import SoftActorCritic

SPACES = WorldSpaces({"pixels": (9, 16, 16)}, ActionSpace("continuous", 2), 3)


@pytest.fixture
def policy():
    torch.manual_seed(0)
    network = SoftActorCritic(SPACES, [16], [-5.0, 2.0], [8, 8], [3, 3], [2, 2], 10, True)
    linear = network.actor.trunk.projection[0]
    return AdaptingPolicy(network, InverseDynamics(linear.in_features, 10, [16], 2), 1e-3, 8)


def pictures(count, seed):
    rng = torch.Generator().manual_seed(seed)
    return {"pixels": torch.randint(0, 256, (count, 9, 16, 16), generator=rng, dtype=torch.uint8)}


def walk(policy, count, steps, first=0):
    """Actions of episodes that all show the same pictures from the `first` on."""
    state, rng, actions = policy.initial_state(count), torch.Generator().manual_seed(3), []
    for number in range(steps):
        step = policy.act(pictures(count, first + number), state, True, rng)
        state = step.state
        actions.append(step.action)
    return actions, state


def test_it_begins_with_what_was_trained_and_then_differs(policy):
    before = copy.deepcopy(policy.state_dict())
    actions, state = walk(policy, 2, 3)
    for number, action in enumerate(actions):
        usual = policy.network.act(pictures(2, number), deterministic=True).action
        # at first there is nothing to learn from; convolutions of one picture and of two differ in the last bits
        assert torch.allclose(action, usual, atol=1e-5) == (number == 0)
    assert all(torch.equal(policy.state_dict()[name], value) for name, value in before.items())
    one, other = (dict(episode.stem.named_parameters())["0.weight"] for episode in state)
    assert not torch.equal(one, other)  # each has seen its own pictures


def test_an_episode_begins_again_alone(policy):
    _, state = walk(policy, 3, 3)
    stays = [episode.stem[0].weight.clone() for episode in state]
    state = begin_again(state, [1])
    assert torch.equal(state[1].stem[0].weight, policy.network.stem[0].weight) and state[1].before is None
    assert torch.equal(state[0].stem[0].weight, stays[0]) and torch.equal(state[2].stem[0].weight, stays[2])
    assert state[0].before is not None


def test_it_learns_the_task_by_which_it_adapts_also_where_nothing_has_gradients(policy):
    """As in Lightning's test loop, which also copies the policy within inference mode."""
    with torch.inference_mode():
        inner = copy.deepcopy(policy).eval()
        state, rng = inner.initial_state(1), torch.Generator().manual_seed(0)
        for _ in range(60):
            state = inner.act(pictures(1, 1), state, True, rng).state
        (episode,) = state
        centred = inner.network.centred(pictures(1, 1)["pixels"])
        wanted = episode.before[1]

        def miss(stem, inverse):
            return float((inverse(stem(centred), stem(centred)) - wanted).abs().max())

        assert miss(episode.stem, episode.inverse) < 0.25 * miss(policy.network.stem, policy.inverse)


def test_the_same_numbers_give_the_same_actions(policy):
    assert all(map(torch.equal, walk(policy, 2, 4)[0], walk(policy, 2, 4)[0]))
