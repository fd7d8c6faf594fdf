"""Policies over options: what they draw, what they say of it, what they do not touch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from visagent.envs.option_worlds import OptionSpaces
from visagent.errors import ConfigError
from visagent.networks.normalizers import ValueNormalizer
from visagent.networks.option_policies import COUPLINGS, OptionActorCritic, Situation, choose

SPACES = OptionSpaces(("a", "b", "c"), (4, 2, 3), (("0", "1"), ("0", "1", "2"), ("0", "1", "2", "3")))


def make(coupling, critic="observations", seed=0):
    torch.manual_seed(seed)
    network = OptionActorCritic(SPACES, coupling, [16], [16], critic)
    with torch.no_grad():
        for name, parameter in network.policy.named_parameters():  # beyond the small ones of the beginning
            if name.endswith("weight") and parameter.dim() == 2:
                parameter.mul_(20.0)
    return network


def situation(rows, seed=0, available=None):
    rng = torch.Generator().manual_seed(seed)
    options = torch.stack([torch.randint(size, (rows,), generator=rng) for size in SPACES.sizes], dim=1)
    choosing = torch.rand(rows, 3, generator=rng) < 0.6
    choosing[torch.arange(rows), torch.randint(3, (rows,), generator=rng)] = True
    if available is None:
        available = torch.rand(rows, 9, generator=rng) < 0.7
        available[:, [0, 2, 5]] = True
    return Situation(torch.randn(rows, 9, generator=rng), options, choosing, available)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_what_is_chosen_is_available_and_what_runs_goes_on(coupling):
    network, given = make(coupling), situation(500)
    chosen = network.choose(given, generator=torch.Generator().manual_seed(1))
    options, log_prob = chosen.options.clone(), chosen.log_prob.clone()
    assert torch.equal(options[~given.choosing], given.options[~given.choosing])
    offered = torch.stack(
        [
            part.gather(1, options[:, agent, None])[:, 0]
            for agent, part in enumerate(given.available.split(list(SPACES.sizes), dim=1))
        ],
        1,
    )
    assert bool(offered[given.choosing].all())
    chances = network.evaluate_options(Situation(given.observation, options, given.choosing, given.available))
    torch.testing.assert_close(chances.log_prob, log_prob, atol=1e-6, rtol=0)
    assert bool((chances.entropy <= chances.log_count + 1e-5).all()) and torch.isfinite(chances.log_prob).all()
    loss = (chances.log_prob * chances.counted).sum() + chances.entropy.sum()
    assert all(torch.isfinite(part).all() for part in torch.autograd.grad(loss, list(network.policy.parameters())))


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_frequencies_are_those_that_it_says(coupling):
    """Chi-square over all joint options of one situation, 99.9 %."""
    network, one = make(coupling), situation(1, 5)
    many = Situation(
        *(part.expand(20_000, -1).contiguous() for part in (one.observation, one.options, one.choosing, one.available))
    )
    options = network.choose(many, generator=torch.Generator().manual_seed(2)).options
    seen, counts = torch.unique(options.clone(), dim=0, return_counts=True)
    again = Situation(*(part.expand(len(seen), -1) for part in (one.observation, seen, one.choosing, one.available)))
    expected = network.evaluate_options(again).log_prob.detach().sum(dim=1).exp() * 20_000
    assert float(expected.sum()) == pytest.approx(20_000, rel=5e-3)
    large = expected > 5
    statistic = float(((counts - expected)[large].square() / expected[large]).sum())
    assert statistic < torch.distributions.Chi2(float(large.sum())).sample((20_000,)).quantile(0.999)


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_the_mode_is_the_likeliest(coupling):
    network, given = make(coupling), situation(50, 3)
    best = network.choose(given, deterministic=True).log_prob.sum(dim=1)
    drawn = torch.stack(
        [network.choose(given, generator=torch.Generator().manual_seed(s)).log_prob.sum(dim=1) for s in range(30)]
    ).amax(dim=0)
    assert bool((best >= drawn - 1e-5).all()) or coupling == "autoregressive"


def test_factorised_choices_do_not_depend_on_what_runs_and_joint_ones_do():
    available = torch.ones(1, 9, dtype=torch.bool)
    choosing = torch.tensor([[True, False, False]])
    for coupling, same in (("factorised", True), ("joint", False)):
        network, observation = make(coupling), torch.randn(1, 9, generator=torch.Generator().manual_seed(0))
        found = [
            network.evaluate_options(Situation(observation, torch.tensor([[0, b, c]]), choosing, available)).log_prob
            for b in range(3)
            for c in range(4)
        ]
        assert (max((part - found[0]).abs().item() for part in found) < 1e-6) == same


def test_partial_policies_see_their_own_observation_and_what_runs():
    network = make("partial")
    given = Situation(
        torch.zeros(1, 9),
        torch.tensor([[0, 1, 2]]),
        torch.tensor([[True, True, False]]),
        torch.ones(1, 9, dtype=torch.bool),
    )
    other = Situation(
        torch.zeros(1, 9).index_fill(1, torch.arange(4, 9), 5.0), given.options, given.choosing, given.available
    )
    first, second = network.evaluate_options(given), network.evaluate_options(other)
    assert torch.equal(first.log_prob[:, 0], second.log_prob[:, 0]) and not torch.equal(
        first.log_prob[:, 1], second.log_prob[:, 1]
    )
    assert first.log_prob[0, 2].item() == 0.0 and first.counted.tolist() == [[True, True, False]]
    changed = network.evaluate_options(
        Situation(given.observation, torch.tensor([[0, 1, 3]]), given.choosing, given.available)
    )
    assert not torch.equal(first.log_prob[:, 0], changed.log_prob[:, 0])
    (slope,) = torch.autograd.grad(first.log_prob.sum(), network.policy.heads[2][-1].weight)
    assert not slope.any()


@pytest.mark.parametrize(("critic", "columns"), [("observations", 1), ("observations_and_options", 1), ("local", 3)])
def test_critics(critic, columns):
    network, given = make("partial", critic), situation(6)
    values = network.values(given)
    assert values.shape == (6, columns)
    other = Situation(given.observation, (given.options + 1) % 2, given.choosing, given.available)
    assert torch.equal(network.values(other), values) == (critic == "observations")


def test_a_critic_may_see_the_worlds_state():
    given, spaces = situation(6), OptionSpaces(SPACES.agents, SPACES.observations, SPACES.options, state=2)
    network = OptionActorCritic(spaces, "joint", [8], [8], "state")
    one, other = (replace(given, state=torch.full((6, 2), level)) for level in (0.0, 1.0))
    assert not torch.equal(network.values(one), network.values(other))
    assert torch.equal(network.evaluate_options(one).log_prob, network.evaluate_options(other).log_prob)
    with pytest.raises(ConfigError, match=r"network\.critic=state: this world shows no state"):
        OptionActorCritic(SPACES, "joint", [8], [8], "state")


def test_nothing_impossible_is_drawn():
    log_probs = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(10_000, 3)
    assert choose(log_probs, False, torch.Generator().manual_seed(0)).unique().tolist() == [1]
    tail = torch.tensor([[0.0, -torch.inf]]).expand(10_000, 2)
    assert choose(tail, False, torch.Generator().manual_seed(0)).unique().tolist() == [0]


def test_returns_are_normalised_by_what_was_seen():
    normalizer, returns = ValueNormalizer(0.9), torch.tensor([2.0, 4.0, 6.0])
    assert torch.equal(normalizer.normalize(returns), returns)  # nothing seen yet
    for _ in range(3):
        normalizer.update(returns.mean(), returns.square().mean())
    found = normalizer.normalize(returns)
    assert found.mean() == pytest.approx(0.0, abs=1e-6) and found.std(unbiased=False) == pytest.approx(1.0)
    torch.testing.assert_close(normalizer.denormalize(found), returns)
