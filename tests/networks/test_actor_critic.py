"""Distributions against PyTorch's, the z-filter against NumPy, recurrent policies step by step and at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import distributions

from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.errors import ConfigError
from visagent.networks.actor_critic import ActorCritic
from visagent.networks.distributions import Categorical, DiagonalGaussian, MultiCategorical, SquashedGaussian
from visagent.networks.normalizers import RunningNormalizer

SETTINGS = {
    "actor_hidden": [8], "critic_hidden": [8], "activation": "tanh", "squash_mean": False, "init_log_std": -0.5,
    "normalize": True, "pixel_features": 16, "orthogonal_init": True,
}  # fmt: skip


def policy(kind="continuous", lstm=0, pixels=False, **changed):
    shapes = {"state": (3,), **({"pixels": (2, 44, 44)} if pixels else {})}
    torch.manual_seed(0)
    return ActorCritic(WorldSpaces(shapes, ActionSpace(kind, 2)), **{**SETTINGS, "lstm": lstm, **changed})


def test_the_gaussian_is_pytorchs():
    ours, (mean, log_std, other_mean, other_log_std) = DiagonalGaussian(3), torch.randn(4, 5, 3)
    parameters, others, action = (
        torch.cat([mean, log_std], -1),
        torch.cat([other_mean, other_log_std], -1),
        torch.randn(5, 3),
    )
    theirs = distributions.Independent(distributions.Normal(mean, log_std.exp()), 1)
    torch.testing.assert_close(ours.log_prob(parameters, action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(parameters), theirs.entropy())
    apart = distributions.kl_divergence(
        theirs, distributions.Independent(distributions.Normal(other_mean, other_log_std.exp()), 1)
    )
    torch.testing.assert_close(ours.divergence(parameters, others), apart)
    drawn = ours.sample(parameters[:1].expand(20_000, -1), torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), mean[0], atol=0.1, rtol=0.1)
    torch.testing.assert_close(drawn.std(0), log_std[0].exp(), atol=0.05, rtol=0.05)


def test_the_categorical_is_pytorchs():
    ours, (logits, others) = Categorical(4), torch.randn(2, 6, 4)
    theirs, action = distributions.Categorical(logits=logits), torch.tensor([0, 1, 2, 3, 0, 1])
    torch.testing.assert_close(ours.log_prob(logits, action), theirs.log_prob(action))
    torch.testing.assert_close(ours.entropy(logits), theirs.entropy())
    torch.testing.assert_close(
        ours.divergence(logits, others), distributions.kl_divergence(theirs, distributions.Categorical(logits=others))
    )
    drawn = ours.sample(logits[:1].expand(20_000, -1), torch.Generator().manual_seed(0))
    torch.testing.assert_close(torch.bincount(drawn, minlength=4) / 20_000, theirs.probs[0], atol=0.02, rtol=0.02)


def test_the_filter_is_the_mean_and_deviation_of_all_that_was_seen():
    data = np.random.default_rng(0).normal([5.0, -2.0], [3.0, 0.1], (1000, 2))
    found = RunningNormalizer(2)
    assert torch.equal(found(torch.tensor([[1.0, 2.0]])), torch.tensor([[1.0, 2.0]]))  # nothing seen yet
    for part in np.array_split(data, [1, 10, 700]):
        found.update(torch.from_numpy(part))
    np.testing.assert_allclose(found.mean, data.mean(0))
    np.testing.assert_allclose(found.std, data.std(0))
    assert found(torch.tensor([[5.0, 1e6]])).abs().max() == 5.0


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
@pytest.mark.parametrize("pixels", [False, True])
def test_a_recurrent_policy_judges_a_segment_as_it_acted(kind, pixels):
    """Episodes begin anew where `first` says so, whatever the state was."""
    network = policy(kind, lstm=6, pixels=pixels)
    steps, worlds = 5, 3
    observation = {"state": torch.randn(steps, worlds, 3)}
    if pixels:
        observation["pixels"] = torch.randint(0, 255, (steps, worlds, 2, 44, 44), dtype=torch.uint8)
    first = torch.zeros(steps, worlds, dtype=torch.bool)
    first[0], first[3, 1] = True, True
    state, rng = (torch.randn(worlds, 6), torch.randn(worlds, 6)), torch.Generator().manual_seed(0)
    start, parameters, values, log_probs, actions = state, [], [], [], []
    for t in range(steps):
        state = tuple(part * (~first[t])[:, None] for part in state)
        step = network.act({name: part[t] for name, part in observation.items()}, state, generator=rng)
        state = step.state
        for kept, value in zip(
            (parameters, values, log_probs, actions),
            (step.parameters, step.value, step.log_prob, step.action),
            strict=True,
        ):
            kept.append(value)
    found = network(observation, start, first)
    torch.testing.assert_close(found.parameters, torch.stack(parameters))
    torch.testing.assert_close(found.value, torch.stack(values))
    torch.testing.assert_close(
        network.distribution.log_prob(found.parameters, torch.stack(actions)), torch.stack(log_probs)
    )


def test_acting_by_the_mode_is_repeatable_and_by_a_generator_too():
    network, observation = policy(squash_mean=True), {"state": torch.randn(4, 3)}
    assert torch.equal(
        network.act(observation, deterministic=True).action, network.act(observation, deterministic=True).action
    )
    drawn = [network.act(observation, generator=torch.Generator().manual_seed(seed)).action for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert network.act(observation, deterministic=True).action.abs().max() < 1


def test_several_whole_numbers_as_pytorchs():
    ours, theirs = MultiCategorical([3, 2]), distributions.Categorical
    logits, others = torch.randn(2, 6, 5)
    action = torch.tensor([[0, 1], [2, 0], [1, 1], [0, 0], [2, 1], [1, 0]])
    parts = [theirs(logits=part) for part in logits.split([3, 2], -1)]
    other_parts = [theirs(logits=part) for part in others.split([3, 2], -1)]
    expected = sum(part.log_prob(action[:, number]) for number, part in enumerate(parts))
    torch.testing.assert_close(ours.log_prob(logits, action), expected)
    torch.testing.assert_close(ours.entropy(logits), sum(part.entropy() for part in parts))
    apart = sum(distributions.kl_divergence(*both) for both in zip(parts, other_parts, strict=True))
    torch.testing.assert_close(ours.divergence(logits, others), apart)
    assert ours.mode(logits).shape == (6, 2)
    drawn = ours.sample(logits[:1].expand(20_000, 5), torch.Generator().manual_seed(0))
    for number, part in enumerate(parts):
        shares = torch.bincount(drawn[:, number], minlength=part.logits.shape[-1]) / len(drawn)
        torch.testing.assert_close(shares, part.probs[0], atol=0.02, rtol=0)


@pytest.mark.parametrize("std", [0.2, 1.0, 2.0])
def test_the_squashed_gaussian_as_pytorchs(std):
    ours, mean = SquashedGaussian(3), torch.tensor([-1.5, 0.0, 0.7])
    parameters = torch.cat([mean, torch.full((3,), std).log()])
    normal = distributions.Normal(mean.double(), std)
    theirs = distributions.TransformedDistribution(normal, distributions.TanhTransform(cache_size=1))
    drawn = ours.sample(parameters.expand(200_000, 6), torch.Generator().manual_seed(0))
    assert drawn.abs().max() < 1.0
    inner = drawn[(drawn.abs() < 0.99).all(dim=-1)]
    torch.testing.assert_close(
        ours.log_prob(parameters.expand(len(inner), 6), inner).double(), theirs.log_prob(inner.double()).sum(-1),
        atol=1e-3, rtol=1e-4,
    )  # fmt: skip
    sampled = -theirs.log_prob(theirs.sample((400_000,))).sum(-1).mean()
    torch.testing.assert_close(ours.entropy(parameters).double(), sampled, atol=0.02, rtol=0)
    others = torch.randn(6)
    torch.testing.assert_close(ours.divergence(parameters, others), DiagonalGaussian(3).divergence(parameters, others))
    assert torch.equal(ours.mode(parameters), mean.tanh())


@pytest.mark.parametrize("action", [ActionSpace("discrete", 5), ActionSpace.multi_discrete([3, 2])])
def test_what_is_not_valid_is_never_done(action):
    torch.manual_seed(0)
    spaces = WorldSpaces({"state": (4,), "mask": (5,)}, action)
    network = ActorCritic(spaces, [8], [8], "tanh", False, 0.0, True, 16, 0, True)
    mask = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0])
    seen = {"state": torch.randn(5_000, 4), "mask": mask.expand(5_000, 5)}
    for deterministic in (False, True):
        chosen = network.act(seen, None, deterministic, torch.Generator().manual_seed(1)).action
        columns = [chosen] if chosen.ndim == 1 else [chosen[:, 0], chosen[:, 1] + 3]
        assert {int(number) for column in columns for number in column.unique()} <= {0, 2, 4}
    judged = network({"state": seen["state"][:4], "mask": seen["mask"][:4]})
    assert torch.isfinite(network.distribution.entropy(judged.parameters)).all()
    assert torch.isfinite(network.distribution.divergence(judged.parameters, judged.parameters)).all()
    network.distribution.entropy(judged.parameters).sum().backward()
    last = network.actor[-1]
    assert (last.weight.grad[[1, 3]] == 0).all() and torch.isfinite(last.weight.grad).all()


def test_a_squashed_gaussian_wants_continuous_actions():
    with pytest.raises(ConfigError, match=r"network\.distribution: expected gaussian where actions are discrete"):
        ActorCritic(
            WorldSpaces({"state": (1,)}, ActionSpace("discrete", 2)), [4], [4], "tanh", False, 0.0, False, 16, 0, True,
            distribution="squashed_gaussian",
        )  # fmt: skip


def test_spaces_are_checked():
    with pytest.raises(ValueError, match="expected continuous, discrete or multi_discrete"):
        ActionSpace("mixed", 2)
    with pytest.raises(ValueError, match="expected state or pixels, got neither"):
        WorldSpaces({}, ActionSpace("discrete", 2))
    with pytest.raises(ValueError, match=r"expected state \(D,\) or pixels \(C, H, W\)"):
        WorldSpaces({"state": (2, 3)}, ActionSpace("discrete", 2))
    with pytest.raises(ValueError, match="expected choices of each of 2 numbers"):
        ActionSpace("multi_discrete", 2, (3,))
    with pytest.raises(ValueError, match="expected a mask of the choices"):
        WorldSpaces({"state": (2,), "mask": (2,)}, ActionSpace("discrete", 3))
    with pytest.raises(ValueError, match="expected a mask of the choices"):
        WorldSpaces({"state": (2,), "mask": (2,)}, ActionSpace("continuous", 2))
