"""Weights of several learners as vectors: what an exchange makes of them, and how far they are apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def floating(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Those whose mean means something: counters and flags are left to each learner."""
    return [tensor for tensor in tensors if tensor.is_floating_point()]


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """All elements in one vector on the CPU, float64 where one of the tensors is, else float32.

    Args:
        tensors: floating.

    Returns:
        `[elements]`, a copy.
    """
    double = any(tensor.dtype == torch.float64 for tensor in tensors)
    kind = torch.float64 if double else torch.float32
    return torch.cat([tensor.detach().reshape(-1).to("cpu", kind) for tensor in tensors])


def fill(tensors: Sequence[Tensor], values: Tensor) -> None:
    """The reverse of `flatten`: put a vector's elements into the tensors.

    Args:
        tensors: of as many elements, changed in place.
        values: `[elements]`.
    """
    parts = values.split([tensor.numel() for tensor in tensors])
    with torch.no_grad():
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.reshape(tensor.shape))


def elastic_difference(own: Tensor, centre: Tensor, pull: float) -> Tensor:
    """What a learner gives up and the centre gains (Zhang, Choromanska and LeCun, "Deep learning with elastic averaging
    SGD", 2015, Algorithm 1): alpha (x - x~).

    Args:
        own, centre: `[elements]`.
        pull: alpha.
    """
    return pull * (own - centre)


def divergence(weights: Sequence[Tensor]) -> float:
    """How far learners are apart: the mean over learners of ||w_i - w|| / ||w||, with w the mean of all w_i.

    Args:
        weights: one vector `[elements]` for each learner.
    """
    together = torch.stack(list(weights))
    mean = together.mean(dim=0)
    return float(torch.linalg.vector_norm(together - mean, dim=1).mean() / torch.linalg.vector_norm(mean))
