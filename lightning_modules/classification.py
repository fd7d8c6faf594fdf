"""Classification of small pictures: the simple task on which ways to train together are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lightning_modules.making import make_network, make_optimizer
from lightning_modules.schedules import rate, scale_learning_rates
from visagent.config.classification_schemas import ClassificationSettings
from visagent.experience.labelled_pictures import PictureBatch
from visagent.seeding import derive_seed

NetworkFactory = Callable[..., nn.Module]
OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class Classification(pl.LightningModule):
    """Supervised learning of labels.

    Args:
        settings: of the method.
        network: makes the network from `inputs` and `classes`.
        optimizer: makes the optimizer from the parameters.
    """

    samples_seen: Tensor
    clock = "samples_seen"

    def __init__(self, settings: ClassificationSettings, network: NetworkFactory, optimizer: OptimizerFactory) -> None:
        super().__init__()
        self.settings, self._make_network, self._make_optimizer = settings, network, optimizer
        self.register_buffer("samples_seen", torch.zeros((), dtype=torch.int64))

    def setup(self, stage: str) -> None:
        """Build the network for the data's pictures, once."""
        if not hasattr(self, "network"):
            data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(self.settings.seed, "weights"))
                self.network = make_network(self._make_network, inputs=data.inputs, classes=data.classes)

    def on_train_batch_start(self, batch: PictureBatch, batch_index: int) -> None:
        scale_learning_rates(self.trainer.optimizers[0], rate(self.settings.schedule, batch.progress))

    def training_step(self, batch: PictureBatch, batch_index: int) -> Tensor:
        scores = self.network(batch.pictures)
        loss = nn.functional.cross_entropy(scores, batch.label)
        self.samples_seen += len(batch.label) * self.trainer.world_size
        shared: dict[str, Any] = {"batch_size": len(batch.label), "sync_dist": self.trainer.world_size > 1}
        self.log("train/loss", loss, prog_bar=True, on_step=False, on_epoch=True, **shared)
        self.log("train/accuracy", _accuracy(scores, batch.label), on_step=False, on_epoch=True, **shared)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("step", self.samples_seen.float())

    def validation_step(self, batch: PictureBatch, batch_index: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: PictureBatch, batch_index: int) -> None:
        self._evaluate(batch, "test")

    def _evaluate(self, batch: PictureBatch, split: str) -> None:
        scores, size = self.network(batch.pictures), len(batch.label)
        self.log(f"{split}/loss", nn.functional.cross_entropy(scores, batch.label), batch_size=size)
        self.log(f"{split}/accuracy", _accuracy(scores, batch.label), prog_bar=True, batch_size=size)
        self.log("step", self.samples_seen.float(), batch_size=size)

    def remedies(self) -> list[str]:
        """Overrides, beside a smaller learning rate, that may keep the method from diverging."""
        return ["trainer.gradient_clip_val=1.0"] if self.trainer.gradient_clip_val is None else []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        optimizer: torch.optim.Optimizer = make_optimizer(self._make_optimizer, self.parameters())
        return optimizer


def _accuracy(scores: Tensor, label: Tensor) -> Tensor:
    return (scores.argmax(dim=1) == label).float().mean()
