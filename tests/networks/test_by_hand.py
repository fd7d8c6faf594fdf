"""Gradients by hand against autograd."""

from __future__ import annotations

import copy

import pytest
import torch
from visagent.networks.by_hand import ActorCriticByHand

from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.networks.actor_critic import ActorCritic
from visagent.networks.distributions import Categorical, DiagonalGaussian
from visagent.objectives.policy_gradient import clipped_slope, clipped_surrogate, penalized_slope, penalized_surrogate


@pytest.mark.parametrize("kind", [DiagonalGaussian(3), Categorical(4)])
def test_slopes_of_distributions(kind):
    torch.manual_seed(0)
    parameters, others = torch.randn(5, kind.size, requires_grad=True), torch.randn(5, kind.size)
    action = torch.randn(5, 3) if isinstance(kind, DiagonalGaussian) else torch.tensor([0, 1, 2, 3, 0])
    log_prob, slope = kind.log_prob_and_slope(parameters.detach(), action)
    torch.testing.assert_close(log_prob, kind.log_prob(parameters, action).detach())
    for value, found in (
        (kind.log_prob(parameters, action), slope),
        (kind.entropy(parameters), kind.entropy_slope(parameters.detach())),
        (kind.divergence(others, parameters), kind.divergence_slope(others, parameters.detach())),
    ):
        torch.testing.assert_close(found, torch.autograd.grad(value.sum(), parameters)[0], atol=1e-5, rtol=1e-5)


def test_slopes_of_surrogates():
    torch.manual_seed(0)
    log_prob, behaviour, advantage = torch.randn(200, requires_grad=True), torch.randn(200), torch.randn(200)
    (expected,) = torch.autograd.grad(clipped_surrogate(log_prob, behaviour, advantage, 0.2), log_prob)
    torch.testing.assert_close(clipped_slope(log_prob.detach(), behaviour, advantage, 0.2), expected)
    assert (expected == 0).sum() > 20
    for target in (0.01, 10.0):
        mean = torch.tensor(0.4, requires_grad=True)
        rest = (mean, torch.tensor(1.5), 250.0, target)
        expected, penalty = torch.autograd.grad(penalized_surrogate(log_prob, behaviour, advantage, *rest), (log_prob, mean))
        found, weight = penalized_slope(log_prob.detach(), behaviour, advantage, mean.detach(), *rest[1:])
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(weight, penalty)


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
@pytest.mark.parametrize(("activation", "squash", "hidden"), [("tanh", False, [7, 6]), ("relu", True, [5]), ("tanh", True, [])])
def test_the_networks_gradients(kind, activation, squash, hidden):
    torch.manual_seed(0)
    spaces = WorldSpaces({"state": (3,)}, ActionSpace(kind, 4))
    network = ActorCritic(spaces, hidden, [*hidden, 8], activation, squash, -0.5, False, 16, 0, False)
    other, x = copy.deepcopy(network), torch.randn(9, 3)
    by_hand = ActorCriticByHand(network)
    expected = other.judge({"state": x})
    parameters_slope, value_slope = torch.randn_like(expected.parameters), torch.randn(9)
    ((expected.parameters * parameters_slope).sum() + (expected.value * value_slope).sum()).backward()
    for _ in range(2):  # gradients are written, not added up
        with torch.no_grad():
            parameters, values = by_hand.forward(x)
            by_hand.backward(parameters_slope.clone(), value_slope)
    torch.testing.assert_close(parameters, expected.parameters.detach())
    torch.testing.assert_close(values, expected.value.detach())
    for (name, ours), theirs in zip(network.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=lambda text, name=name: f"{name}: {text}")
    for ours, theirs in zip(network.parameters(), other.parameters(), strict=True):
        theirs.grad = ours.grad.clone()
    norm = torch.nn.utils.clip_grad_norm_(other.parameters(), 0.5)
    assert norm > 0.5
    by_hand.gradients.clip(0.5)
    assert all(torch.equal(ours.grad, theirs.grad) for ours, theirs in zip(network.parameters(), other.parameters(), strict=True))
    assert not ActorCriticByHand.serves(ActorCritic(spaces, [8], [8], "tanh", False, 0.0, False, 16, 5, False))
