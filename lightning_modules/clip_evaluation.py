"""Evaluating a classifier of clips by the protocols of its DataModule."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from torch import Tensor, nn

from visagent.metrics.action_recognition import TopAccuracies
from visagent.metrics.predictions import Collector, Predictions
from visagent.networks.counting import cost
from visagent.networks.normalizers import PictureNormalizer
from visagent.networks.rubiksnet import RubiksNet
from visagent.video.dataset import VideoBatch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOFT = "_soft"
"""Ends a protocol's name where attention has not been made whole shifts."""


class ClipEvaluation(pl.LightningModule):
    """Validates and tests `network`, whatever it learned by, on the DataModule's videos."""

    network: nn.Module
    classes: tuple[str, ...]
    clips_seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.normalized = PictureNormalizer()
        self.predictions: Mapping[str, Predictions] = {}

    def prepare_evaluation(self, budget: float | None) -> None:
        """Make what counts, for the network as it is now.

        Args:
            budget: share of channels that may move in time, which the test compares with; None for none.
        """
        self.budget = budget
        settings = self.data.settings
        self.cost = cost(self.network, (1, settings.num_frames, 3, settings.crop, settings.crop))
        self.accuracies = TopAccuracies(len(self.classes))
        self.collected = Collector()

    @property
    def data(self) -> Any:
        """The DataModule."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    @property
    def rubiks(self) -> RubiksNet | None:
        """The network if it has shifts to learn, else None."""
        network: nn.Module = self.network
        return network if isinstance(network, RubiksNet) else None

    def on_validation_start(self) -> None:
        self.accuracies.prepare("val/validation")

    def validation_step(self, batch: VideoBatch, batch_index: int) -> None:
        if len(batch):
            self.accuracies.update(f"val/{batch.name}", self.classify(batch, self.network), batch.label)

    def on_validation_epoch_end(self) -> None:
        self.log_accuracies("val/")

    def on_test_start(self) -> None:
        """Evaluate what would be deployed: with whole temporal shifts where attention has been learned, and as it was
        trained beside it.
        """
        rubiks = self.rubiks
        self.deployed: nn.Module = (
            copy.deepcopy(rubiks).harden() if rubiks is not None and rubiks.attentions() else self.network
        )
        suffixes = ("",) if self.deployed is self.network else ("", SOFT)
        if self.data.labelled:
            self.accuracies.prepare(
                *(f"test/{protocol}{suffix}" for protocol in self.data.settings.protocols for suffix in suffixes)
            )

    def test_step(self, batch: VideoBatch, batch_index: int) -> None:
        if not len(batch):
            return
        logits = self.classify(batch, self.deployed)
        self.collected.update(batch.name, batch.index, batch.label, logits)
        if not self.data.labelled:
            return
        self.accuracies.update(f"test/{batch.name}", logits, batch.label)
        if self.deployed is not self.network:
            self.accuracies.update(f"test/{batch.name}{SOFT}", self.classify(batch, self.network), batch.label)

    def classify(self, batch: VideoBatch, network: nn.Module) -> Tensor:
        """Logits `[N, classes]`, averaged over the views of each video."""
        views = network(self.normalized(batch.clips.flatten(0, 1))).unflatten(0, (-1, batch.clips.shape[1]))
        logits: Tensor = views.mean(dim=1)
        return logits

    def log_accuracies(self, prefix: str) -> None:
        """Log what was counted, and begin anew."""
        for key, accuracy in self.accuracies.compute(
            prefix, lambda number: self.trainer.strategy.reduce(number, reduce_op="sum")
        ):
            self.log(key, accuracy, prog_bar=key == "val/validation/top1")
        self.log("step", self.clips_seen.float())

    def on_test_epoch_end(self) -> None:
        self.log_accuracies("test/")
        self.data.join_accounts()
        self.predictions = self.collected.finish(self.data.tested_videos(), self.classes, self.data.of_all_ranks)
        for protocol, predictions in self.predictions.items():
            if "mean_class" in (found := predictions.accuracies()):
                self.log(f"test/{protocol}/mean_class", found["mean_class"])
        self.log("test/broken", float(len(self.data.broken[self.data.settings.test_split])))
        self.log("test/network/parameters", float(self.cost.parameters))
        self.log("test/network/gmacs", self.cost.multiply_adds / 1e9)
        deployed, budget = self.deployed, self.budget
        if isinstance(deployed, RubiksNet) and (moved := deployed.moved_share()) is not None:
            self.log("test/shifts/share", moved)
            if budget is not None and deployed is not self.network:
                self.log("test/shifts/budget_gap", (moved - budget).abs())

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Confusion matrix, and the shifts of every layer (Figures 6.5 and 6.6); none before `test`."""
        from visagent.video.figures import draw_confusion, draw_shifts

        for predictions in list(self.predictions.values())[:1]:  # of the first protocol
            if self.data.labelled:
                yield "confusion", draw_confusion(predictions.confusion(), self.classes)
            yield from draw_shifts(self.deployed, self.budget if self.deployed is not self.network else None)

    def files(self) -> Iterator[tuple[str, Callable[[Path], None]]]:
        """Names of files in `predictions/` and what writes them: logits of each protocol, accuracies by class, and of
        Something-Something's test what is handed in; none before `test`.
        """
        layout = self.data.settings.layout
        for protocol, predictions in self.predictions.items():
            yield f"{protocol}.npz", predictions.save
            if self.data.labelled:
                yield f"{protocol}_per_class.csv", predictions.save_per_class
            elif layout.startswith("something"):
                submission = partial(predictions.save_submission, numbers=layout == "something_v2")
                yield f"{protocol}_submission.csv", submission
