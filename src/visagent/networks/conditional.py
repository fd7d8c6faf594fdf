"""A joint distribution over options, conditioned on those that run (Lyu et al. 2023, Eq. 2 and 3)."""

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
    """What each agent may do next, of each `[N, m_i]` bool: what is available to those who choose, what is running of
    the others.

    Args:
        options: `[N, n]`; of agents that do not choose, their running one, which needs not be available.
        choosing: `[N, n]` bool, Z.
        available: `[N, m_1 + ... + m_n]` bool.
        sizes: m_i.
    """
    masks = []
    for agent, offered in enumerate(available.split(list(sizes), dim=-1)):
        running = torch.arange(sizes[agent], device=options.device) == options[:, agent : agent + 1]
        chooses = choosing[:, agent : agent + 1]
        masks.append((chooses & offered) | (~chooses & running))
    return masks


def joint_slice(options: Tensor, choosing: Tensor, available: Tensor, sizes: Sequence[int]) -> Tensor:
    """S(Z, w^C), the joint options that may come next, `[N, M]` bool with M the product of `sizes`; arguments as of
    `open_options`.
    """
    joint = torch.ones((options.shape[0], 1), dtype=torch.bool, device=options.device)
    for part in open_options(options, choosing, available, sizes):
        joint = (joint[:, :, None] & part[:, None, :]).flatten(1)
    return joint


def conditional_log_probs(logits: Tensor, allowed: Tensor) -> Tensor:
    """The logarithm of Eq. 3: a joint categorical, given by its logits `[N, M]`, conditioned on the slice `allowed`
    `[N, M]`; -inf outside of it.

    The normaliser of the joint distribution cancels, so that small probabilities of the running options do no harm.
    """
    return logits.masked_fill(~allowed, -torch.inf).log_softmax(dim=-1)


def masked_entropy(log_probs: Tensor) -> Tensor:
    """Entropy `[...]`, nats, of distributions `[..., M]` some of whose log-probabilities are -inf."""
    return -(log_probs.exp() * log_probs.masked_fill(log_probs == -torch.inf, 0.0)).sum(dim=-1)
