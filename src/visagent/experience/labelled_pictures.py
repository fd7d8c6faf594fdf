"""Batches of pictures with labels."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class PictureBatch(NamedTuple):
    """Some pictures.

    Attributes:
        pictures: float32 `[batch, elements]`, from 0 to 1.
        label: int64 `[batch]`.
        progress: share of the run that is done, from 0 to 1.
    """

    pictures: Tensor
    label: Tensor
    progress: float = 0.0
