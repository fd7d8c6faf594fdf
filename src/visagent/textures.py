"""Pictures that nobody took: fields of colour whose amplitudes fall with the frequency, as those of photographs do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FALL = 1.2
"""Amplitudes are 1 / frequency to this power; those of photographs have about 1 (Field 1987)."""


def coloured_field(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """`[side, side, 3]` in [0, 1]: three fields mixed at random, with a contrast and a mean of their own. It goes on at
    its edges where it began.
    """
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf
    spectrum = rng.normal(size=(3, *frequency.shape)) + 1j * rng.normal(size=(3, *frequency.shape))
    fields = np.fft.irfft2(spectrum / frequency**FALL, s=(side, side))
    mixed = np.tensordot(rng.normal(size=(3, 3)), fields / fields.std(), axes=1)
    mixed *= rng.uniform(0.1, 0.3) / mixed.std()
    mixed += rng.uniform(0.25, 0.75, size=(3, 1, 1))
    return mixed.transpose(1, 2, 0).clip(0.0, 1.0).astype(np.float32)


class DriftingFields:
    """A film without an end: two fields that drift over each other.

    Args:
        rng: draws fields and velocities.
        side: of the pictures.
    """

    def __init__(self, rng: np.random.Generator, side: int) -> None:
        self.fields = [coloured_field(rng, side) for _ in range(2)]
        angles = rng.uniform(0, 2 * np.pi, size=2)
        speeds = side * rng.uniform(0.01, 0.04, size=2)
        self.velocities = [speed * np.array([np.sin(a), np.cos(a)]) for a, speed in zip(angles, speeds, strict=True)]

    def __call__(self, number: int) -> NDArray[np.uint8]:
        """Picture `number`, uint8 `[side, side, 3]`."""
        moved = [
            np.roll(field, tuple(np.rint(number * velocity).astype(int)), axis=(0, 1))
            for field, velocity in zip(self.fields, self.velocities, strict=True)
        ]
        picture: NDArray[np.uint8] = np.rint(255 * (moved[0] + moved[1]) / 2).astype(np.uint8)
        return picture
