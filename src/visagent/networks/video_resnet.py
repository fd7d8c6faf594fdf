"""Baselines of RubiksNet: TSN (Wang et al. 2016) averages a ResNet's answers over frames; TSM (Lin et al. 2019) shifts
its channels in time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from visagent.errors import ConfigError
from visagent.networks.shift import TemporalShift, tsm_offsets

DEPTHS = {18: models.resnet18, 34: models.resnet34, 50: models.resnet50}
TEMPORAL = ("none", "shift")
SHIFTED = re.compile(r"\.conv1\.(net|1)\.")
"""A convolution behind a shift, in the released TSM and here."""


class VideoResNet(nn.Module):
    """A ResNet on every frame, logits averaged over the frames.

    Args:
        depth: 18, 34 or 50.
        num_classes: classes.
        num_frames: frames per clip.
        temporal: `none` (TSN), or `shift` (TSM): an eighth of the channels forwards and an eighth backwards inside
            every residual branch.
        dropout: before the classifier.

    Raises:
        ConfigError: for another depth or kind.
    """

    def __init__(
        self, depth: int, num_classes: int, num_frames: int = 8, temporal: str = "none", dropout: float = 0.5
    ) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ConfigError(f"network.depth: expected one of {', '.join(map(str, DEPTHS))}, got {depth!r}")
        if temporal not in TEMPORAL:
            raise ConfigError(f"network.temporal: expected one of {', '.join(TEMPORAL)}, got {temporal!r}")
        self.num_classes, self.num_frames, self.temporal = num_classes, num_frames, temporal
        self.backbone = DEPTHS[depth](weights=None)
        if temporal == "shift":
            for stage in (self.backbone.layer1, self.backbone.layer2, self.backbone.layer3, self.backbone.layer4):
                for block in stage:
                    first = block.conv1
                    block.conv1 = nn.Sequential(TemporalShift(tsm_offsets(first.in_channels), num_frames), first)
        features = self.backbone.fc.in_features
        self.backbone.fc = nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.new_fc = nn.Linear(features, num_classes)
        nn.init.normal_(self.new_fc.weight, 0.0, 0.001)
        nn.init.zeros_(self.new_fc.bias)

    def place_of(self, name: str, value: Tensor, about: Mapping[str, Any]) -> tuple[str, Tensor]:
        """This network's own name for what torchvision's ResNets, or the released TSN and TSM (temporal-shift-module,
        by residual branches), call so.
        """
        own = name.removeprefix("base_model.").removeprefix("backbone.")
        if own.startswith(("fc.", "new_fc.")):
            return f"new_fc.{own.rpartition('.')[2]}", value
        shifted = SHIFTED.sub(".conv1.", own)  # of a TSM, whose first convolutions have a shift before them
        if self.temporal == "shift" and shifted.startswith("layer"):
            shifted = shifted.replace(".conv1.", ".conv1.1.")
        return f"backbone.{shifted}", value

    def forward(self, clips: Tensor) -> Tensor:
        """Logits `[N, num_classes]` of normalised clips `[N, T, 3, H, W]`."""
        if clips.dim() != 5 or clips.shape[1:3] != (self.num_frames, 3):
            raise ValueError(f"VideoResNet: expected clips [N, {self.num_frames}, 3, H, W], got {list(clips.shape)}")
        frames = self.new_fc(self.dropout(self.backbone(clips.flatten(0, 1))))
        return torch.unflatten(frames, 0, (-1, self.num_frames)).mean(dim=1)
