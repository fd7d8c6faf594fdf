"""Gradients of small feed-forward networks without autograd: a third of the calls, and they, not the arithmetic, are what small networks cost."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visagent.networks.actor_critic import ActorCritic


class FlatGradients:
    """Gradients of some parameters, as views into one vector.

    Args:
        parameters: whose `grad` they become.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        first = parameters[0]
        self.vector = torch.zeros(sum(parameter.numel() for parameter in parameters), device=first.device, dtype=first.dtype)
        parts = self.vector.split([parameter.numel() for parameter in parameters])
        self.views = [part.view_as(parameter) for parameter, part in zip(parameters, parts, strict=True)]
        for parameter, view in zip(parameters, self.views, strict=True):
            parameter.grad = view

    def clip(self, max_norm: float) -> None:
        """Scale all of them down to a norm, to the bit as `torch.nn.utils.clip_grad_norm_` does."""
        self.vector.mul_((max_norm / (nn.utils.get_total_norm(self.views, foreach=True) + 1e-6)).clamp_(max=1.0))


class Layers:
    """A chain of linear layers with tanh or ReLU between them, run forwards and backwards.

    Args:
        network: as `visagent.networks.actor_critic.mlp` makes it; its parameters must have a `grad`, and keep it and their place in memory.
    """

    def __init__(self, network: nn.Sequential) -> None:
        self.linear = []
        for layer in network:
            if isinstance(layer, nn.Linear):
                assert layer.weight.grad is not None and layer.bias.grad is not None
                # Looked up once: a module's attributes and a transposition cost as much as a small product.
                self.linear.append((layer.weight.detach(), layer.weight.detach().t(), layer.bias.detach(), layer.weight.grad, layer.bias.grad))
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
                slope = torch.ops.aten.threshold_backward(slope, given, 0) if self.relu else torch.ops.aten.tanh_backward(slope, given)


class ActorCriticByHand:
    """The heads of an actor-critic without stem and LSTM, run forwards and backwards.

    Args:
        network: whose parameters' gradients are written; see `serves`.
    """

    def __init__(self, network: ActorCritic) -> None:
        self.gradients = FlatGradients(list(network.parameters()))
        self.actor, self.critic = Layers(network.actor), Layers(network.critic)
        self.log_std = network.log_std
        self.squash_mean = network.squash_mean
        self.mean = torch.empty(0)

    @staticmethod
    def serves(network: nn.Module) -> bool:
        """Whether a network is of the kind."""
        return isinstance(network, ActorCritic) and network.stem is None and network.lstm is None

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """As `ActorCritic.parameters_of` and `values_of`: parameters `[N, P]` and values `[N]`."""
        parameters = self.actor.forward(features)
        if self.log_std is not None:
            self.mean = parameters.tanh_() if self.squash_mean else parameters
            parameters = torch.cat([self.mean, self.log_std.expand_as(self.mean)], dim=-1)
        return parameters, self.critic.forward(features)[:, 0]

    def backward(self, parameters_slope: Tensor, value_slope: Tensor) -> None:
        """Write all gradients, given the loss's slopes in the parameters `[N, P]` and the values `[N]`."""
        if self.log_std is not None:
            parameters_slope, log_std_slope = parameters_slope.chunk(2, dim=-1)
            assert self.log_std.grad is not None
            torch.sum(log_std_slope, 0, out=self.log_std.grad)
            if self.squash_mean:
                parameters_slope = torch.ops.aten.tanh_backward(parameters_slope, self.mean)
        self.actor.backward(parameters_slope)
        self.critic.backward(value_slope[:, None])
