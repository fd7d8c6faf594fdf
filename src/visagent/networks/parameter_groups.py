"""Groups of a video network's parameters that learn at rates of their own."""

from __future__ import annotations

from typing import Any

from torch import nn

from visagent.networks.shift import AttentionShift, RubiksShift2D, RubiksShift3D


def parameter_groups(
    network: nn.Module, lr: float, shift_factor: float, attention_factor: float
) -> list[dict[str, Any]]:
    """Weights decay; biases, normalisation, shifts and attention do not, and these two have rates of their own.

    Args:
        network: with or without shifts.
        lr: learning rate of the weights.
        shift_factor, attention_factor: rates of the shifts, and of the temporal attention, as multiples of it.
    """
    moving = [
        m.shift for m in network.modules() if isinstance(m, RubiksShift3D | RubiksShift2D) and m.shift.requires_grad
    ]
    attention = [m.weight for m in network.modules() if isinstance(m, AttentionShift)]
    apart = {id(parameter) for parameter in [*moving, *attention]}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in apart]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in others if p.dim() > 1], "lr": lr},
        {"params": [p for p in others if p.dim() <= 1], "lr": lr, "weight_decay": 0.0},
        {"params": moving, "lr": lr * shift_factor, "weight_decay": 0.0},
        {"params": attention, "lr": lr * attention_factor, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
