"""DDPG's targets against a walk along the rewards."""

from __future__ import annotations

import torch

from visagent.objectives.deterministic_policy_gradient import n_step_target, smoothed


def test_targets():
    rewards = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 0.0], [5.0, 0.0, 0.0]])
    steps, terminated = torch.tensor([3, 2, 1]), torch.tensor([False, False, True])
    found = n_step_target(rewards, steps, terminated, torch.tensor([10.0, 10.0, float("inf")]), 0.5)
    assert found.tolist() == [1 + 1 + 1 + 1.25, 1 + 1 + 2.5, 5.0]


def test_smoothing_is_clipped_twice():
    action = torch.tensor([[0.0], [0.95]]).repeat(1000, 1)
    found = smoothed(action, 0.5 * torch.randn(action.shape, generator=torch.Generator().manual_seed(0)), 0.1)
    assert (
        (found - action).abs().max() <= 0.1 + 1e-6 and found.max() == 1.0 and 0.05 < (found - action)[::2].std() < 0.1
    )
