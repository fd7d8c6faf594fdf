"""Random clips of one shape, for measuring what a network costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor

from visagent.config.video_schemas import RandomClipsSettings
from visagent.seeding import generator


class OneBatch:
    """A loader of one batch."""

    def __init__(self, shape: Sequence[int], seed: int) -> None:
        self.shape, self.seed = tuple(shape), seed

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Tensor]:
        yield torch.randn(self.shape, generator=generator(self.seed, "clips"))


class RandomClipsDataModule(pl.LightningDataModule):
    """One batch of normal numbers; nothing to train on.

    Args:
        settings: see `visagent.config.video_schemas.RandomClipsSettings`.
    """

    def __init__(self, settings: RandomClipsSettings) -> None:
        super().__init__()
        self.settings = settings
        self.shape, self.num_classes = tuple(settings.shape), settings.num_classes

    def train_dataloader(self) -> OneBatch:
        """The batch, which `trainer.limit_train_batches=0` keeps from being used."""
        return OneBatch(self.shape, self.settings.seed)

    def test_dataloader(self) -> OneBatch:
        """The batch."""
        return OneBatch(self.shape, self.settings.seed)
