"""Handwritten digits (Alpaydin and Kaynak, 1998, as scikit-learn has them), in batches that a seed draws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch

from visagent.config.classification_schemas import DigitsSettings
from visagent.experience.labelled_pictures import PictureBatch
from visagent.seeding import generator

SPLIT_SEED, BRIGHTEST = 0, 16.0


class Digits(pl.LightningDataModule):
    """1,797 pictures of 8 x 8; the same ones are held out whatever the seed, and both validation and test look at them.

    Args:
        settings: of the data.
    """

    classes = 10

    def __init__(self, settings: DigitsSettings) -> None:
        super().__init__()
        self.settings: DigitsSettings = settings

    def setup(self, stage: str | None = None) -> None:
        """Read the pictures, once."""
        if hasattr(self, "held_out"):
            return
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        train, held_out, train_label, label = train_test_split(
            (digits.data / BRIGHTEST).astype("float32"),
            digits.target,
            test_size=self.settings.held_out,
            stratify=digits.target,
            random_state=SPLIT_SEED,
        )
        self.pictures, self.label = torch.from_numpy(train), torch.from_numpy(train_label)
        self.held_out = PictureBatch(torch.from_numpy(held_out), torch.from_numpy(label))

    @property
    def inputs(self) -> int:
        """Elements of a picture."""
        return self.pictures.shape[1]

    def train_dataloader(self) -> _Batches:
        """The batches of the current epoch."""
        return _Batches(self, self.trainer.current_epoch if self.trainer else 0)

    def val_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """All that are held out, in one batch."""
        return torch.utils.data.DataLoader([self.held_out], batch_size=None)  # type: ignore[arg-type]

    def test_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """The same batch as for validation."""
        return self.val_dataloader()


class _Batches:
    """Pictures drawn with replacement, by seed and epoch."""

    def __init__(self, data: Digits, epoch: int) -> None:
        self.data, self.epoch = data, epoch
        self.epochs = max((data.trainer.max_epochs or 1) if data.trainer else 1, epoch + 1)

    def __len__(self) -> int:
        return self.data.settings.batches_per_epoch

    def __iter__(self) -> Iterator[PictureBatch]:
        settings = self.data.settings
        rng = generator(settings.seed, "batches", self.epoch)
        drawn = torch.randint(len(self.data.label), (len(self), settings.batch_size), generator=rng)
        for number, chosen in enumerate(drawn):
            progress = (self.epoch + number / len(self)) / self.epochs
            yield PictureBatch(self.data.pictures[chosen], self.data.label[chosen], progress)
