"""Imitation losses: classification of the expert's action."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def expert_cross_entropy(logits: Tensor, action: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy between the policy and the expert's action (the paper, Section 3.2).

    Args:
        logits: `[B, A]`; action: `[B]` int64.
        label_smoothing: in [0, 1).
    """
    return F.cross_entropy(logits, action, label_smoothing=label_smoothing)


def optimal_set_loss(logits: Tensor, optimal: Tensor) -> Tensor:
    """Mean of -log of the probability that the policy gives to all optimal actions together.

    About half of all (state, target) pairs have more than one; this loss does not ask the policy to guess the tie
    order.

    Args:
        logits: `[B, A]`; optimal: `[B, A]` bool with at least one per row.
    """
    everything, wanted = logits.logsumexp(dim=1), logits.masked_fill(~optimal, float("-inf")).logsumexp(dim=1)
    return (everything - wanted).mean()


def agreement(logits: Tensor, optimal: Tensor) -> Tensor:
    """Share of states whose most likely action is an optimal one."""
    return optimal.gather(1, logits.argmax(dim=1, keepdim=True)).float().mean()
