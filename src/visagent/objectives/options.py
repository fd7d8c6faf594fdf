"""Policy gradients over options that last differently long (Lyu et al. 2023, Sections II-B and III): conditionals of a joint distribution, semi-MDP returns."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def joint_index(options: Tensor, sizes: Sequence[int]) -> Tensor:
    """Place `[...]` of joint options `[..., n]` among all of them, the last agent's changing fastest."""
    index = torch.zeros_like(options[..., 0])
    for agent, size in enumerate(sizes):
        index = index * size + options[..., agent]
    return index


def separate(index: Tensor, sizes: Sequence[int]) -> Tensor:
    """Joint options `[..., n]` at places `[...]`; see `joint_index`."""
    options = []
    for size in reversed(sizes):
        options.append(index % size)
        index = index // size
    return torch.stack(options[::-1], dim=-1)


def open_options(options: Tensor, choosing: Tensor, available: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """What each agent may do next, of each `[N, m_i]` bool: what is available to those who choose, what is running of the others.

    Args:
        options: `[N, n]`; of agents that do not choose, their running one, which needs not be available.
        choosing: `[N, n]` bool, Z.
        available: `[N, m_1 + ... + m_n]` bool.
        sizes: m_i.
    """
    found = []
    for agent, offered in enumerate(available.split(list(sizes), dim=-1)):
        running = torch.arange(sizes[agent], device=options.device) == options[:, agent : agent + 1]
        found.append(torch.where(choosing[:, agent : agent + 1], offered, running))
    return found


def joint_slice(options: Tensor, choosing: Tensor, available: Tensor, sizes: Sequence[int]) -> Tensor:
    """S(Z, w^C), the joint options that may come next, `[N, M]` bool with M the product of `sizes`; arguments as of `open_options`."""
    joint = torch.ones((len(options), 1), dtype=torch.bool, device=options.device)
    for part in open_options(options, choosing, available, sizes):
        joint = (joint[:, :, None] & part[:, None, :]).flatten(1)
    return joint


def conditional_log_probs(logits: Tensor, allowed: Tensor) -> Tensor:
    """The logarithm of Eq. 3: a joint categorical, given by its logits `[N, M]`, conditioned on the slice `allowed` `[N, M]`; -inf outside of it.

    The normaliser of the joint distribution cancels, so that small probabilities of the running options do no harm.
    """
    return logits.masked_fill(~allowed, -torch.inf).log_softmax(dim=-1)


def masked_entropy(log_probs: Tensor) -> Tensor:
    """Entropy `[...]`, nats, of distributions `[..., M]` some of whose log-probabilities are -inf."""
    return -(log_probs.exp() * log_probs.masked_fill(log_probs == -torch.inf, 0.0)).sum(dim=-1)


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

    delta_k = R_k + gamma^d_k V(O_k+1) - V(O_k); A_k = delta_k + gamma^d_k lambda A_k+1. With every duration 1 this is ordinary GAE.

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
    fade = discount * (lam ** duration.to(value.dtype) if lam_by_duration else lam) * (~(terminated | truncated)).to(value.dtype)
    advantages, advantage, following = torch.zeros_like(value), torch.zeros_like(last_value), last_value
    for k in range(len(value) - 1, -1, -1):
        after = torch.where(truncated[k, :, None], final_value[k], following).masked_fill((terminated & ~truncated)[k, :, None], 0.0)
        delta = reward[k, :, None] + discount[k, :, None] * after - value[k]
        here = valid[k, :, None]
        advantage = torch.where(here, delta + fade[k, :, None] * advantage, advantage)
        advantages[k] = torch.where(here, advantage, 0.0)
        following = torch.where(here, value[k], following)
    return advantages


def clipped_value_loss(value: Tensor, before: Tensor, target: Tensor, clip: float, huber: float) -> Tensor:
    """MAPPO's loss of the critic `[...]` (Yu et al. 2022, Appendix): the larger one of that of its value and that of a value near the one before.

    Args:
        value, before: `[...]`, now and when the policy acted.
        target: `[...]`.
        clip: how far `value` counts from `before`.
        huber: where the loss becomes linear.
    """
    near = before + (value - before).clamp(-clip, clip)
    losses = [torch.nn.functional.huber_loss(v, target, reduction="none", delta=huber) for v in (value, near)]
    return torch.maximum(*losses)
