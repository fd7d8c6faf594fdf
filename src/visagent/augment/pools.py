"""Which augmentations a student sees (dissertation Table 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from visagent.augment.distractors import made_distractors, read_distractors
from visagent.augment.images import (
    cutmix,
    cutout_color,
    gaussian_noise,
    impulse_noise,
    mixup,
    random_convolution,
    random_crop,
    random_network,
)


def unchanged(pictures: Tensor, generator: Generator) -> Tensor:
    """The pictures as they are."""
    return pictures


SINGLE: dict[str, Callable[..., Tensor]] = {
    "cutout_color": cutout_color,
    "convolution": random_convolution,
    "gaussian": gaussian_noise,
    "impulse": impulse_noise,
    "mixup": mixup,
    "cutmix": cutmix,
    "crop": random_crop,
    "random_network": random_network,
    "none": unchanged,
}
DISTRACTED = ("mixup", "cutmix")
COMBO3 = ("cutout_color", "convolution", "mixup")
COMBO1 = (*COMBO3, "crop")
POOLS = {
    **{name: (name,) for name in SINGLE},
    "combo1": COMBO1,
    "combo2": (*COMBO1, "cutmix"),
    "combo3": COMBO3,
}
"""By name."""


class AugmentationPool:
    """One augmentation for each picture, drawn from a pool.

    Args:
        name: of `POOLS`.
        side: of the pictures.
        seed: of pictures to mix in that are made.
        speed: of these pictures; see `visagent.augment.images.mixup`.
        folder: of pictures to mix in; None: they are made. See `visagent.augment.distractors`.

    Raises:
        ConfigError: where there are none.
    """

    def __init__(self, name: str, side: int, seed: int, speed: float = 0.0, folder: str | None = None) -> None:
        self.augmentations: Sequence[str] = POOLS[name]
        self.speed = speed
        self.distractors: Tensor | None = None
        if set(self.augmentations) & set(DISTRACTED):
            self.distractors = made_distractors(side, seed) if folder is None else read_distractors(folder, side)

    def __call__(self, pictures: Tensor, generator: Generator) -> Tensor:
        """Pictures `[N, C, H, W]` in [0, 255], augmented; the same picture may get another augmentation each time."""
        pictures = pictures.float()
        if len(self.augmentations) == 1:
            return self._apply(self.augmentations[0], pictures, generator)
        chosen = torch.randint(len(self.augmentations), (len(pictures),), generator=generator)
        changed = torch.empty_like(pictures)
        for number, name in enumerate(self.augmentations):
            places = (chosen == number).nonzero()[:, 0].to(pictures.device)
            if len(places):
                changed[places] = self._apply(name, pictures[places], generator)
        return changed

    def _apply(self, name: str, pictures: Tensor, generator: Generator) -> Tensor:
        if name not in DISTRACTED:
            return SINGLE[name](pictures, generator)
        assert self.distractors is not None
        self.distractors = self.distractors.to(pictures.device)
        return SINGLE[name](pictures, generator, self.distractors, self.speed)
