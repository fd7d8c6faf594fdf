"""What a network costs: parameters, and multiply-adds of its convolutions and linear layers, counted by running it on
no data.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Cost:
    """What was counted.

    Attributes:
        parameters: all of them, those of shifts and attention included.
        multiply_adds: of convolutions and linear layers for one input. Element-wise work (normalisation, activations,
            interpolation) is left out.
    """

    parameters: int
    multiply_adds: int


def cost(network: nn.Module, shape: Sequence[int]) -> Cost:
    """Count a network.

    Args:
        network: left as it is.
        shape: of one input with its batch dimension, for example `(1, 8, 3, 224, 224)`.
    """
    phantom = copy.deepcopy(network).to("meta").eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        phantom(torch.empty(*shape, device="meta"))
    return Cost(sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2)
