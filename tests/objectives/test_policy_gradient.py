"""Returns, surrogates and penalties against hand values and a slow reference."""

from __future__ import annotations

import math

import pytest
import torch

from visagent.networks.normalizers import discounted_so_far
from visagent.objectives.policy_gradient import (
    adapted_beta,
    clipped_surrogate,
    divergence_penalty,
    generalized_advantages,
    importance_ratio,
    standardized,
)


def slow_advantages(reward, value, last_value, final_value, terminated, truncated, gamma, lam):
    """One world, forwards: the sum of discounted differences until the episode ends."""
    steps = len(reward)
    found = []
    for start in range(steps):
        total, weight = 0.0, 1.0
        for t in range(start, steps):
            following = value[t + 1] if t + 1 < steps else last_value
            if truncated[t]:
                following = final_value[t]
            elif terminated[t]:
                following = 0.0
            total += weight * (reward[t] + gamma * following - value[t])
            if terminated[t] or truncated[t]:
                break
            weight *= gamma * lam
        found.append(total)
    return found


@pytest.mark.parametrize("seed", range(5))
def test_advantages_against_the_definition(seed):
    rng = torch.Generator().manual_seed(seed)
    steps, worlds = 12, 6
    reward, value, final = (torch.randn(steps, worlds, generator=rng, dtype=torch.float64) for _ in range(3))
    last = torch.randn(worlds, generator=rng, dtype=torch.float64)
    ends = torch.rand(steps, worlds, generator=rng)
    terminated, truncated = ends < 0.15, (ends > 0.15) & (ends < 0.3)
    found = generalized_advantages(reward, value, last, final, terminated, truncated, 0.9, 0.8)
    for b in range(worlds):
        expected = slow_advantages(
            *(x[:, b].tolist() for x in (reward, value)),
            float(last[b]),
            *(x[:, b].tolist() for x in (final, terminated, truncated)),
            0.9,
            0.8,
        )
        torch.testing.assert_close(found[:, b], torch.tensor(expected, dtype=torch.float64))


def test_a_time_limit_is_worth_its_last_observation():
    """One step, reward 1, value 0: terminated is worth 1, truncated 1 + 0.5 * 10, going on 1 + 0.5 * 4."""
    reward, value = torch.ones(1, 3), torch.zeros(1, 3)
    terminated, truncated = torch.tensor([[True, False, False]]), torch.tensor([[False, True, False]])
    found = generalized_advantages(
        reward, value, torch.full((3,), 4.0), torch.full((1, 3), 10.0), terminated, truncated, 0.5, 0.9
    )
    assert found.tolist() == [[1.0, 6.0, 3.0]]


def test_what_an_episode_has_brought_so_far():
    reward = torch.tensor([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]])
    first = torch.tensor([[False, True], [False, False], [True, False]])
    found = discounted_so_far(reward, first, torch.tensor([8.0, 8.0]), 0.5)
    assert found.tolist() == [[5.0, 1.0], [4.5, 2.5], [4.0, 5.25]]


def test_surrogates():
    log_prob, behaviour = torch.tensor([0.0, 0.0]), torch.tensor([-math.log(2.0), math.log(2.0)])  # ratios 2 and 1/2
    advantage = torch.tensor([1.0, -1.0])
    assert clipped_surrogate(log_prob, behaviour, advantage, 0.2).tolist() == pytest.approx([1.2, -0.8])
    assert clipped_surrogate(log_prob, log_prob, advantage, 0.2).tolist() == [1.0, -1.0]
    assert (importance_ratio(log_prob, behaviour) * advantage).tolist() == pytest.approx([2.0, -0.5])
    mean = torch.tensor(0.04)  # 0.02 more than twice the target
    assert divergence_penalty(mean, torch.tensor(3.0), 250.0, 0.01) == pytest.approx(3.0 * 0.04 + 250.0 * 0.02**2)
    assert divergence_penalty(mean, torch.tensor(3.0), 250.0, 0.03) == pytest.approx(0.12)


def test_the_penalty_adapts_within_its_range():
    rule = {"target": 0.01, "factor": 1.5, "low": 0.5, "high": 2.0}
    assert adapted_beta(1.0, 0.03, **rule) == 1.5 and adapted_beta(1.0, 0.004, **rule) == pytest.approx(1 / 1.5)
    assert adapted_beta(1.0, 0.02, **rule) == adapted_beta(1.0, 0.005, **rule) == 1.0
    assert adapted_beta(1.9, 1.0, **rule) == 2.0 and adapted_beta(0.6, 0.0, **rule) == 0.5


def test_standardized_advantages():
    found = standardized(torch.tensor([1.0, 2.0, 3.0, 6.0]))
    assert found.mean() == pytest.approx(0.0, abs=1e-6) and found.std(unbiased=False) == pytest.approx(1.0)
    assert standardized(torch.full((3,), 5.0)).tolist() == [0.0, 0.0, 0.0]
