"""Losses and schedules of RubiksNet (dissertation Chapter 6)."""

from __future__ import annotations

from torch import Tensor


def budget_loss(share: Tensor, budget: float) -> Tensor:
    """How far the share of shifted channels lies from its budget (Eq. 6.8).

    Args:
        share: scalar, the mean over layers of the attention on shifts other than zero.
        budget: B, between 0 and 1.
    """
    return (share - budget).abs()


def temperature(epoch: float, epochs: float, initial: float, final: float) -> float:
    """The attention's temperature, annealed exponentially over the first `epochs` (Section 6.4.1: from 2.0 to 0.001
    over 40).
    """
    return float(initial * (final / initial) ** min(1.0, epoch / epochs))
