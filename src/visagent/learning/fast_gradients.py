"""Gradients of small feed-forward networks without autograd: a third of the calls, and they, not the arithmetic, are
what a small network costs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from visagent.networks.actor_critic import ActorCritic
from visagent.networks.distributions import (
    ActionDistribution,
    DiagonalGaussian,
    MultiCategorical,
    SquashedGaussian,
    valid,
)

if TYPE_CHECKING:
    from visagent.config.reinforcement_schemas import PPOSettings
    from visagent.experience.rollouts import PolicySamples
    from visagent.learning.passes import Minibatch
    from visagent.learning.ranks import Ranks


class Layers:
    """A chain of linear layers with tanh or ReLU between them, run forwards and backwards.

    Args:
        network: as `visagent.networks.actor_critic.mlp` makes it; its parameters have a `grad`, and keep it and their
            place in memory.
    """

    def __init__(self, network: nn.Sequential) -> None:
        self.linear = []
        for layer in network:
            if isinstance(layer, nn.Linear):
                weight, bias = layer.weight, layer.bias
                assert weight.grad is not None and bias.grad is not None
                # Looked up once: a module's attributes and a transposition cost as much as a small product.
                self.linear.append((weight.detach(), weight.detach().t(), bias.detach(), weight.grad, bias.grad))
        self.relu = any(isinstance(layer, nn.ReLU) for layer in network)
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """`[N, D]` to `[N, O]`; what each layer is given is kept."""
        self.inputs = []
        last = len(self.linear) - 1
        for number, (_, transposed, bias, _, _) in enumerate(self.linear):
            self.inputs.append(x)
            x = torch.addmm(bias, x, transposed)
            if number < last:
                x = x.relu_() if self.relu else x.tanh_()
        return x

    def backward(self, slope: Tensor) -> None:
        """Write the parameters' gradients, given the loss's slope in the output, `[N, O]`."""
        for number in range(len(self.linear) - 1, -1, -1):
            (weight, _, _, weight_grad, bias_grad), given = self.linear[number], self.inputs[number]
            torch.mm(slope.t(), given, out=weight_grad)
            torch.sum(slope, 0, out=bias_grad)
            if number:
                slope = slope.mm(weight)
                if self.relu:
                    slope = torch.ops.aten.threshold_backward(slope, given, 0)
                else:
                    slope = torch.ops.aten.tanh_backward(slope, given)


class FastActorCritic:
    """The heads of an actor-critic without stem and LSTM, run forwards and backwards.

    Args:
        network: whose parameters have a `grad`, into which gradients are written; see `serves`.
    """

    def __init__(self, network: ActorCritic) -> None:
        self.actor, self.critic = Layers(network.actor), Layers(network.critic)
        self.log_std = network.log_std
        self.log_std_grad = None if network.log_std is None else network.log_std.grad
        self.squash_mean = network.squash_mean
        self.mean = torch.empty(0)

    @staticmethod
    def serves(network: nn.Module) -> bool:
        """Whether a network is of the kind."""
        return isinstance(network, ActorCritic) and network.stem is None and network.lstm is None

    def forward(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Like `ActorCritic.parameters_of` and `values_of`: parameters `[N, P]` and values `[N]`.

        The logit of an action that is not valid has no slope, as its probability is 0.
        """
        parameters = self.actor.forward(features)
        if mask is not None:
            parameters = valid(parameters, mask)
        if self.log_std is not None:
            self.mean = parameters.tanh_() if self.squash_mean else parameters
            parameters = torch.cat([self.mean, self.log_std.expand_as(self.mean)], dim=-1)
        return parameters, self.critic.forward(features)[:, 0]

    def backward(self, parameters_slope: Tensor, value_slope: Tensor) -> None:
        """Write all gradients, given the loss's slopes in the parameters `[N, P]` and the values `[N]`."""
        if self.log_std is not None:
            parameters_slope, log_std_slope = parameters_slope.chunk(2, dim=-1)
            torch.sum(log_std_slope, 0, out=self.log_std_grad)
            if self.squash_mean:
                parameters_slope = torch.ops.aten.tanh_backward(parameters_slope, self.mean)
        self.actor.backward(parameters_slope)
        self.critic.backward(value_slope[:, None])


