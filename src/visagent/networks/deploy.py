"""Action networks as other programs run them, in operations that every runtime has.

The shift op becomes slices and pads where shifts are whole, as TSM's are, and depthwise convolutions where not.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from visagent.networks.rubiksnet import (
    RubiksBlock,
    RubiksNet,
    SqueezeExcitation,
    load_official_checkpoint,
)
from visagent.networks.shift import RubiksShift3D, TemporalShift
from visagent.networks.weights import read_checkpoint, weights_of
from visagent.video.transforms import MEAN, STD

MOST_GROUPS = 9
"""Different displacements that are cut out one by one; with more of them, convolutions with one tap are the smaller
graph.
"""


@dataclass(frozen=True)
class Input:
    """What a network is given.

    Attributes:
        shape: of one, without the batch.
        dtype: float32, uint8, int64 or bool.
        below: of whole numbers, what they are below, one or one for each of the last axis.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    below: tuple[int, ...] = ()

    def example(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Some example inputs, `[count, *shape]`."""
        size = (count, *self.shape)
        if self.dtype == "float32":
            return torch.randn(size, generator=generator)
        if self.dtype == "uint8":
            return torch.randint(256, size, generator=generator, dtype=torch.uint8)
        if self.dtype == "bool":
            return torch.rand(size, generator=generator) < 0.5
        bounds = torch.tensor(self.below if self.shape else self.below[0])
        return (torch.rand(size, generator=generator) * bounds).long()


@dataclass(frozen=True)
class Exportable:
    """A trained network for `visagent-export`.

    Attributes:
        network: in eval mode and float32; it takes the inputs in their order and gives a tensor or several.
        plain: computes the same in operations that every runtime has.
        inputs: by their names in the file.
        outputs: names in the file.
        description: what users of the file must know besides.
    """

    network: nn.Module
    plain: nn.Module
    inputs: Mapping[str, Input]
    outputs: tuple[str, ...]
    description: Mapping[str, Any]


def action_network(network: nn.Module, classes: Sequence[str], num_frames: int, crop: int) -> Exportable:
    """A classifier of clips; attention is made whole shifts (Section 6.3.3)."""
    network = network.float().eval()
    if isinstance(network, RubiksNet):
        network = network.harden()
    description = {"classes": list(classes), "mean": MEAN, "std": STD, "range": "RGB in 0..1 before normalisation"}
    clips = Input((num_frames, 3, crop, crop))
    return Exportable(network, deployable(network), {"clips": clips}, ("logits",), description)


def exportable_run(make_network: Callable[..., nn.Module], data: Mapping[str, Any], checkpoint: Path) -> Exportable:
    """A run's network.

    Args:
        make_network: as the run's config says.
        data: the run's `datamodule` group.
        checkpoint: the run's.
    """
    classes = read_checkpoint(checkpoint)["classes"]
    network = make_network(num_classes=len(classes), num_frames=data["num_frames"])
    network.load_state_dict(weights_of(checkpoint)[0])
    exportable = action_network(network, classes, data["num_frames"], data["crop"])
    seen = {
        "frames": f"the middle ones of {data['num_frames']} equal parts of a video",
        "resize": data["resize"],
        "crop": f"the middle {data['crop']} x {data['crop']}, once the shorter side is scaled to resize",
    }
    return replace(exportable, description={**exportable.description, **seen})


def released(path: Path) -> Exportable:
    """A checkpoint of RubiksNet's released format, which does not name its classes."""
    network = load_official_checkpoint(path)
    return action_network(network, [str(number) for number in range(network.num_classes)], network.num_frames, 224)


class WholeShift(nn.Module):
    """Whole shifts by slices: channels that move alike lie together, are cut, padded with zeros and put one after the
    other.

    Args:
        offsets: `[3, C]`, rows T, H, W; channels of one displacement are neighbours.
        num_frames: T.
        stride: of height and width.
    """

    def __init__(self, offsets: Tensor, num_frames: int, stride: int) -> None:
        super().__init__()
        self.num_frames, self.stride = num_frames, stride
        places, counts = torch.unique_consecutive(offsets.t().to(torch.int64), dim=0, return_counts=True)
        self.groups = [
            ((int(t), int(h), int(w)), int(count))
            for (t, h, w), count in zip(places.tolist(), counts.tolist(), strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """`[N T, C, H, W]` to `[N T, C, H', W']`."""
        clips = x.unflatten(0, (-1, self.num_frames))
        parts, first = [], 0
        for (time, height, width), count in self.groups:
            part = clips[:, :, first : first + count]
            first += count
            for axis, offset in ((1, time), (3, height), (4, width)):
                part = _read(part, axis, offset)
            parts.append(part[..., :: self.stride, :: self.stride] if self.stride > 1 else part)
        return torch.cat(parts, dim=2).flatten(0, 1)


def _read(x: Tensor, axis: int, offset: int) -> Tensor:
    """`x[i + offset]` along an axis, zeros outside."""
    if offset == 0:
        return x
    length = x.shape[axis]
    kept = max(0, length - abs(offset))
    part = x.narrow(axis, min(max(offset, 0), length - kept), kept)
    before = (0, 0) * (x.dim() - 1 - axis)
    padding = (*before, 0, length - kept) if offset > 0 else (*before, length - kept, 0)
    return nn.functional.pad(part, padding)


class SeparableShift(nn.Module):
    """Interpolated shifts as one depthwise convolution along each axis.

    Args:
        shift: `[3, C]` (rows T, H, W) or `[2, C]` (H, W).
        num_frames: T.
        stride: of height and width.
    """

    def __init__(self, shift: Tensor, num_frames: int, stride: int) -> None:
        super().__init__()
        self.num_frames = num_frames
        self.time = _along(shift[0], 0, 1) if len(shift) == 3 else None
        self.height, self.width = _along(shift[-2], 0, stride), _along(shift[-1], 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """`[N T, C, H, W]` to `[N T, C, H', W']`."""
        x = self.height(self.width(x))
        if self.time is None:
            return x
        height, width = x.shape[-2:]
        # [N, C, T, H W]: time where a convolution has its height
        rows = x.unflatten(0, (-1, self.num_frames)).transpose(1, 2).flatten(3)
        clips: Tensor = self.time(rows).unflatten(3, (height, width))
        return clips.transpose(1, 2).flatten(0, 1)


class AlongAxis(nn.Module):
    """A depthwise convolution along one of the last two axes."""

    def __init__(self, weight: Tensor, axis: int, before: int, after: int, stride: int) -> None:
        super().__init__()
        kernel = (weight.shape[1], 1) if axis == 0 else (1, weight.shape[1])
        self.padding = (0, 0, before, after) if axis == 0 else (before, after, 0, 0)
        self.convolution = nn.Conv2d(
            len(weight), len(weight), kernel, (stride, 1) if axis == 0 else (1, stride), groups=len(weight), bias=False
        )
        self.convolution.weight = nn.Parameter(weight.view(len(weight), 1, *kernel), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        shifted: Tensor = self.convolution(nn.functional.pad(x, self.padding))
        return shifted


def _along(shift: Tensor, axis: int, stride: int) -> AlongAxis:
    """The convolution whose taps, from the lowest place read by any channel to the highest, interpolate between two of
    them.
    """
    floor = torch.floor(shift)
    rest = shift - floor
    low = int(floor.min())
    taps = int(floor.max()) + 1 - low + 1
    places = torch.arange(low, low + taps, device=shift.device, dtype=shift.dtype)
    weight = (1 - rest)[:, None] * (places == floor[:, None]) + rest[:, None] * (places == floor[:, None] + 1)
    # Padded so that tap 0 of output 0 stands at place `low`; a negative padding cuts.
    return AlongAxis(weight.to(shift.dtype), axis, -low, low + taps - 1, stride)


@torch.no_grad()
def deployable(network: nn.Module) -> nn.Module:
    """A copy of a network, in eval mode, that computes the same without the shift op.

    Attention is made whole first (Section 6.3.3). Whole shifts within a block cost no copy for their order: channels
    that move alike are made neighbours by the weights around them.

    Args:
        network: left as it is.
    """
    clone = copy.deepcopy(network).eval()
    if isinstance(clone, RubiksNet):
        clone.harden()
    for module in list(clone.modules()):
        if isinstance(module, RubiksBlock):
            assert isinstance(clone, RubiksNet)
            _replace_space(module, clone.num_frames)
        elif isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[0], TemporalShift):
            _replace_time(module, module[0])
    return clone


class SortedTimeShift(nn.Module):
    """Whole temporal shifts of channels in any order; those that lie together already, as TSM's do, stay where they
    are.
    """

    order: Tensor

    def __init__(self, offsets: Tensor, num_frames: int) -> None:
        super().__init__()
        first = (offsets[:, None] == offsets).to(torch.int8).argmax(dim=1)  # the first channel that moves alike
        order = torch.argsort(first, stable=True)
        self.together = torch.equal(order, torch.arange(len(offsets)))
        zero = torch.zeros_like(offsets)
        self.shift = WholeShift(torch.stack([offsets, zero, zero])[:, order], num_frames, 1)
        self.register_buffer("order", order)

    def forward(self, x: Tensor) -> Tensor:
        shifted: Tensor = self.shift(x if self.together else x[:, self.order])
        return shifted


def _replace_time(pair: nn.Sequential, time: TemporalShift) -> None:
    """Replace a shift and the convolution that reads it, which takes the channels in their new order."""
    shift, mix = SortedTimeShift(time.offsets, time.num_frames), pair[1]
    assert isinstance(mix, nn.Conv2d) and mix.groups == 1
    mix.weight.copy_(mix.weight[:, shift.order])
    pair[0] = shift


def _replace_space(block: RubiksBlock, num_frames: int) -> None:
    space = block.space
    whole = isinstance(space, RubiksShift3D) and space.quantize
    values = space.shift.detach()
    rounded = torch.floor(values + 0.5) if whole else values  # halves up, as the op rounds
    if not torch.equal(rounded, torch.round(rounded)) or len(torch.unique(rounded.t(), dim=0)) > MOST_GROUPS:
        block.as3 = SeparableShift(rounded, num_frames, space.stride)
        return
    offsets = rounded if len(rounded) == 3 else torch.cat([torch.zeros_like(rounded[:1]), rounded])
    order = torch.unique(offsets.t(), dim=0, return_inverse=True)[1].argsort(stable=True)
    mix = block.conv2[1] if isinstance(block.conv2, nn.Sequential) else block.conv2
    assert isinstance(mix, nn.Conv2d)
    mix.weight.copy_(mix.weight[order])
    for statistic in (block.bn2.weight, block.bn2.bias, block.bn2.running_mean, block.bn2.running_var):
        assert statistic is not None
        statistic.copy_(statistic[order])
    if isinstance(block.se, SqueezeExcitation):
        squeeze, excite = block.se.fc[0], block.se.fc[2]
        assert isinstance(squeeze, nn.Linear) and isinstance(excite, nn.Linear)
        squeeze.weight.copy_(squeeze.weight[:, order])
        excite.weight.copy_(excite.weight[order])
    block.conv3.weight.copy_(block.conv3.weight[:, order])
    block.as3 = WholeShift(offsets[:, order], num_frames, space.stride)
