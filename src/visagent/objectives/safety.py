"""SafeDAgger's safety policy (Zhang & Cho 2017), for discrete actions with several optimal ones.

The original deems a state unsafe when the squared distance between the two policies' continuous actions exceeds tau
(Eq. 2 there). Here the deviation is the probability that the policy gives to actions that are not optimal.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def deviation(logits: Tensor, optimal: Tensor) -> Tensor:
    """Probability of an action outside the optimal set, `[B]` in [0, 1], from logits `[B, A]` and optimal `[B, A]`
    bool.
    """
    return 1.0 - (logits.softmax(dim=1) * optimal).sum(dim=1).clamp(0.0, 1.0)


def is_unsafe(logits: Tensor, optimal: Tensor, tolerance: float) -> Tensor:
    """`[B]` bool: deviation above `tolerance` (tau). With 0.5 a policy that is sure of a wrong action is unsafe."""
    return deviation(logits, optimal) > tolerance


def safety_loss(logit: Tensor, unsafe: Tensor, positive_weight: Tensor) -> Tensor:
    """Binary cross-entropy of the safety policy; unsafe states are few and weigh `positive_weight` each.

    Args:
        logit: `[B]` of "unsafe"; unsafe: `[B]` bool; positive_weight: scalar.
    """
    return F.binary_cross_entropy_with_logits(logit, unsafe.float(), pos_weight=positive_weight)


def threshold_for_recall(probability: Tensor, unsafe: Tensor, recall: float) -> Tensor:
    """The highest threshold at which at least `recall` of the unsafe states are warned of (probability > threshold).

    A fixed 0.5 collapses where unsafe states are rare: the safety policy then calls everything safe and never asks.

    Args:
        probability: `[N]` of "unsafe"; unsafe: `[N]` bool; recall: in (0, 1].

    Returns:
        A scalar; 0.5 where there is no unsafe state to measure recall on.
    """
    wanted = probability[unsafe]
    if len(wanted) == 0:
        return torch.tensor(0.5, device=probability.device)
    index = len(wanted) - int(torch.ceil(torch.tensor(recall * len(wanted))).item())
    lowest = wanted.sort().values[index]
    return torch.nextafter(lowest, torch.zeros_like(lowest))
