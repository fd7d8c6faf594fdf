"""Convolutions over pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from visagent.errors import ConfigError


def convolutions(channels: Sequence[int], kernels: Sequence[int], strides: Sequence[int]) -> nn.Sequential:
    """Convolutions with ReLU each, flattened.

    Args:
        channels: of the picture, then of each convolution.
        kernels, strides: of each convolution.
    """
    layers: list[nn.Module] = []
    for number, (kernel, stride) in enumerate(zip(kernels, strides, strict=True)):
        layers += [nn.Conv2d(channels[number], channels[number + 1], kernel, stride), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten())


def centred(pixels: Tensor, differences: bool) -> Tensor:
    """Pictures in [0, 255] as convolutions want them: around 0, channels last.

    Args:
        pixels: `[N, C, H, W]`, three channels of each stacked frame, the newest last.
        differences: whether all frames but the newest are replaced by what changed until the next one, twice over: what
            moves by less than a pixel, as a pole does, is hardly seen otherwise.
    """
    frames = pixels.float() / 255.0 - 0.5
    if differences:
        frames = torch.cat([2.0 * (frames[:, 3:] - frames[:, :-3]), frames[:, -3:]], dim=1)
    return frames.contiguous(memory_format=torch.channels_last)


def flattened(layers: nn.Sequential, shape: tuple[int, ...]) -> int:
    """Numbers that convolutions make of a picture `(C, H, W)`.

    Raises:
        ConfigError: when the picture is too small for them.
    """
    least = 1
    for layer in reversed(layers):
        if isinstance(layer, nn.Conv2d):
            least = (least - 1) * layer.stride[0] + layer.kernel_size[0]
    if min(shape[1:]) < least:
        raise ConfigError(
            f"network: expected pictures of at least {least} x {least} pixels for its convolutions, got {shape[1]} x "
            f"{shape[2]} with {shape[0]} channels; "
            "type datamodule.env.pixels=84 where the world draws them, or make the world's own ones larger; what is no "
            "picture is a vector with datamodule.env.wrappers=[{name:FlattenObservation}]"
        )
    with torch.no_grad():
        output: Tensor = layers(torch.zeros(1, *shape))
    return output[0].numel()


def begin_orthogonal(network: nn.Module) -> None:
    """Orthogonal weights of all layers, with a gain of sqrt(2) in convolutions, and no biases (DrQ)."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(layer.weight, 1.0 if isinstance(layer, nn.Linear) else 2**0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
