"""The deterministic policy and its critics."""

from __future__ import annotations

import pytest
import torch

from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.errors import ConfigError
from visagent.networks.deterministic import DeterministicActorCritic

SETTINGS = {
    "actor_hidden": [7, 6], "critic_hidden": [9, 8], "critics": 2, "pixel_channels": [4, 5], "pixel_kernels": [8, 4],
    "pixel_strides": [4, 2], "pixel_features": 10, "layer_norm": False,
}  # fmt: skip


def test_the_action_joins_at_the_critics_second_layer():
    network = DeterministicActorCritic(WorldSpaces({"state": (3,)}, ActionSpace("continuous", 2)), **SETTINGS)
    widths = [
        (layer.in_features, layer.out_features)
        for layer in network.critics[0].modules()
        if isinstance(layer, torch.nn.Linear)
    ]
    assert widths == [(3, 9), (9 + 2, 8), (8, 1)]
    state, action = torch.randn(5, 3), torch.randn(5, 2)
    first, second, last = (layer for layer in network.critics[1].modules() if isinstance(layer, torch.nn.Linear))
    expected = last(torch.relu(second(torch.cat([torch.relu(first(state)), action], 1))))[:, 0]
    torch.testing.assert_close(network.values(network.features({"state": state}), action)[1], expected)
    step = network.act({"state": state * 100})
    assert step.action.shape == (5, 2) and step.action.abs().max() < 0.2  # small first actions, whatever is seen
    assert [
        type(layer).__name__
        for layer in DeterministicActorCritic(network.spaces, **{**SETTINGS, "layer_norm": True}).actor[0]
    ].count("LayerNorm") == 2


def test_pixels_and_states_together():
    spaces = WorldSpaces({"state": (3,), "pixels": (9, 44, 44)}, ActionSpace("continuous", 2))
    network = DeterministicActorCritic(spaces, **SETTINGS)
    observation = {"state": torch.randn(4, 3), "pixels": torch.randint(0, 255, (4, 9, 44, 44), dtype=torch.uint8)}
    assert network.features(observation).shape == (4, 13) and network.act(observation).action.shape == (4, 2)
    assert {id(parameter) for parameter in network.stem.parameters()} < {
        id(parameter) for parameter in network.critic_parameters()
    }
    learned = {id(parameter) for parameter in [*network.critic_parameters(), *network.actor.parameters()]}
    assert learned == {id(parameter) for parameter in network.parameters()}


def test_discrete_actions_are_refused():
    with pytest.raises(ConfigError, match="a deterministic policy needs continuous actions, got discrete ones"):
        DeterministicActorCritic(WorldSpaces({"state": (3,)}, ActionSpace("discrete", 2)), **SETTINGS)
