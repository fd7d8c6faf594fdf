"""Evolution strategies (Salimans et al. 2017): shaped returns and the gradient that they estimate."""

from __future__ import annotations

import torch
from torch import Tensor


def undefined_last(returns: Tensor) -> Tensor:
    """The same returns, with those that are not finite (a simulation broke down) a hair below all others; zeros where
    none is finite.
    """
    finite = returns.isfinite()
    if bool(finite.all()):
        return returns
    if not bool(finite.any()):
        return torch.zeros_like(returns)
    lowest = returns[finite].min()
    return torch.where(finite, returns, torch.nextafter(lowest, torch.full_like(lowest, -torch.inf)))


def centered_ranks(returns: Tensor) -> Tensor:
    """Ranks of all elements, from -1/2 to 1/2, so that no single return counts for more than its place (Section 2.1,
    "fitness shaping").

    Elements that are equal share the mean of their ranks: where all policies earn the same, nothing is learned. What is
    not finite ranks last.
    """
    flat = undefined_last(returns).reshape(-1)
    place: Tensor
    counts: Tensor
    _, place, counts = flat.unique(sorted=True, return_inverse=True, return_counts=True)
    last = counts.cumsum(0)
    rank: Tensor = (last - (counts + 1) / 2.0)[place]
    return (rank / max(len(flat) - 1, 1) - 0.5).reshape(returns.shape)


def antithetic_gradient(shaped: Tensor, noise: Tensor, sigma: float) -> Tensor:
    """1/(2 P sigma) sum_i (F_i+ - F_i-) epsilon_i, of what is to be maximised (Algorithm 1 with mirrored sampling).

    Args:
        shaped: `[P, 2]`, returns of theta + sigma epsilon and theta - sigma epsilon, shaped.
        noise: `[P, N]` epsilon.
        sigma: standard deviation of the perturbations.

    Returns:
        `[N]`.
    """
    weights = (shaped[:, 0] - shaped[:, 1]).to(noise.dtype)
    return torch.mv(noise.T, weights) / (2 * len(noise) * sigma)
