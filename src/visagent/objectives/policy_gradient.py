"""Proximal policy optimisation (Schulman et al. 2017) as in SURREAL (dissertation, Section 2.3.2): returns, surrogates,
penalties.
"""

from __future__ import annotations

import torch
from torch import Tensor


def generalized_advantages(
    reward: Tensor,
    value: Tensor,
    last_value: Tensor,
    final_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    gamma: float,
    lam: float,
) -> Tensor:
    """GAE(gamma, lambda) (Schulman et al. 2016, Eq. 16) over segments in which episodes may end.

    An episode that terminates is worth nothing afterwards; one that is truncated (a time limit) is worth the value of
    its final observation. Neither passes anything on to what comes before across its border. Along options, which last
    differently long, it is `visagent.objectives.option_advantages.semi_markov_advantages`.

    Args:
        reward, value: `[T, B]`, value being V(s_t).
        last_value: `[B]`, V of the observation after the last step.
        final_value: `[T, B]`, V of the final observation where `truncated`; ignored elsewhere.
        terminated, truncated: `[T, B]` bool.
        gamma: discount of a step.
        lam: lambda, in [0, 1].

    Returns:
        `[T, B]`; with `value` added, the returns that a critic learns (TD(lambda)).
    """
    ended = terminated | truncated
    following = torch.cat([value[1:], last_value[None]])
    following = torch.where(truncated, final_value, following).masked_fill(terminated & ~truncated, 0.0)
    delta = reward + gamma * following - value
    carry = gamma * lam * (~ended).to(value.dtype)
    advantages, advantage = torch.empty_like(delta), torch.zeros_like(last_value)
    for t in range(len(delta) - 1, -1, -1):
        advantage = delta[t] + carry[t] * advantage
        advantages[t] = advantage
    return advantages


def importance_ratio(log_prob: Tensor, behaviour_log_prob: Tensor) -> Tensor:
    """The probability ratio `[N]` of the actions taken, under the policy that learns and under the one that acted."""
    return (log_prob - behaviour_log_prob).exp()


def clipped_surrogate(log_prob: Tensor, behaviour_log_prob: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """The clipped objective of each sample `[N]` (Schulman et al. 2017, Eq. 7), to be maximised.

    PPO trains small networks by its derivative, `visagent.learning.fast_gradients.clipped_slope`, which is to change
    with it.

    Args:
        log_prob, behaviour_log_prob: `[N]`, of the policy that learns and of the one that acted.
        advantage: `[N]`.
        clip: epsilon.
    """
    ratio = importance_ratio(log_prob, behaviour_log_prob)
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def divergence_penalty(mean: Tensor, beta: Tensor, eta: float, target: float) -> Tensor:
    """The penalty of the KL-penalised objective (Schulman et al. 2017, Eq. 8), with SURREAL's cutoff for what goes too
    far.

    Args:
        mean: over the samples, of the KL divergence of the policy that acted from the one that learns; a scalar.
        beta: weight of the penalty, a scalar.
        eta: weight of the squared excess of `mean` over twice the target.
        target: of `mean`, nats.
    """
    return beta * mean + eta * (mean - 2 * target).clamp_min(0.0).square()


def adapted_beta(beta: float, divergence: float, target: float, factor: float, low: float, high: float) -> float:
    """The penalty's next weight: larger when the policy moved more than twice the target, smaller when less than half
    of it.

    SURREAL's rule (released configuration: factor 1.5, range 1/35 to 35); it is applied when a new reference policy is
    published.
    """
    if divergence > 2.0 * target:
        return min(beta * factor, high)
    if divergence < 0.5 * target:
        return max(beta / factor, low)
    return beta


def standardized(advantage: Tensor, floor: float = 1e-4) -> Tensor:
    """Advantages with mean 0 and standard deviation 1 over all their elements."""
    return (advantage - advantage.mean()) / advantage.std(unbiased=False).clamp_min(floor)
