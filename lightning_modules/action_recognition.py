"""Action recognition (dissertation Chapter 6): classify clips; learn how far each channel moves in space and time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightning_modules.clip_evaluation import ClipEvaluation
from lightning_modules.making import make_network
from lightning_modules.schedules import rate, scale_learning_rates
from visagent.config.video_schemas import ActionRecognitionSettings
from visagent.errors import ConfigError
from visagent.networks.batch_norm import synchronize_batch_norm
from visagent.networks.deploy import exportable_run
from visagent.networks.parameter_groups import parameter_groups
from visagent.networks.shift import INITIAL_TEMPERATURE
from visagent.networks.weights import initialize_from
from visagent.objectives.action_recognition import budget_loss, temperature
from visagent.seeding import derive_seed
from visagent.video.dataset import VideoBatch, require_same_classes

NetworkFactory = Callable[..., nn.Module]
OptimizerFactory = Callable[[Sequence[Mapping[str, Any]]], torch.optim.Optimizer]


class ActionRecognition(ClipEvaluation):
    """Classification of clips, for RubiksNet and its baselines.

    Args:
        settings: of the method.
        network: makes the network from `num_classes` and `num_frames`.
        optimizer: makes the optimizer from parameter groups.
    """

    clips_seen: Tensor
    clock = "clips_seen"
    exportable = staticmethod(exportable_run)

    def __init__(
        self, settings: ActionRecognitionSettings, network: NetworkFactory, optimizer: OptimizerFactory
    ) -> None:
        super().__init__()
        self.settings, self._make_network, self._make_optimizer = settings, network, optimizer
        self.register_buffer("clips_seen", torch.zeros((), dtype=torch.int64))

    def setup(self, stage: str) -> None:
        """Build the network for the data's classes and frames, once."""
        if hasattr(self, "network"):
            return
        self.classes: tuple[str, ...] = self.data.classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.settings.seed, "weights"))
            self.network = make_network(
                self._make_network, num_classes=len(self.classes), num_frames=self.data.settings.num_frames
            )
        if stage == "test" and (trained := getattr(self._make_network, "classes", None)) is not None:
            require_same_classes(trained, self.classes, "the weights were", "choose the experiment and data of these")
        if self.settings.initialize_from is not None and stage == "fit":
            initialize_from(self.network, self.settings.initialize_from)
        self.prepare_evaluation(self.settings.budget)
        if self.settings.sync_batch_norm and self.trainer.world_size > 1:
            self.network = synchronize_batch_norm(self.network, self.trainer.strategy.root_device)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        factors = (self.settings.shift_lr_factor, self.settings.attention_lr_factor)
        try:
            lr = float(self._make_optimizer.keywords["lr"])  # type: ignore[attr-defined]
            return self._make_optimizer(parameter_groups(self.network, lr, *factors))
        except (TypeError, ValueError, KeyError) as error:
            raise ConfigError(
                f"optimizer: expected settings that it takes, with lr, got an error ({error}); --cfg job shows them"
            ) from error

    def on_train_batch_start(self, batch: VideoBatch, batch_index: int) -> None:
        settings = self.settings
        scale_learning_rates(
            self.trainer.optimizers[0], rate(settings.schedule, batch.progress, settings.warmup, settings.milestones)
        )
        if self.rubiks is not None:
            epochs = batch.progress * (self.trainer.max_epochs or 1)
            self.rubiks.set_temperature(
                temperature(epochs, settings.anneal_epochs, INITIAL_TEMPERATURE, settings.final_temperature)
            )

    def training_step(self, batch: VideoBatch, batch_index: int) -> Tensor:
        settings, world = self.settings, self.trainer.world_size
        clips, target = self.mixed(self.normalized(batch.clips[:, 0]), batch.label)
        logits = self.network(clips)
        loss = nn.functional.cross_entropy(logits, target, label_smoothing=settings.label_smoothing)
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

    def mixed(self, clips: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Clips `[N, T, 3, H, W]` mixed with each other where that is asked for, and their classes `[N]`, or shares of
        these `[N, classes]`.
        """
        count, settings = len(self.classes), self.settings
        ways: list[nn.Module] = [v2.MixUp(alpha=settings.mixup, num_classes=count)] if settings.mixup else []
        ways += [v2.CutMix(alpha=settings.cutmix, num_classes=count)] if settings.cutmix else []
        if not ways:
            return clips, label
        way = ways[int(torch.randint(len(ways), ()))] if len(ways) > 1 else ways[0]
        mixed, shares = way(tv_tensors.Video(clips), label)
        return mixed.as_subclass(Tensor), shares

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.rubiks is not None:
            self.rubiks.normalize_shift_gradients(self.settings.t_factor)

    def on_train_epoch_end(self) -> None:
        self.data.join_accounts()
        self.log_dict(self.data.statistics())
        self.log("step", self.clips_seen.float(), on_step=False, on_epoch=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["classes"] = list(self.classes)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        require_same_classes(checkpoint["classes"], self.classes)

    def remedies(self) -> list[str]:
        """Overrides, beside a smaller learning rate, that may keep the method from diverging."""
        return ["trainer.gradient_clip_val=1.0"] if self.trainer.gradient_clip_val is None else []
