"""Learning from options that last differently long (Lyu et al. 2023, Eq. 4): semi-MDP returns, the critic's loss."""

from __future__ import annotations

import torch
from torch import Tensor


def semi_markov_advantages(
    reward: Tensor,
    value: Tensor,
    last_value: Tensor,
    final_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    duration: Tensor,
    valid: Tensor,
    gamma: float,
    lam: float,
    lam_by_duration: bool = False,
) -> Tensor:
    """GAE(gamma, lambda) along option steps: what follows one of duration d is discounted by gamma^d.

    delta_k = R_k + gamma^d_k V(O_k+1) - V(O_k); A_k = delta_k + gamma^d_k lambda A_k+1. With every duration 1 this is
    ordinary GAE, `visagent.objectives.policy_gradient.generalized_advantages`.

    Args:
        reward: `[K, B]`, R_k, discounted within the option step.
        value: `[K, B, P]`, V(O_k).
        last_value: `[B, P]`, of the observation after the last valid option step.
        final_value: `[K, B, P]`, of the final observation where `truncated`; ignored elsewhere.
        terminated, truncated: `[K, B]` bool, the episode ended within the option step.
        duration: `[K, B]`, low-level steps.
        valid: `[K, B]` bool; the valid option steps of a column come first.
        gamma: discount of a low-level step.
        lam: lambda, of an option step.
        lam_by_duration: lambda^d in place of lambda.

    Returns:
        `[K, B, P]`, 0 where not valid; with `value` added, the returns that a critic learns.
    """
    discount = gamma ** duration.to(value.dtype)
    fade = (
        discount
        * (lam ** duration.to(value.dtype) if lam_by_duration else lam)
        * (~(terminated | truncated)).to(value.dtype)
    )
    advantages, advantage, following = torch.zeros_like(value), torch.zeros_like(last_value), last_value
    for k in range(len(value) - 1, -1, -1):
        after = torch.where(truncated[k, :, None], final_value[k], following).masked_fill(
            (terminated & ~truncated)[k, :, None], 0.0
        )
        delta = reward[k, :, None] + discount[k, :, None] * after - value[k]
        here = valid[k, :, None]
        advantage = torch.where(here, delta + fade[k, :, None] * advantage, advantage)
        advantages[k] = torch.where(here, advantage, 0.0)
        following = torch.where(here, value[k], following)
    return advantages


def clipped_value_loss(value: Tensor, before: Tensor, target: Tensor, clip: float, huber: float) -> Tensor:
    """MAPPO's loss of the critic `[...]` (Yu et al. 2022, Appendix): the larger one of that of its value and that of a
    value near the one before.

    Args:
        value, before: `[...]`, now and when the policy acted.
        target: `[...]`.
        clip: how far `value` counts from `before`.
        huber: where the loss becomes linear.
    """
    near = before + (value - before).clamp(-clip, clip)
    losses = [torch.nn.functional.huber_loss(v, target, reduction="none", delta=huber) for v in (value, near)]
    return torch.maximum(*losses)


def mean_where(values: Tensor, counted: Tensor) -> Tensor:
    """The mean of those values `[...]` that count, `[...]` bool."""
    weight = counted.to(values.dtype)
    return (values * weight).sum() / weight.sum()
