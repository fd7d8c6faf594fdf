"""Soft actor-critic (Haarnoja et al. 2018; dissertation Equations 5.1 to 5.3)."""

from __future__ import annotations

from torch import Tensor

from visagent.objectives.deterministic_policy_gradient import n_step_target


def soft_target(
    rewards: Tensor,
    steps: Tensor,
    terminated: Tensor,
    following: Tensor,
    log_prob: Tensor,
    temperature: Tensor,
    gamma: float,
) -> Tensor:
    """What the critics learn, `[N]`: r_0 + ... + gamma^k (Q(s_k, a_k) - alpha log pi(a_k | s_k)) (Equation 5.1).

    With n > 1 the entropy of the steps between is left out, as is usual.

    Args:
        rewards: `[N, n]`, 0 from the k-th on.
        steps: `[N]` k.
        terminated: `[N]` bool.
        following: `[N]`, the smaller one of the target critics' values of the policy's action after k steps.
        log_prob: `[N]` of that action.
        temperature: alpha.
        gamma: discount of a step.
    """
    return n_step_target(rewards, steps, terminated, following - temperature * log_prob, gamma)


def policy_loss(log_prob: Tensor, values: Tensor, temperature: Tensor) -> Tensor:
    """The mean of alpha log pi(a | s) - Q(s, a) over actions that the policy takes now (Equation 5.2).

    Args:
        log_prob, values: `[N]`.
        temperature: alpha; no gradient goes through it.
    """
    return (temperature.detach() * log_prob - values).mean()


def temperature_loss(temperature: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """The mean of alpha (-log pi(a | s) - H), which raises alpha where the policy's entropy is below H (Equation 5.3).

    Args:
        temperature: alpha.
        log_prob: `[N]`; no gradient goes through it.
        target_entropy: H, nats.
    """
    return (temperature * (-log_prob.detach() - target_entropy)).mean()
