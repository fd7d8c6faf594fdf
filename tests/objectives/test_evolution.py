"""Evolution strategies: ranks by hand, the estimated gradient against the true one."""

from __future__ import annotations

import math

import pytest
import torch

from visagent.objectives.evolution import antithetic_gradient, centered_ranks, undefined_last


def test_ranks():
    found = centered_ranks(torch.tensor([[3.0, -1.0], [100.0, 2.0], [0.0, 2.0]], dtype=torch.float64))
    expected = torch.tensor([[4.0, 0.0], [5.0, 2.5], [1.0, 2.5]]) / 5 - 0.5
    torch.testing.assert_close(found, expected.double(), check_dtype=False)
    assert torch.equal(centered_ranks(torch.ones(4, 2)), torch.zeros(4, 2))


def test_what_is_not_finite_ranks_last():
    nan, inf = math.nan, math.inf
    found = centered_ranks(torch.tensor([[3.0, nan], [inf, 2.0], [-inf, 5.0]], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([[4.0, 1.0], [1.0, 3.0], [1.0, 5.0]]) / 5 - 0.5, check_dtype=False)
    assert torch.equal(centered_ranks(torch.full((2, 2), nan)), torch.zeros(2, 2))
    shaped = undefined_last(torch.tensor([[3.0, nan], [2.0, 7.0]]))
    assert (
        shaped[0, 1] < 2.0 and shaped[0, 1] == pytest.approx(2.0) and torch.equal(shaped[1], torch.tensor([2.0, 7.0]))
    )


def test_the_gradient_of_a_linear_return_is_its_slope():
    """E[(F+ - F-) epsilon] / (2 sigma) is the gradient, exactly so for many perturbations and a linear F."""
    generator = torch.Generator().manual_seed(0)
    slope, sigma = torch.tensor([1.0, -2.0, 0.5]), 0.1
    noise = torch.randn(40_000, 3, generator=generator)
    returns = torch.stack([7.0 + sigma * (noise @ slope), 7.0 - sigma * (noise @ slope)], dim=1)
    torch.testing.assert_close(antithetic_gradient(returns, noise, sigma), slope, atol=0.03, rtol=0.03)
