"""Action recognition (dissertation Chapter 6): classify clips; learn how far each channel moves in space and time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from lightning_modules.making import made
from lightning_modules.schedules import rate, scale_learning_rates
from visagent.config.video_schemas import ActionRecognitionSettings
from visagent.errors import ConfigError
from visagent.metrics.action_recognition import TopAccuracies, quietly
from visagent.networks.batch_norm import synchronize_batch_norm
from visagent.networks.counting import cost
from visagent.networks.deploy import exportable_run
from visagent.networks.normalizers import PictureNormalizer
from visagent.networks.parameter_groups import parameter_groups
from visagent.networks.rubiksnet import RubiksNet, initialize_from
from visagent.networks.shift import INITIAL_TEMPERATURE
from visagent.objectives.action_recognition import budget_loss, temperature
from visagent.seeding import derive_seed
from visagent.video.dataset import VideoBatch, require_same_classes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NetworkFactory = Callable[..., nn.Module]
OptimizerFactory = Callable[[Sequence[Mapping[str, Any]]], torch.optim.Optimizer]
SOFT = "_soft"
"""Ends a protocol's name where attention has not been made whole shifts."""


class ActionRecognition(pl.LightningModule):
    """Classification of clips, for RubiksNet and its baselines.

    Args:
        settings: of the method.
        network: makes the network from `num_classes` and `num_frames`.
        optimizer: makes the optimizer from parameter groups.
    """

    clips_seen: Tensor
    clock = "clips_seen"
    exportable = staticmethod(exportable_run)

    def __init__(self, settings: ActionRecognitionSettings, network: NetworkFactory, optimizer: OptimizerFactory) -> None:
        super().__init__()
        self.settings, self._make_network, self._make_optimizer = settings, network, optimizer
        self.register_buffer("clips_seen", torch.zeros((), dtype=torch.int64))
        self.normalized = PictureNormalizer()
        self.confused: Tensor | None = None

    @property
    def data(self) -> Any:
        """The DataModule."""
        return self.trainer.datamodule  # type: ignore[attr-defined]

    def setup(self, stage: str) -> None:
        """Build the network for the data's classes and frames, once."""
        if hasattr(self, "network"):
            return
        self.classes: tuple[str, ...] = self.data.classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.settings.seed, "weights"))
            self.network = made(self._make_network, num_classes=len(self.classes), num_frames=self.data.num_frames)
        if self.settings.initialize_from is not None and stage == "fit":
            initialize_from(self.network, self.settings.initialize_from)
        self.cost = cost(self.network, (1, self.data.num_frames, 3, self.data.crop, self.data.crop))
        if self.settings.sync_batch_norm and self.trainer.world_size > 1:
            self.network = synchronize_batch_norm(self.network, self.trainer.strategy.root_device)
        self.accuracies = TopAccuracies(len(self.classes))
        self.confusion = MulticlassConfusionMatrix(len(self.classes))

    @property
    def rubiks(self) -> RubiksNet | None:
        """The network if it has shifts to learn, else None."""
        network: nn.Module = self.network
        return network if isinstance(network, RubiksNet) else None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        factors = (self.settings.shift_lr_factor, self.settings.attention_lr_factor)
        try:
            lr = float(self._make_optimizer.keywords["lr"])  # type: ignore[attr-defined]
            return self._make_optimizer(parameter_groups(self.network, lr, *factors))
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError(f"optimizer: expected settings that it takes, with lr, got an error ({error}); --cfg job shows them") from error

    def on_train_batch_start(self, batch: VideoBatch, batch_index: int) -> None:
        settings = self.settings
        scale_learning_rates(self.trainer.optimizers[0], rate(settings.schedule, batch.progress, settings.warmup, settings.milestones))
        if self.rubiks is not None:
            epochs = batch.progress * (self.trainer.max_epochs or 1)
            self.rubiks.set_temperature(temperature(epochs, settings.anneal_epochs, INITIAL_TEMPERATURE, settings.final_temperature))

    def training_step(self, batch: VideoBatch, batch_index: int) -> Tensor:
        settings, world = self.settings, self.trainer.world_size
        logits = self.network(self.normalized(batch.clips[:, 0]))
        loss = nn.functional.cross_entropy(logits, batch.label, label_smoothing=settings.label_smoothing)
        self.clips_seen += len(batch) * world
        shared: dict[str, Any] = {"batch_size": len(batch), "sync_dist": world > 1, "on_epoch": True}
        self.log("train/loss", loss, prog_bar=True, on_step=True, **shared)
        self.log("train/top1", (logits.argmax(dim=1) == batch.label).float().mean(), on_step=False, **shared)
        self.log("step", self.clips_seen.float(), on_step=True, on_epoch=False)
        if self.rubiks is not None and self.rubiks.attentions():
            share = self.rubiks.shift_share()
            self.log("train/shift_share", share, on_step=False, **shared)
            if settings.budget is not None:
                loss = loss + settings.budget_weight * budget_loss(share, settings.budget)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.rubiks is not None:
            self.rubiks.normalize_shift_gradients(self.settings.t_factor)

    def on_train_epoch_end(self) -> None:
        self.data.join_accounts()
        self.log_dict(self.data.statistics())
        self.log("step", self.clips_seen.float(), on_step=False, on_epoch=True)

    def on_validation_start(self) -> None:
        self.accuracies.prepare("val/validation")

    def validation_step(self, batch: VideoBatch, batch_index: int) -> None:
        if len(batch):
            self.accuracies.update(f"val/{batch.name}", self.classify(batch, self.network), batch.label)

    def on_validation_epoch_end(self) -> None:
        self.log_accuracies("val/")

    def on_test_start(self) -> None:
        """Evaluate what would be deployed: with whole temporal shifts where attention has been learned, and as it was trained beside it."""
        rubiks = self.rubiks
        self.deployed: nn.Module = copy.deepcopy(rubiks).harden() if rubiks is not None and rubiks.attentions() else self.network
        suffixes = ("",) if self.deployed is self.network else ("", SOFT)
        self.accuracies.prepare(*(f"test/{protocol}{suffix}" for protocol in self.data.protocols for suffix in suffixes))

    def test_step(self, batch: VideoBatch, batch_index: int) -> None:
        if not len(batch):
            return
        logits = self.classify(batch, self.deployed)
        self.accuracies.update(f"test/{batch.name}", logits, batch.label)
        if self.deployed is not self.network:
            self.accuracies.update(f"test/{batch.name}{SOFT}", self.classify(batch, self.network), batch.label)
        if batch.name == self.data.protocols[0]:
            self.confusion.update(logits.argmax(dim=1), batch.label)

    def classify(self, batch: VideoBatch, network: nn.Module) -> Tensor:
        """Logits `[N, classes]`, averaged over the views of each video."""
        views = network(self.normalized(batch.clips.flatten(0, 1))).unflatten(0, (-1, batch.clips.shape[1]))
        logits: Tensor = views.mean(dim=1)
        return logits

    def log_accuracies(self, prefix: str) -> None:
        """Log what was counted, and begin anew."""
        for key, accuracy in self.accuracies.compute(prefix, lambda number: self.trainer.strategy.reduce(number, reduce_op="sum")):
            self.log(key, accuracy, prog_bar=key == "val/validation/top1")
        self.log("step", self.clips_seen.float())

    def on_test_epoch_end(self) -> None:
        self.log_accuracies("test/")
        self.confused = quietly(self.confusion).cpu()  # of all ranks, so by all of them
        self.data.join_accounts()
        self.log("test/broken", float(len(self.data.broken["val"])))
        self.log("test/network/parameters", float(self.cost.parameters))
        self.log("test/network/gmacs", self.cost.multiply_adds / 1e9)
        deployed, budget = self.deployed, self.settings.budget
        if isinstance(deployed, RubiksNet) and (moved := deployed.moved_share()) is not None:
            self.log("test/shifts/share", moved)
            if budget is not None and deployed is not self.network:
                self.log("test/shifts/budget_gap", (moved - budget).abs())

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Confusion matrix, and the shifts of every layer (Figures 6.5 and 6.6); none before `test`."""
        from visagent.video.figures import draw_confusion, draw_shifts

        if self.confused is not None:
            yield "confusion", draw_confusion(self.confused.numpy(), self.classes)
            yield from draw_shifts(self.deployed, self.settings.budget if self.deployed is not self.network else None)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["classes"] = list(self.classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        require_same_classes(checkpoint["classes"], self.classes)

    def remedies(self) -> list[str]:
        """Overrides, beside a smaller learning rate, that may keep the method from diverging."""
        return ["trainer.gradient_clip_val=1.0"] if self.trainer.gradient_clip_val is None else []
