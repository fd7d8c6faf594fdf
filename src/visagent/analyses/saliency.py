"""Where a picture changes a policy's action (Greydanus et al. 2018; dissertation Section 5.5.3, Figure 5.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from visagent.analyses.subject import Subject, newest
from visagent.seeding import generator

PATCH = 5
"""Pixels between two perturbations, and the standard deviation of where one acts (both papers)."""
BLUR = 3.0
"""Standard deviation of what is blurred there, pixels (Greydanus et al.)."""
AT_ONCE, COLUMNS = 128, 4
Shown = tuple[NDArray[np.uint8], NDArray[np.float32]]
"""A picture `[H, W, 3]` and its saliency `[h, w]`."""


def saliency(act: Callable[[Tensor], Tensor], pixels: Tensor) -> NDArray[np.float32]:
    """Half the squared change of the action where the picture is blurred around a point, `[h, w]` points at the middles
    of patches of 5 x 5 pixels.

    Args:
        act: actions `[N, A]` of pictures `[N, C, H, W]` in [0, 255], the same for the same pictures.
        pixels: `[C, H, W]`; all frames are blurred at the same place.
    """
    height, width = pixels.shape[1:]
    picture = pixels.float()
    rows, columns = (torch.arange(PATCH // 2, side, PATCH) for side in (height, width))
    down = (torch.arange(height)[None] - rows[:, None]).square()
    across = (torch.arange(width)[None] - columns[:, None]).square()
    masks = torch.exp(-(down[:, None, :, None] + across[None, :, None, :]) / (2.0 * PATCH**2)).flatten(0, 1)[:, None]
    away = blurred(picture)
    actions = torch.cat([act(picture.lerp(away, some)) for some in masks.split(AT_ONCE)])
    change: NDArray[np.float32] = 0.5 * (actions - act(picture[None])).square().sum(dim=-1).numpy()
    return change.reshape(len(rows), len(columns))


def blurred(picture: Tensor) -> Tensor:
    """A picture `[C, H, W]` through a Gaussian."""
    reach = int(3 * BLUR)
    weights = torch.exp(-torch.arange(-reach, reach + 1).float().square() / (2 * BLUR**2))
    kernel = (weights / weights.sum()).view(1, 1, -1, 1)
    padded = pad(picture[:, None], (reach,) * 4, "replicate")
    return conv2d(conv2d(padded, kernel), kernel.transpose(2, 3))[:, 0]


def analyse(subject: Subject, seed: int, picture: Path) -> dict[str, float]:
    """Draw the saliency at moments of an episode, in every look.

    Args:
        subject: what is analysed.
        seed: of the episode.
        picture: where it is drawn.
    """
    looks = subject.shown
    episode = subject.trajectory(seed)
    moments = np.linspace(0, len(episode.actions) - 1, COLUMNS + 1).astype(int)[1:]
    shown: dict[tuple[str, int], Shown] = {}
    for look in looks:
        seen = subject.again(episode, look)
        for moment in moments.tolist():
            one = {name: part[moment] for name, part in seen.items()}
            shown[look, moment] = newest(one["pixels"]), saliency(_acting(subject, one), one["pixels"])
    _draw(looks, moments.tolist(), shown, picture)
    return {}


def _acting(subject: Subject, observation: dict[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """The policy's actions on pictures, with whatever else stands in an observation."""

    def act(pixels: Tensor) -> Tensor:
        count = len(pixels)
        batch = {name: part.expand(count, *part.shape) for name, part in observation.items()} | {"pixels": pixels}
        state = subject.policy.initial_state(count)
        action: Tensor = subject.policy.act(batch, state, True, generator(0, "act")).action
        return action

    return act


def _draw(looks: Sequence[str], moments: Sequence[int], shown: Mapping[tuple[str, int], Shown], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.8 * len(moments), 1.8 * len(looks) + 0.4), layout="constrained")
    axes = figure.subplots(len(looks), len(moments), squeeze=False)
    for row, look in zip(axes, looks, strict=True):
        for place, moment in zip(row, moments, strict=True):
            picture, change = shown[look, moment]
            map_ = interpolate(torch.from_numpy(change)[None, None], picture.shape[:2], mode="bicubic")[0, 0]
            share = (map_ / map_.max().clamp_min(1e-12)).clamp(0, 1)[..., None].numpy()
            place.imshow(((1 - 0.7 * share) * picture + 0.7 * share * np.array([255, 0, 0])).astype(np.uint8))
            place.set(xticks=[], yticks=[])
            if look == looks[0]:
                place.set_title(f"step {moment}", fontsize=8)
        row[0].set_ylabel(look, fontsize=8)
    figure.suptitle("red: where blurring changes the action most", fontsize=9)
    figure.savefig(path, dpi=110)
