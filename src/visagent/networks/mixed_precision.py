"""Mixed precision where it pays: convolutions over pictures in bfloat16, all else in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def through_stem(stem: nn.Module, pixels: Tensor, mixed: bool) -> Tensor:
    """float32 `[N, F]` of pictures `[N, C, H, W]`; `mixed`: computed in bfloat16.

    Values and log-probabilities stay in float32: a value of -200 in bfloat16 is one of -199, -200 and -201.
    """
    if not mixed:
        features: Tensor = stem(pixels)
        return features
    with torch.autocast(pixels.device.type, dtype=torch.bfloat16):
        features = stem(pixels)
    return features.float()
