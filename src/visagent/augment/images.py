"""Augmentations of stacked frames (dissertation Section 5.4.2).

All take pictures `[N, C, H, W]`, float32 in [0, 255], on any device, C being three channels of each stacked frame,
return as many, and draw from a generator on the CPU alone. What the paper leaves open is said where it is chosen.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import conv2d, pad


def _integer(low: int, high: int, generator: Generator) -> int:
    """A whole number from `low` to `high`."""
    return int(torch.randint(low, high + 1, (), generator=generator))


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
    places = pad(pictures, (padding,) * 4, mode).unfold(2, height, 1).unfold(3, width, 1)
    chosen = (torch.randint(2 * padding + 1, (count,), generator=generator).to(pictures.device) for _ in range(2))
    top, left = chosen
    return places[torch.arange(count, device=pictures.device), :, top, left]


def _rectangles(pictures: Tensor, generator: Generator) -> Tensor:
    """Where a rectangle of each picture lies, `[N, 1, H, W]`, true inside, its sides an eighth to a half of the
    picture's; the sizes are not in the paper.
    """
    count, _, height, width = pictures.shape
    chosen = []
    for _ in range(count):
        tall, wide = (_integer(max(1, side // 8), side // 2, generator) for side in (height, width))
        top, left = _integer(0, height - tall, generator), _integer(0, width - wide, generator)
        chosen.append((top, top + tall, left, left + wide))
    tops, bottoms, lefts, rights = torch.tensor(chosen).to(pictures.device)[:, :, None].unbind(1)
    row, column = (torch.arange(side, device=pictures.device) for side in (height, width))
    rows, columns = (row >= tops) & (row < bottoms), (column >= lefts) & (column < rights)
    return (rows[:, :, None] & columns[:, None])[:, None]


def cutout_color(pictures: Tensor, generator: Generator) -> Tensor:
    """A rectangle of one colour, the same in all frames."""
    colours = 255 * torch.rand(len(pictures), 3, generator=generator).to(pictures.device)
    inside = _rectangles(pictures, generator)
    return torch.where(inside, colours.repeat(1, pictures.shape[1] // 3)[:, :, None, None], pictures)


def random_convolution(pictures: Tensor, generator: Generator) -> Tensor:
    """A 3 x 3 convolution with normal weights over each frame's colours, the same for all frames, brought back into
    range by a sigmoid; kernel and range are not in the paper, they are DMControl-GB's. Each picture has a kernel of its
    own.
    """
    count, channels, *sides = pictures.shape
    kernels = torch.randn(3 * count, 3, 3, 3, generator=generator).to(pictures.device)
    framed = pad(pictures / 255.0, (1, 1, 1, 1), "replicate").unflatten(1, (channels // 3, 3)).transpose(0, 1)
    mixed = conv2d(framed.flatten(1, 2), kernels, groups=count).sigmoid_().mul_(255.0)
    return mixed.view(channels // 3, count, 3, *sides).transpose(0, 1).reshape(pictures.shape)


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
        distractors: `[K, 3, H, W]`, in [0, 255].
        speed: how far I drifts from a frame to the next at most, as a share of its side; 0, as in the paper: all frames
            have the same.
    """
    others = _others(pictures, generator, distractors, speed)
    alpha = 0.2 + 0.4 * torch.rand(len(pictures), 1, 1, 1, generator=generator).to(pictures.device)
    return others.lerp_(pictures, alpha)


def cutmix(pictures: Tensor, generator: Generator, distractors: Tensor, speed: float = 0.0) -> Tensor:
    """A rectangle of another picture, at the same place in all frames; see `mixup`."""
    others = _others(pictures, generator, distractors, speed)
    return torch.where(_rectangles(pictures, generator), others, pictures)


def _others(pictures: Tensor, generator: Generator, distractors: Tensor, speed: float) -> Tensor:
    """Other pictures `[N, C, H, W]`, which drift from frame to frame, and come in again where they went out."""
    chosen = torch.randint(len(distractors), (len(pictures),), generator=generator)
    others, frames = distractors[chosen.to(distractors.device)].float(), pictures.shape[1] // 3
    if not speed:
        return others.repeat(1, frames, 1, 1)
    height, width = others.shape[2:]
    velocities = speed * width * (2 * torch.rand(len(others), 2, generator=generator) - 1)
    moved = (velocities.double()[:, :, None] * torch.arange(frames)).round().long()[..., None]  # [N, 2, F, 1]
    rows, columns = ((torch.arange(side) - moved[:, axis]) % side for axis, side in enumerate((height, width)))
    places = (rows[..., None] * width + columns[:, :, None]).flatten(2).to(pictures.device)[:, :, None]
    pixels = others.flatten(2)[:, None].expand(-1, frames, -1, -1)
    return pixels.gather(3, places.expand(pixels.shape)).view_as(pictures)
