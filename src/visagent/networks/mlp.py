"""Fully connected layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh}


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int | None,
    activation: str,
    norm: str | None = None,
    linear: Callable[[int, int], nn.Linear] = nn.Linear,
) -> nn.Sequential:
    """A multilayer perceptron: hidden layers with an activation each, and a linear one for the outputs.

    Args:
        inputs, outputs: numbers; None for hidden layers alone.
        hidden: widths.
        activation: one of `ACTIVATIONS`.
        norm: layer normalisation `before` the activation, `after` it, or None.
        linear: makes a layer from its inputs and outputs.
    """
    layers: list[nn.Module] = []
    for width in hidden:
        layers.append(linear(inputs, width))
        if norm == "before":
            layers.append(nn.LayerNorm(width))
        layers.append(ACTIVATIONS[activation]())
        if norm == "after":
            layers.append(nn.LayerNorm(width))
        inputs = width
    return nn.Sequential(*layers) if outputs is None else nn.Sequential(*layers, linear(inputs, outputs))


def orthogonal_linear(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
    """A layer with orthogonal weights and no biases."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def make_orthogonal(network: nn.Sequential, last: float) -> None:
    """Orthogonal weights with gain sqrt(2), `last` in the last layer, no biases.

    The usual choice for PPO (Engstrom et al. 2020).
    """
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    for layer in linear:
        nn.init.orthogonal_(layer.weight, last if layer is linear[-1] else 2**0.5)
        nn.init.zeros_(layer.bias)
