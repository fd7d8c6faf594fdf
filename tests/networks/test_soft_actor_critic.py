"""The squashed Gaussian policy and its critics."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.errors import ConfigError
from visagent.networks.soft_actor_critic import SoftActorCritic, squashed_sample

SETTINGS = {
    "hidden": [12, 11], "log_std_range": [-10.0, 2.0], "pixel_channels": [4, 5], "pixel_kernels": [3, 3],
    "pixel_strides": [2, 1], "projection": 6, "frame_differences": False,
}  # fmt: skip
BOTH = WorldSpaces({"state": (3,), "pixels": (9, 20, 20)}, ActionSpace("continuous", 2))


def seen(count, spaces):
    parts = {
        "state": torch.randn(count, 3),
        "pixels": torch.randint(0, 255, (count, 9, 20, 20), dtype=torch.uint8),
    }
    return {name: parts[name] for name in spaces.observation}


def test_log_probabilities_are_those_of_the_transformed_distribution():
    torch.manual_seed(0)
    mean, log_std, noise = torch.randn(3, 50, 4, dtype=torch.float64)
    action, log_prob = squashed_sample(mean, log_std, noise)
    base = Independent(Normal(mean, log_std.exp()), 1)
    expected = TransformedDistribution(base, [TanhTransform()])
    before = mean + log_std.exp() * noise
    torch.testing.assert_close(action, before.tanh())
    slope = TanhTransform().log_abs_det_jacobian(before, action).sum(-1)
    torch.testing.assert_close(log_prob, base.log_prob(before) - slope)
    inside = before.abs().amax(dim=1) < 3
    torch.testing.assert_close(log_prob[inside], expected.log_prob(action)[inside], rtol=1e-5, atol=1e-5)


def test_far_actions_have_finite_log_probabilities_and_gradients():
    mean = torch.tensor([[60.0, -60.0]], requires_grad=True)
    action, log_prob = squashed_sample(mean, torch.zeros(1, 2), torch.zeros(1, 2))
    assert action.tolist() == [[1.0, -1.0]] and log_prob.isfinite().all() and log_prob.item() > 100
    log_prob.sum().backward()
    assert mean.grad.isfinite().all() and mean.grad.abs().max() <= 2.0


@pytest.mark.parametrize(
    "spaces", [BOTH, WorldSpaces({"state": (3,)}, BOTH.action), WorldSpaces({"pixels": (9, 20, 20)}, BOTH.action)]
)
def test_parts(spaces):
    torch.manual_seed(0)
    network, given = SoftActorCritic(spaces, **SETTINGS), seen(7, spaces)
    mean, log_std = network.actor(network.features(given), network.state(given))
    assert mean.shape == (7, 2) and log_std.min() > -10 and log_std.max() < 2
    assert network.values(given, mean.tanh()).shape == (2, 7)
    assert torch.equal(network.act(given, deterministic=True).action, mean.tanh())
    one, same, other = (network.act(given, generator=torch.Generator().manual_seed(seed)).action for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other) and one.abs().max() <= 1
    learned = [{id(p) for p in group} for group in (network.critic_parameters(), network.actor.parameters())]
    assert learned[0] | learned[1] == {id(p) for p in network.parameters()} and not learned[0] & learned[1]
    # the policy's loss does not reach the convolutions, which are the critics'
    assert (network.stem is None) == ("pixels" not in spaces.observation)


def test_discrete_actions_are_refused():
    with pytest.raises(ConfigError, match="squashed Gaussian policy needs continuous actions, got discrete ones"):
        SoftActorCritic(WorldSpaces({"state": (3,)}, ActionSpace("discrete", 2)), **SETTINGS)
