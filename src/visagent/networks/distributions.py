"""Distributions of actions as functions of their parameters, which cross process borders as plain arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from visagent.envs.spaces import ActionSpace

INVALID = -1e8
"""Logit of an action that is not valid: its probability is 0, and products with it are not NaN."""
NODES = 32
"""Of the quadrature of a squashed Gaussian's entropy: right to 0.002 nats up to a standard deviation of 2, to 0.02 up
to 4.
"""


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


class MultiCategorical:
    """Several numbers, each one of its own choices, independently; parameters are the logits of all, one after the
    other, actions `[..., A]` int64.

    Args:
        choices: of each number.
    """

    def __init__(self, choices: Sequence[int]) -> None:
        self.choices, self.size = list(choices), sum(choices)
        self.each = [Categorical(count) for count in choices]

    def sample(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        logits = zip(self.each, parameters.split(self.choices, dim=-1), strict=True)
        return torch.stack([each.sample(part, generator) for each, part in logits], dim=-1)

    def mode(self, parameters: Tensor) -> Tensor:
        return torch.stack([part.argmax(dim=-1) for part in parameters.split(self.choices, dim=-1)], dim=-1)

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        return self._sum(Categorical.log_prob, parameters.split(self.choices, dim=-1), action.unbind(dim=-1))

    def entropy(self, parameters: Tensor) -> Tensor:
        return self._sum(Categorical.entropy, parameters.split(self.choices, dim=-1))

    def divergence(self, parameters: Tensor, others: Tensor) -> Tensor:
        return self._sum(
            Categorical.divergence, parameters.split(self.choices, dim=-1), others.split(self.choices, dim=-1)
        )

    def _sum(self, of_each: Callable[..., Tensor], *parts: Sequence[Tensor]) -> Tensor:
        total = [of_each(each, *given) for each, *given in zip(self.each, *parts, strict=True)]
        return torch.stack(total).sum(dim=0)


class SquashedGaussian(DiagonalGaussian):
    """Components that are tanh of normal ones, and so within (-1, 1); parameters are those of the normal ones.

    What is learned from are the actions themselves: the normal numbers behind them are found again, but for those that
    float32 cannot tell from 1.
    """

    bound = 1.0 - 1e-6

    def __init__(self, actions: int) -> None:
        super().__init__(actions)
        places, weights = np.polynomial.hermite_e.hermegauss(NODES)  # type: ignore[no-untyped-call]
        self.places = torch.tensor(places, dtype=torch.float32)
        self.weights = torch.tensor(weights / math.sqrt(2 * math.pi), dtype=torch.float32)

    def sample(self, parameters: Tensor, generator: torch.Generator | None) -> Tensor:
        return super().sample(parameters, generator).tanh().clamp(-self.bound, self.bound)

    def mode(self, parameters: Tensor) -> Tensor:
        """The squashed mode of the normal distribution."""
        return super().mode(parameters).tanh()

    def log_prob(self, parameters: Tensor, action: Tensor) -> Tensor:
        action = action.clamp(-self.bound, self.bound)
        shrunk = torch.log1p(-action.square()).sum(dim=-1)
        return super().log_prob(parameters, action.atanh()) - shrunk

    def entropy(self, parameters: Tensor) -> Tensor:
        """Entropy of the normal distribution, and the mean of log(1 - tanh^2), by Gauss-Hermite quadrature."""
        mean, log_std = parameters.chunk(2, dim=-1)
        places, weights = self.places.to(mean), self.weights.to(mean)
        normal = mean[..., None] + log_std.exp()[..., None] * places
        shrunk = 2.0 * (math.log(2.0) - normal - torch.nn.functional.softplus(-2.0 * normal))
        return super().entropy(parameters) + (shrunk * weights).sum(dim=(-1, -2))


def distribution_of(action: ActionSpace, squashed: bool = False) -> ActionDistribution:
    """The family of distributions that a policy draws actions from.

    Args:
        action: what it chooses from.
        squashed: continuous actions are tanh of normal ones.
    """
    if action.kind == "continuous":
        return SquashedGaussian(action.size) if squashed else DiagonalGaussian(action.size)
    return MultiCategorical(action.choices) if action.choices else Categorical(action.size)


def valid(logits: Tensor, mask: Tensor) -> Tensor:
    """Logits of which those that are not valid, where `mask` is 0, have probability 0 (Huang and Ontanon 2022)."""
    return torch.where(mask > 0, logits, INVALID)
