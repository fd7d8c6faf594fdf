"""From frames to network inputs, as in TSN: whole pixels, one crop for all frames of a clip.

Pillow scales for evaluation, as the reference did. For training PyTorch's antialiased interpolation does, whose pixels
are those of Pillow but for a few that differ by one, in a seventh of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from visagent.video.decode import Frames

SCALES = (1.0, 0.875, 0.75, 0.66)
"""Of the shorter side, for the sides of a training crop."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""ImageNet's, of RGB values in 0..1."""
Box = tuple[int, int, int, int]
"""Width, height, x, y of a crop."""


def resize_short_side(frames: Frames, size: int) -> Frames:
    """Scale so that the shorter side is `size`."""
    height, width = frames.shape[1:3]
    shape = (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
    if shape == (width, height):
        return frames
    return np.stack([np.asarray(Image.fromarray(frame).resize(shape, Image.Resampling.BILINEAR)) for frame in frames])


def _resize(frames: Frames, width: int, height: int) -> Frames:
    if frames.shape[1:3] == (height, width):
        return frames
    pictures = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    scaled = torch.nn.functional.interpolate(pictures, size=(height, width), mode="bilinear", antialias=True)
    return np.asarray(scaled.permute(0, 2, 3, 1).numpy(), np.uint8)


def center_crop(frames: Frames, size: int) -> Frames:
    """The middle square."""
    height, width = frames.shape[1:3]
    y, x = round((height - size) / 2.0), round((width - size) / 2.0)
    return frames[:, y : y + size, x : x + size]


def three_crops(frames: Frames, size: int) -> list[Frames]:
    """Left, right and middle squares at half height."""
    height, width = frames.shape[1:3]
    step_x, step_y = (width - size) // 4, (height - size) // 4
    return [frames[:, 2 * step_y : 2 * step_y + size, x : x + size] for x in (0, 4 * step_x, 2 * step_x)]


def crop_sides(shorter: int, size: int, scales: Sequence[float] = SCALES) -> list[int]:
    """Sides of the training crops from a frame whose shorter side is given: shares of it, or `size` itself where that
    is near and the frame has it.
    """
    sides = [max(1, int(shorter * scale)) for scale in scales]
    return [size if abs(side - size) < 3 and size <= shorter else side for side in sides]


def multi_scale_boxes(width: int, height: int, size: int, scales: Sequence[float] = SCALES) -> list[list[Box]]:
    """All training crops: for each pair of neighbouring scales, the 13 fixed places on a grid of quarters."""
    sides = crop_sides(min(width, height), size, scales)
    boxes = []
    for i, crop_height in enumerate(sides):
        for j, crop_width in enumerate(sides):
            if abs(i - j) <= 1:
                step_x, step_y = (width - crop_width) // 4, (height - crop_height) // 4
                grid = [
                    (0, 0),
                    (4, 0),
                    (0, 4),
                    (4, 4),
                    (2, 2),
                    (0, 2),
                    (4, 2),
                    (2, 4),
                    (2, 0),
                    (1, 1),
                    (3, 1),
                    (1, 3),
                    (3, 3),
                ]
                boxes.append([(crop_width, crop_height, x * step_x, y * step_y) for x, y in grid])
    return boxes


def random_crop(frames: Frames, size: int, rng: np.random.Generator) -> Frames:
    """One of the multi-scale crops, scaled to `size`."""
    height, width = frames.shape[1:3]
    boxes = multi_scale_boxes(width, height, size)
    chosen = boxes[int(rng.integers(len(boxes)))]
    crop_width, crop_height, x, y = chosen[int(rng.integers(len(chosen)))]
    cut = frames[:, y : y + crop_height, x : x + crop_width]
    return _resize(cut, size, size)


def channels_first(frames: Frames) -> NDArray[np.uint8]:
    """`[T, H, W, 3]` to `[T, 3, H, W]`, contiguous."""
    return np.asarray(torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).contiguous().numpy(), np.uint8)


class Augment:
    """RandAugment (Cubuk et al. 2020) and colour jitter as torchvision has them, the same for all frames of a clip.

    Args:
        operations: of RandAugment; 0 for none.
        magnitude: of these, of 31.
        jitter: of brightness, contrast and saturation, a fourth of it of hue; 0 for none.
    """

    def __init__(self, operations: int, magnitude: int, jitter: float) -> None:
        self.steps: list[v2.Transform] = []
        if operations:
            self.steps.append(v2.RandAugment(operations, magnitude))
        if jitter:
            self.steps.append(v2.ColorJitter(jitter, jitter, jitter, jitter / 4))

    def __call__(self, frames: Frames, seed: int) -> Frames:
        """Change a clip `[T, H, W, 3]`."""
        video = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for step in self.steps:
                video = step(video)
        return np.ascontiguousarray(video.permute(0, 2, 3, 1).numpy())