class FastPPO:
    """Writes the gradient of PPO's loss, several times faster than autograd where the network is small.

    Args:
        network: whose parameters' `grad` is written; see `serves`.
        settings: of PPO.
    """

    def __init__(self, network: ActorCritic, settings: PPOSettings) -> None:
        self.network, self.settings = FastActorCritic(network), settings
        self.distribution, self.slopes = network.distribution, slopes_of(network.distribution)

    @staticmethod
    def serves(network: nn.Module) -> bool:
        """Whether a network is of the kind."""
        return FastActorCritic.serves(network)

    @torch.no_grad()
    def backward(self, part: Minibatch[PolicySamples], beta: Tensor, ranks: Ranks) -> None:
        """The gradient of this rank's part of the loss; see `lightning_modules.ppo.PPO.loss`."""
        settings, samples, count = self.settings, part.samples, part.everyone.numel()
        parameters, values = self.network.forward(samples.observation["state"], samples.observation.get("mask"))
        log_prob, slope = self.slopes.log_prob(parameters, samples.action)
        if settings.variant == "clip":
            slope.mul_(clipped_slope(log_prob, samples.log_prob, samples.advantage, settings.clip, count)[:, None])
        else:  # adaptive_kl
            mean = ranks.sum(part.mean(self.distribution.divergence(samples.parameters, parameters)))
            penalty = penalty_slope(mean, beta, settings.kl_cutoff, settings.kl_target) / count
            slope.mul_(surrogate_slope(log_prob, samples.log_prob, samples.advantage, count)[:, None])
            slope.add_(self.slopes.divergence(samples.parameters, parameters) * penalty)
        if settings.entropy_weight:
            slope.sub_(self.slopes.entropy(parameters), alpha=settings.entropy_weight / count)
        self.network.backward(slope, (values - samples.returns).mul_(settings.value_weight / count))


def clipped_slope(log_prob: Tensor, behaviour_log_prob: Tensor, advantage: Tensor, clip: float, count: int) -> Tensor:
    """Slope `[N]` in `log_prob` of minus the mean of `clipped_surrogate` over `count` samples, N of which these are."""
    ratio = (log_prob - behaviour_log_prob).exp_()
    free = ratio * advantage
    bound = ratio.clamp_(1 - clip, 1 + clip).mul_(advantage)
    return torch.where(free <= bound, free, 0.0).div_(-count)


def surrogate_slope(log_prob: Tensor, behaviour_log_prob: Tensor, advantage: Tensor, count: int) -> Tensor:
    """Slope `[N]` in `log_prob` of minus the mean of ratio times advantage over `count` samples, of which these are
    N.
    """
    return (log_prob - behaviour_log_prob).exp_().mul_(advantage).div_(-count)


def penalty_slope(mean: Tensor, beta: Tensor, eta: float, target: float) -> Tensor:
    """Slope of `divergence_penalty` in the mean divergence."""
    return beta + 2 * eta * (mean - 2 * target).clamp_min(0.0)


