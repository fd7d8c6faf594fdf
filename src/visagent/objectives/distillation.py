"""Imitation of an expert's actions (SECANT; dissertation Section 5.4.1, Algorithm 1)."""

from __future__ import annotations

from torch import Tensor


def imitation_loss(actions: Tensor, labels: Tensor, kind: str) -> Tensor:
    """The distance of the student's actions to the expert's.

    Args:
        actions, labels: `[N, A]`.
        kind: `squared`, the mean over the batch of the squared 2-norm, or `norm`, the Frobenius norm over the batch as
            Algorithm 1 has it; both are least at the same place.
    """
    difference = actions - labels
    return difference.norm() if kind == "norm" else difference.square().sum(dim=-1).mean()
