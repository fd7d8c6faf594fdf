"""Augmentations of stacked frames (dissertation Section 5.4.2).

All take pictures `[N, C, H, W]`, float32 in [0, 255], on any device, C being three channels of each stacked frame,
return as many, and draw from a generator on the CPU alone. What the paper leaves open is said where it is chosen.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import conv2d, pad


def _integers(low: int, high: int, count: int, generator: Generator) -> list[int]:
    """So many whole numbers from `low` to `high`."""
    return torch.randint(low, high + 1, (count,), generator=generator).tolist()


def _beside(pictures: Tensor, generator: Generator) -> dict[str, Any]:
    """Where so many numbers as a picture has are drawn: on its device, which has a generator of its own."""
    device = pictures.device
    if device.type == "cpu":
        return {"generator": generator}
    seed = int(torch.randint(2**62, (), generator=generator))
    return {"device": device, "generator": Generator(device).manual_seed(seed)}


def random_crop(pictures: Tensor, generator: Generator, padding: int = 4, mode: str = "reflect") -> Tensor:
    """Pad, then cut the size out again, at one place for all frames of a stack (Section 5.5.1).

    Args:
        pictures: `[N, C, H, W]`.
        generator: draws places.
        padding: pixels on each side; not in the paper, DrQ's 4.
        mode: of `torch.nn.functional.pad`; `replicate` in DrQ.
    """
    count, _, height, width = pictures.shape
    padded = pad(pictures, (padding,) * 4, mode)
    tops, lefts = (_integers(0, 2 * padding, count, generator) for _ in range(2))
    cropped = torch.empty_like(pictures)
    for number, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        cropped[number] = padded[number, :, top : top + height, left : left + width]
    return cropped


def _rectangles(shape: torch.Size, generator: Generator) -> list[tuple[slice, slice]]:
    """A rectangle of each picture, its sides an eighth to a half of the picture's; the sizes are not in the paper."""
    count, _, height, width = shape
    chosen = []
    for _ in range(count):
        (tall,), (wide,) = (_integers(max(1, side // 8), side // 2, 1, generator) for side in (height, width))
        (top,), (left,) = _integers(0, height - tall, 1, generator), _integers(0, width - wide, 1, generator)
        chosen.append((slice(top, top + tall), slice(left, left + wide)))
    return chosen


def cutout_color(pictures: Tensor, generator: Generator) -> Tensor:
    """A rectangle of one colour, the same in all frames."""
    changed = pictures.clone()
    colours = 255 * torch.rand(len(pictures), 3, generator=generator).to(pictures.device)
    frames = pictures.shape[1] // 3
    for number, (rows, columns) in enumerate(_rectangles(pictures.shape, generator)):
        changed[number, :, rows, columns] = colours[number].repeat(frames)[:, None, None]
    return changed


def random_convolution(pictures: Tensor, generator: Generator) -> Tensor:
    """A 3 x 3 convolution with normal weights over each frame's colours, the same for all frames, brought back into
    range by a sigmoid; kernel and range are not in the paper, they are DMControl-GB's. Each picture has a kernel of its
    own.
    """
    changed = torch.empty_like(pictures)
    kernels = torch.randn(len(pictures), 3, 3, 3, 3, generator=generator).to(pictures.device)
    for number, kernel in enumerate(kernels):
        frames = pad(pictures[number].reshape(-1, 3, *pictures.shape[2:]) / 255.0, (1, 1, 1, 1), "replicate")
        changed[number] = conv2d(frames, kernel).sigmoid_().mul_(255.0).view_as(pictures[number])
    return changed


def random_network(pictures: Tensor, generator: Generator, unchanged: float = 0.1) -> Tensor:
    """A 3 x 3 convolution over each frame's colours with Xavier-normal weights, the same for all pictures; now and then
    none (network randomization, Lee et al. 2020, Section 3.1). What comes out has no bounds.

    Args:
        pictures: `[N, C, H, W]`.
        generator: draws the weights.
        unchanged: how often pictures stay as they are; the authors' 0.1.
    """
    stays = float(torch.rand((), generator=generator)) < unchanged
    kernel = (2.0 / 54) ** 0.5 * torch.randn(3, 3, 3, 3, generator=generator)  # 27 numbers come in, 27 go out
    if stays:
        return pictures
    frames = pad(pictures.reshape(-1, 3, *pictures.shape[2:]), (1, 1, 1, 1), "replicate")
    return conv2d(frames, kernel.to(pictures.device)).view_as(pictures)


def gaussian_noise(pictures: Tensor, generator: Generator, deviation: float = 0.1) -> Tensor:
    """Normal noise on each number; its standard deviation, of a range of 1, is not in the paper."""
    noise = torch.randn(pictures.shape, **_beside(pictures, generator))
    return (pictures + 255.0 * deviation * noise).clamp_(0.0, 255.0)


def impulse_noise(pictures: Tensor, generator: Generator, share: float = 0.06) -> Tensor:
    """Salt and pepper, each number on its own: all or nothing, half of each; the share is not in the paper."""
    chance = torch.rand(pictures.shape, **_beside(pictures, generator))
    return pictures.masked_fill(chance < share / 2, 0.0).masked_fill(chance > 1 - share / 2, 255.0)


def mixup(pictures: Tensor, generator: Generator, distractors: Tensor, speed: float = 0.0) -> Tensor:
    """Alpha o + (1 - alpha) I, alpha from U(0.2, 0.6), with another picture I for each.

    Args:
        pictures: `[N, C, H, W]`.
        generator: draws alpha and I.
        distractors: `[K, 3, H, W]`.
        speed: how far I drifts from a frame to the next at most, as a share of its side; 0, as in the paper: all frames
            have the same.
    """
    others = _others(pictures, generator, distractors, speed)
    alpha = 0.2 + 0.4 * torch.rand(len(pictures), 1, 1, 1, generator=generator).to(pictures.device)
    return others.lerp_(pictures, alpha)


def cutmix(pictures: Tensor, generator: Generator, distractors: Tensor, speed: float = 0.0) -> Tensor:
    """A rectangle of another picture, at the same place in all frames; see `mixup`."""
    changed, others = pictures.clone(), _others(pictures, generator, distractors, speed)
    for number, (rows, columns) in enumerate(_rectangles(pictures.shape, generator)):
        changed[number, :, rows, columns] = others[number, :, rows, columns]
    return changed


def _others(pictures: Tensor, generator: Generator, distractors: Tensor, speed: float) -> Tensor:
    """Other pictures `[N, C, H, W]`, which drift from frame to frame, and come in again where they went out."""
    chosen = torch.randint(len(distractors), (len(pictures),), generator=generator)
    others, frames = distractors[chosen.to(distractors.device)], pictures.shape[1] // 3
    if not speed:
        return others.repeat(1, frames, 1, 1)
    velocities = speed * others.shape[-1] * (2 * torch.rand(len(others), 2, generator=generator) - 1)
    drifted = torch.empty_like(pictures)
    for number, (down, right) in enumerate(velocities.tolist()):
        for frame in range(frames):
            moved = others[number].roll((round(frame * down), round(frame * right)), (1, 2))
            drifted[number, 3 * frame : 3 * frame + 3] = moved
    return drifted