class DistributionSlopes(Protocol):
    """Slopes of what `ActionDistribution` computes, in the parameters `[N, P]`."""

    def log_prob(self, parameters: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """The log-probability `[N]`, and its slope `[N, P]`."""
        ...

    def entropy(self, parameters: Tensor) -> Tensor:
        """Gradient of the entropy, `[N, P]`."""
        ...

    def divergence(self, parameters: Tensor, others: Tensor) -> Tensor:
        """Gradient of KL(parameters || others) by `others`, `[N, P]`."""
        ...


def slopes_of(distribution: ActionDistribution) -> DistributionSlopes:
    """The slopes of a distribution."""
    if isinstance(distribution, SquashedGaussian):
        return SquashedSlopes(distribution)
    if isinstance(distribution, DiagonalGaussian):
        return GaussianSlopes(distribution.actions)
    return MultiSlopes(distribution.choices) if isinstance(distribution, MultiCategorical) else CategoricalSlopes()


class GaussianSlopes:
    """Slopes of `DiagonalGaussian`, whose actions have so many components."""

    def __init__(self, actions: int) -> None:
        self.actions = actions

    def log_prob(self, parameters: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = parameters.chunk(2, dim=-1)
        precision = (-log_std).exp_()
        scaled = (action - mean).mul_(precision)
        square = scaled * scaled
        constant = 0.5 * math.log(2 * math.pi) * self.actions
        log_prob = (square * -0.5).sub_(log_std).sum(dim=-1).sub_(constant)
        return log_prob, torch.cat([scaled.mul_(precision), square.sub_(1.0)], dim=-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        slope = torch.zeros_like(parameters)
        slope[..., self.actions :] = 1.0
        return slope

    def divergence(self, parameters: Tensor, others: Tensor) -> Tensor:
        mean, log_std = parameters.chunk(2, dim=-1)
        other_mean, other_log_std = others.chunk(2, dim=-1)
        precision = (-2 * other_log_std).exp()
        apart = other_mean - mean
        return torch.cat([apart * precision, 1 - ((2 * log_std).exp() + apart * apart) * precision], dim=-1)


class SquashedSlopes(GaussianSlopes):
    """Slopes of `SquashedGaussian`."""

    def __init__(self, distribution: SquashedGaussian) -> None:
        super().__init__(distribution.actions)
        self.distribution = distribution

    def log_prob(self, parameters: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        action = action.clamp(-self.distribution.bound, self.distribution.bound)
        log_prob, slope = super().log_prob(parameters, action.atanh())
        return log_prob.sub_(torch.log1p(-action.square()).sum(dim=-1)), slope

    def entropy(self, parameters: Tensor) -> Tensor:
        mean, log_std = parameters.chunk(2, dim=-1)
        places, std = self.distribution.places.to(mean), log_std.exp()[..., None]
        shrinks = (mean[..., None] + std * places).tanh_().mul_(-2.0).mul_(self.distribution.weights.to(mean))
        return torch.cat([shrinks.sum(dim=-1), (shrinks * std * places).sum(dim=-1).add_(1.0)], dim=-1)


class CategoricalSlopes:
    """Slopes of `Categorical`."""

    def log_prob(self, parameters: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        log_probs, chosen = parameters.log_softmax(dim=-1), action[..., None]
        slope = log_probs.exp().neg_()
        return log_probs.gather(-1, chosen)[..., 0], slope.scatter_add_(-1, chosen, torch.ones_like(slope[..., :1]))

    def entropy(self, parameters: Tensor) -> Tensor:
        log_probs = parameters.log_softmax(dim=-1)
        probs = log_probs.exp()
        return -probs * (log_probs - (probs * log_probs).sum(dim=-1, keepdim=True))

    def divergence(self, parameters: Tensor, others: Tensor) -> Tensor:
        return others.softmax(dim=-1) - parameters.softmax(dim=-1)


class MultiSlopes:
    """Slopes of `MultiCategorical`, whose numbers have so many choices each."""

    def __init__(self, choices: list[int]) -> None:
        self.choices, self.one = choices, CategoricalSlopes()

    def _split(self, parameters: Tensor) -> tuple[Tensor, ...]:
        parts: tuple[Tensor, ...] = parameters.split(self.choices, dim=-1)
        return parts

    def log_prob(self, parameters: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        both = [
            self.one.log_prob(part, chosen)
            for part, chosen in zip(self._split(parameters), action.unbind(dim=-1), strict=True)
        ]
        return torch.stack([log_prob for log_prob, _ in both]).sum(dim=0), torch.cat([slope for _, slope in both], -1)

    def entropy(self, parameters: Tensor) -> Tensor:
        return torch.cat([self.one.entropy(part) for part in self._split(parameters)], dim=-1)

    def divergence(self, parameters: Tensor, others: Tensor) -> Tensor:
        pairs = zip(self._split(parameters), self._split(others), strict=True)
        return torch.cat([self.one.divergence(part, other) for part, other in pairs], dim=-1)
