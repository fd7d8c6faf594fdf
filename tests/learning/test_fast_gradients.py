"""Gradients by hand against autograd."""

from __future__ import annotations

import copy

import pytest
import torch

from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.learning.descent import Descent
from visagent.learning.fast_gradients import FastActorCritic, clipped_slope, penalty_slope, slopes_of, surrogate_slope
from visagent.networks.actor_critic import ActorCritic
from visagent.networks.distributions import Categorical, DiagonalGaussian, MultiCategorical, SquashedGaussian
from visagent.objectives.policy_gradient import clipped_surrogate, divergence_penalty, importance_ratio


@pytest.mark.parametrize(
    "kind", [DiagonalGaussian(3), SquashedGaussian(3), Categorical(4), MultiCategorical([2, 3, 4])]
)
def test_slopes_of_distributions(kind):
    torch.manual_seed(0)
    parameters, others = torch.randn(5, kind.size, requires_grad=True), torch.randn(5, kind.size)
    action = kind.sample(parameters.detach(), torch.Generator().manual_seed(0))
    slopes = slopes_of(kind)
    log_prob, slope = slopes.log_prob(parameters.detach(), action)
    torch.testing.assert_close(log_prob, kind.log_prob(parameters, action).detach())
    for value, found in (
        (kind.log_prob(parameters, action), slope),
        (kind.entropy(parameters), slopes.entropy(parameters.detach())),
        (kind.divergence(others, parameters), slopes.divergence(others, parameters.detach())),
    ):
        torch.testing.assert_close(found, torch.autograd.grad(value.sum(), parameters)[0], atol=1e-5, rtol=1e-5)


def test_slopes_of_surrogates():
    """Of minus their mean over 250 samples, of which 200 are here."""
    torch.manual_seed(0)
    log_prob, behaviour, advantage = torch.randn(200, requires_grad=True), torch.randn(200), torch.randn(200)
    (expected,) = torch.autograd.grad(-clipped_surrogate(log_prob, behaviour, advantage, 0.2).sum() / 250, log_prob)
    torch.testing.assert_close(clipped_slope(log_prob.detach(), behaviour, advantage, 0.2, 250), expected)
    assert (expected == 0).sum() > 20
    (expected,) = torch.autograd.grad(-(importance_ratio(log_prob, behaviour) * advantage).sum() / 250, log_prob)
    torch.testing.assert_close(surrogate_slope(log_prob.detach(), behaviour, advantage, 250), expected)


@pytest.mark.parametrize("target", [0.01, 10.0])
def test_the_slope_of_the_penalty(target):
    mean = torch.tensor(0.4, requires_grad=True)
    rest = (torch.tensor(1.5), 250.0, target)
    (expected,) = torch.autograd.grad(divergence_penalty(mean, *rest), mean)
    torch.testing.assert_close(penalty_slope(mean.detach(), *rest), expected)


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
@pytest.mark.parametrize(
    ("activation", "squash", "hidden"), [("tanh", False, [7, 6]), ("relu", True, [5]), ("tanh", True, [])]
)
def test_the_networks_gradients(kind, activation, squash, hidden):
    torch.manual_seed(0)
    spaces = WorldSpaces({"state": (3,)}, ActionSpace(kind, 4))
    network = ActorCritic(spaces, hidden, [*hidden, 8], activation, squash, -0.5, False, 16, 0, False)
    other, x = copy.deepcopy(network), torch.randn(9, 3)
    Descent(torch.optim.SGD(network.parameters()), network.parameters())  # gives the parameters a gradient
    fast = FastActorCritic(network)
    expected = other.evaluate({"state": x})
    parameters_slope, value_slope = torch.randn_like(expected.parameters), torch.randn(9)
    ((expected.parameters * parameters_slope).sum() + (expected.value * value_slope).sum()).backward()
    for _ in range(2):  # gradients are written, not added up
        with torch.no_grad():
            parameters, values = fast.forward(x)
            fast.backward(parameters_slope.clone(), value_slope)
    torch.testing.assert_close(parameters, expected.parameters.detach())
    torch.testing.assert_close(values, expected.value.detach())
    for (name, ours), theirs in zip(network.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=lambda text, name=name: f"{name}: {text}")
    assert not FastActorCritic.serves(ActorCritic(spaces, [8], [8], "tanh", False, 0.0, False, 16, 5, False))
