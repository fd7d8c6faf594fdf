"""Action recognition (dissertation Chapter 6): classify clips; learn how far each channel moves in space and time."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from lightning_modules.making import made
from lightning_modules.schedules import rate, scale_learning_rates
from visagent.errors import ConfigError
from visagent.networks.batch_norm import synchronize_batch_norm
from visagent.networks.counting import cost
from visagent.networks.deploy import Exportable, action_network
from visagent.networks.rubiksnet import RubiksNet, initialize_from, read_checkpoint, weights_of
from visagent.networks.shift import INITIAL_TEMPERATURE, AttentionShift, RubiksShift2D, RubiksShift3D
from visagent.objectives.action_recognition import budget_loss, temperature
from visagent.seeding import derive_seed
from visagent.video.dataset import VideoBatch
from visagent.video.transforms import MEAN, STD

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NetworkFactory = Callable[..., nn.Module]
OptimizerFactory = Callable[[Sequence[Mapping[str, Any]]], torch.optim.Optimizer]
SCHEDULES = ("constant", "cosine", "steps")
SOFT = "_soft"
"""Ends a protocol's name where attention has not been made whole shifts."""


class ActionRecognition(pl.LightningModule):
    """Classification of clips, for RubiksNet and its baselines.

    Args:
        network: makes the network from `num_classes` and `num_frames`.
        optimizer: makes the optimizer from parameter groups.
        label_smoothing: of the cross-entropy.
        schedule: of the learning rate: `constant`, `cosine` (ends at 0), or `steps` (a tenth after each milestone).
        milestones: for `steps`, shares of the run.
        warmup: share of the run over which the rate rises linearly.
        shift_lr_factor: learning rate of spatial and spatiotemporal shifts, relative.
        attention_lr_factor: that of the temporal attention (RS-AQ).
        t_factor: lambda of the scaled gradient normalisation (Eq. 6.9).
        budget: share of channels that may move in time (RS-AQ, Eq. 6.8); None for no budget.
        budget_weight: of its loss.
        anneal_epochs, final_temperature: of the attention's softmax.
        initialize_from: a checkpoint to start from (released format, or a run's), or None.
        sync_batch_norm: normalise over the batches of all processes.
        seed: of the weights.
    """

    clips_seen: Tensor
    clock = "clips_seen"
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: NetworkFactory,
        optimizer: OptimizerFactory,
        label_smoothing: float,
        schedule: str,
        milestones: Sequence[float],
        warmup: float,
        shift_lr_factor: float,
        attention_lr_factor: float,
        t_factor: float,
        budget: float | None,
        budget_weight: float,
        anneal_epochs: float,
        final_temperature: float,
        initialize_from: str | None,
        sync_batch_norm: bool,
        seed: int,
    ) -> None:
        super().__init__()
        if schedule not in SCHEDULES:
            raise ConfigError(f"algorithm.schedule: expected one of {', '.join(SCHEDULES)}, got {schedule!r}")
        self._make_network, self._make_optimizer = network, optimizer
        self.label_smoothing, self.schedule, self.milestones, self.warmup = label_smoothing, schedule, tuple(milestones), warmup
        self.shift_lr_factor, self.attention_lr_factor, self.t_factor = shift_lr_factor, attention_lr_factor, t_factor
        self.budget, self.budget_weight = budget, budget_weight
        self.anneal_epochs, self.final_temperature = anneal_epochs, final_temperature
        self.start, self.sync_batch_norm, self.seed = initialize_from, sync_batch_norm, seed
        self.register_buffer("clips_seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def remedies(self) -> list[str]:
        """Overrides, beside a smaller learning rate, that may keep the method from diverging."""
        return ["trainer.gradient_clip_val=1.0"] if self.trainer.gradient_clip_val is None else []

    def setup(self, stage: str) -> None:
        """Build the network for the data's classes and frames, once."""
        if hasattr(self, "network"):
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        self.classes: tuple[str, ...] = data.classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, "weights"))
            self.network = made(self._make_network, num_classes=len(self.classes), num_frames=data.num_frames)
        if self.start is not None and stage == "fit":
            initialize_from(self.network, self.start)
        self.cost = cost(self.network, (1, data.num_frames, 3, data.crop, data.crop))
        if self.sync_batch_norm and self.trainer.world_size > 1:
            self.network = synchronize_batch_norm(self.network, self.trainer.strategy.root_device)
        self.metrics = nn.ModuleDict()
        self.counted: dict[str, int] = {}
        self.confusion = MulticlassConfusionMatrix(len(self.classes))
        self.confused: Tensor | None = None

    @property
    def rubiks(self) -> RubiksNet | None:
        """The network if it has shifts to learn, else None."""
        network: nn.Module = self.network
        return network if isinstance(network, RubiksNet) else None

    @classmethod
    def exportable(cls, make_network: NetworkFactory, data: Mapping[str, Any], checkpoint: Path) -> Exportable:
        """A run's network for `visagent-export`.

        Args:
            make_network: as the run's config says.
            data: the run's `datamodule` group.
            checkpoint: the run's.
        """
        classes = read_checkpoint(checkpoint)["classes"]
        network = make_network(num_classes=len(classes), num_frames=data["num_frames"])
        network.load_state_dict(weights_of(checkpoint))
        return action_network(network, classes, data["num_frames"], data["crop"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["classes"] = list(self.classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint["classes"] != list(self.classes):
            differ = [f"{a!r} and {b!r}" for a, b in zip(checkpoint["classes"], self.classes, strict=False) if a != b]
            where = f"first at {differ[0]}" if differ else f"{len(checkpoint['classes'])} and {len(self.classes)}"
            raise ConfigError(f"this run was trained on other classes than the data has, {where}: leave datamodule.layout and datamodule.root as they were")

    def normalized(self, clips: Tensor) -> Tensor:
        """uint8 `[..., 3, H, W]` as the network takes it."""
        return (clips.float() / 255 - self.mean) / self.std

    # Training

    def on_train_batch_start(self, batch: VideoBatch, batch_index: int) -> None:
        scale_learning_rates(self.trainer.optimizers[0], rate(self.schedule, batch.progress, self.warmup, self.milestones))
        if self.rubiks is not None:
            epochs = self.trainer.max_epochs or 1
            self.rubiks.set_temperature(temperature(batch.progress * epochs, self.anneal_epochs, INITIAL_TEMPERATURE, self.final_temperature))

    def training_step(self, batch: VideoBatch, batch_index: int) -> Tensor:
        logits = self.network(self.normalized(batch.clips[:, 0]))
        loss = nn.functional.cross_entropy(logits, batch.label, label_smoothing=self.label_smoothing)
        count, world = len(batch), self.trainer.world_size
        self.clips_seen += count * world
        self.log("train/loss", loss, prog_bar=True, on_step=True, on_epoch=True, batch_size=count, sync_dist=world > 1)
        self.log("train/top1", (logits.argmax(dim=1) == batch.label).float().mean(), on_step=False, on_epoch=True, batch_size=count, sync_dist=world > 1)
        self.log("step", self.clips_seen.float(), on_step=True, on_epoch=False)
        if self.rubiks is not None and self.rubiks.attentions():
            share = self.rubiks.shift_share()
            self.log("train/shift_share", share, on_step=False, on_epoch=True, batch_size=count, sync_dist=world > 1)
            if self.budget is not None:
                loss = loss + self.budget_weight * budget_loss(share, self.budget)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.rubiks is not None:
            self.rubiks.normalize_shift_gradients(self.t_factor)

    def on_train_epoch_end(self) -> None:
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        data.join_accounts()
        self.log_dict(data.statistics())
        self.log("step", self.clips_seen.float(), on_step=False, on_epoch=True)

    # Evaluation

    def on_validation_start(self) -> None:
        self._prepare_metrics("val/validation")

    def validation_step(self, batch: VideoBatch, batch_index: int) -> None:
        if len(batch):
            self._count("val", batch, self.network, "")

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val")

    def on_test_start(self) -> None:
        """Evaluate what would be deployed: with whole temporal shifts where attention has been learned, and as it was trained beside it."""
        rubiks = self.rubiks
        self.deployed: nn.Module = copy.deepcopy(rubiks).harden() if rubiks is not None and rubiks.attentions() else self.network
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        suffixes = ("",) if self.deployed is self.network else ("", SOFT)
        self._prepare_metrics(*(f"test/{protocol}{suffix}" for protocol in data.protocols for suffix in suffixes))

    def test_step(self, batch: VideoBatch, batch_index: int) -> None:
        if not len(batch):
            return
        logits = self._count("test", batch, self.deployed, "")
        if self.deployed is not self.network:
            self._count("test", batch, self.network, SOFT)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if batch.name == data.protocols[0]:
            self.confusion.update(logits.argmax(dim=1), batch.label)

    def _prepare_metrics(self, *names: str) -> None:
        """Counters of top-1 and top-5, on every rank whatever it will see: all of them add up."""
        for key in (f"{name}/top{top}" for name in names for top in (1, 5)):
            if key not in self.metrics:
                top = min(int(key[-1]), len(self.classes))
                self.metrics[key] = MulticlassAccuracy(len(self.classes), top_k=top, average="micro").to(self.device)
                self.counted[key] = 0

    def _count(self, split: str, batch: VideoBatch, network: nn.Module, suffix: str) -> Tensor:
        """Logits averaged over the views of each video, counted."""
        views = batch.clips.shape[1]
        logits = network(self.normalized(batch.clips.flatten(0, 1))).unflatten(0, (-1, views)).mean(dim=1)
        name = f"{split}/{batch.name}{suffix}"
        for top in (1, 5):
            metric: Any = self.metrics[f"{name}/top{top}"]
            metric.update(logits.float(), batch.label)
            self.counted[f"{name}/top{top}"] += len(batch)
        counted: Tensor = logits
        return counted

    def _log_metrics(self, split: str) -> None:
        for key, metric in self.metrics.items():
            if key.startswith(f"{split}/"):
                counter: Any = metric
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", message=".*was called before the ``update`` method.*")  # on a rank that had nothing to count
                    share = counter.compute()
                seen = self.trainer.strategy.reduce(torch.tensor(self.counted[key], device=self.device), reduce_op="sum")
                self.log(key, torch.where(seen > 0, share, torch.nan), prog_bar=key == "val/validation/top1")
                counter.reset()
                self.counted[key] = 0
        self.log("step", self.clips_seen.float())

    def on_test_epoch_end(self) -> None:
        self._log_metrics("test")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*was called before the ``update`` method.*")
            self.confused = self.confusion.compute().cpu()  # of all ranks, so by all of them
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        data.join_accounts()
        self.log("test/broken", float(len(data.broken["val"])))
        self.log("test/network/parameters", float(self.cost.parameters))
        self.log("test/network/gmacs", self.cost.multiply_adds / 1e9)
        deployed = self.deployed
        if isinstance(deployed, RubiksNet) and (offsets := deployed.temporal_offsets()):
            moved = torch.stack([(offset.abs() >= 0.5).float().mean() for offset in offsets.values()])
            self.log("test/shifts/share", moved.mean())  # of channels moved by a frame or more when rounded
            if self.budget is not None and deployed is not self.network:
                self.log("test/shifts/budget_gap", (moved.mean() - self.budget).abs())

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Confusion matrix, and the shifts of every layer (Figures 6.5 and 6.6); none before `test`."""
        from visagent.video.figures import draw_confusion, draw_spatial, draw_temporal

        if self.confused is None:
            return
        yield "confusion", draw_confusion(self.confused.numpy(), self.classes)
        if isinstance(self.deployed, RubiksNet):
            temporal = {name: value.cpu().numpy() for name, value in self.deployed.temporal_offsets().items()}
            if temporal:
                yield "temporal_shifts", draw_temporal(temporal, self.budget if self.deployed is not self.network else None)
            yield "spatial_shifts", draw_spatial({name: value.cpu().numpy() for name, value in self.deployed.spatial_offsets().items()})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Weights decay; biases, normalisation, shifts and attention do not, and these two have rates of their own."""
        try:
            base = float(self._make_optimizer.keywords["lr"])  # type: ignore[attr-defined]
            return self._make_optimizer(self.parameter_groups(base))
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError(f"optimizer: expected settings that it takes, with lr, got an error ({error}); --cfg job shows them") from error

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """The four groups; see `configure_optimizers`."""
        shifts = [m.shift for m in self.network.modules() if isinstance(m, (RubiksShift3D, RubiksShift2D)) and m.shift.requires_grad]
        attention = [m.weight for m in self.network.modules() if isinstance(m, AttentionShift)]
        apart = {id(parameter) for parameter in [*shifts, *attention]}
        others = [p for p in self.network.parameters() if p.requires_grad and id(p) not in apart]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in others if p.dim() > 1], "lr": lr},
            {"params": [p for p in others if p.dim() <= 1], "lr": lr, "weight_decay": 0.0},
            {"params": shifts, "lr": lr * self.shift_lr_factor, "weight_decay": 0.0},
            {"params": attention, "lr": lr * self.attention_lr_factor, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]
