"""Distributions of actions as functions of their parameters, which cross process borders as plain arrays."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class ActionDistribution(Protocol):
    """A family of distributions; `parameters` are `[..., P]`, actions `[...]` (discrete) or `[..., A]`."""

    size: int
    """P, how many parameters a network must give."""

    def sample(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw on the CPU's generator, so that one seed gives one episode on every device."""
        ...

    def mode(self, parameters: Tensor) -> Tensor:
        """The most likely action."""
        ...

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        """`[...]`, nats."""
        ...

    def entropy(self, parameters: Tensor) -> Tensor:
        """`[...]`, nats."""
        ...

    def divergence(self, parameters: Tensor, others: Tensor) -> Tensor:
        """KL(parameters || others), `[...]`, nats."""
        ...


class DiagonalGaussian:
    """Independent normal components; parameters are A means and A logarithms of standard deviations."""

    def __init__(self, actions: int) -> None:
        self.actions, self.size = actions, 2 * actions

    def sample(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        mean, log_std = parameters.chunk(2, dim=-1)
        noise = torch.randn(mean.shape, generator=generator).to(mean.device)
        return mean + log_std.exp() * noise

    def mode(self, parameters: Tensor) -> Tensor:
        return parameters[..., : self.actions]

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        mean, log_std = parameters.chunk(2, dim=-1)
        scaled = (action - mean) * (-log_std).exp()
        return (-0.5 * scaled.square() - log_std).sum(dim=-1) - 0.5 * math.log(2 * math.pi) * self.actions

    def entropy(self, parameters: Tensor) -> Tensor:
        return parameters[..., self.actions :].sum(dim=-1) + 0.5 * (1 + math.log(2 * math.pi)) * self.actions

    def divergence(self, parameters: Tensor, others: Tensor) -> Tensor:
        mean, log_std = parameters.chunk(2, dim=-1)
        other_mean, other_log_std = others.chunk(2, dim=-1)
        ratio = (2 * (log_std - other_log_std)).exp()
        apart = (mean - other_mean).square() * (-2 * other_log_std).exp()
        return 0.5 * (ratio + apart - 1).sum(dim=-1) + (other_log_std - log_std).sum(dim=-1)


def sample_categorical(log_probs: Tensor, generator: torch.Generator | None) -> Tensor:
    """Places `[...]` drawn from distributions `[..., A]`; what has probability 0 is never drawn.

    Random numbers come from the CPU, so that one seed gives one episode on every device.
    """
    cumulated = log_probs.exp().cumsum(dim=-1)
    uniform = torch.rand((*log_probs.shape[:-1], 1), generator=generator).to(log_probs.device) * cumulated[..., -1:]
    # The first place whose cumulated probability exceeds the number drawn: never one of probability 0.
    return (cumulated <= uniform).sum(dim=-1).clamp_max_(log_probs.shape[-1] - 1)


class Categorical:
    """One of A actions; parameters are logits."""

    def __init__(self, actions: int) -> None:
        self.size = actions

    def sample(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        return sample_categorical(parameters.log_softmax(dim=-1), generator)

    def mode(self, parameters: Tensor) -> Tensor:
        return parameters.argmax(dim=-1)

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        return parameters.log_softmax(dim=-1).gather(-1, action[..., None])[..., 0]

    def entropy(self, parameters: Tensor) -> Tensor:
        log_probs = parameters.log_softmax(dim=-1)
        return -(log_probs.exp() * log_probs).sum(dim=-1)

    def divergence(self, parameters: Tensor, others: Tensor) -> Tensor:
        log_probs = parameters.log_softmax(dim=-1)
        return (log_probs.exp() * (log_probs - others.log_softmax(dim=-1))).sum(dim=-1)
