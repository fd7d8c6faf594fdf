"""SafeDAgger for target-driven navigation (Zhang & Cho 2017; the paper, Section 3.4 and Algorithm 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.dagger import DAgger
from visagent.config.navigation_schemas import SafeDAggerSettings
from visagent.errors import ConfigError
from visagent.experience.navigation import NavigationBatch
from visagent.networks.navigation import NavigationPolicy, SafetyHead
from visagent.objectives.safety import is_unsafe, safety_loss, threshold_for_recall


class SafeDAgger(DAgger):
    """DAgger with a safety policy on the detached scene layer, fitted after the policy in every round.

    A batch says what it is for: `policy` batches train the policy, `safety` batches the safety policy, one
    `calibration` batch sets the threshold. The policy's loss and the safety loss touch different parameters, so one
    optimizer serves both.
    """

    settings: SafeDAggerSettings
    unequal_batches = True  # learners in step cannot have one batch each of another kind

    def setup(self, stage: str) -> None:
        if not hasattr(self.data, "collect_safety"):
            raise ConfigError(
                f"algorithm=safe_dagger fits a safety policy on D_safe, which {type(self.data).__name__} does not "
                "collect: type datamodule=safe_dagger, or experiment=navigation/safe_dagger"
            )
        # the batch that sets its threshold has no loss, which Lightning takes from one process alone
        if self.trainer.world_size > 1:
            got = f"{self.trainer.world_size} ranks"
            raise ConfigError(
                f"the safety policy is fitted by one process: expected trainer.devices=1 trainer.num_nodes=1, got {got}"
            )
        super().setup(stage)

    def build_heads(self) -> None:
        self.safety = SafetyHead(len(self.tables.names), self.network.scene_layer.bias.shape[1])

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self.safety.layer.reset_parameters()

    def policy(self) -> NavigationPolicy:
        """The current policy with its safety policy."""
        self.network.refresh_table()
        return NavigationPolicy(self.network, self.safety)

    def training_step(self, batch: NavigationBatch, batch_index: int) -> Tensor | None:
        if batch.part == "policy":
            return self.imitate(batch)
        with torch.no_grad():
            output = self.network(batch.observation)
            unsafe = is_unsafe(output.logits, batch.optimal, self.settings.tolerance)
        logit = self.safety(output.scene_layer, batch.observation.scene)
        if batch.part == "calibration":
            self.calibrate(logit.detach().sigmoid(), unsafe)
            return None
        if self.settings.unsafe_weight is None:
            weight = ((~unsafe).sum() / unsafe.sum().clamp_min(1)).clamp(1.0, 100.0)
        else:
            weight = torch.tensor(self.settings.unsafe_weight, device=self.device)
        loss = safety_loss(logit, unsafe, weight)
        self.log("train/safety_loss", loss, on_step=True, on_epoch=True, batch_size=len(batch))
        self.log_time()
        return loss

    def calibrate(self, probability: Tensor, unsafe: Tensor) -> None:
        """Choose the threshold for the wanted recall and report what it does on the held-out half of D_safe."""
        self.safety.threshold.copy_(threshold_for_recall(probability, unsafe, self.settings.recall))
        warned = probability > self.safety.threshold
        hits = (warned & unsafe).sum().float()
        self.log_dict(
            {
                "train/safety_threshold": self.safety.threshold,
                "train/safety_unsafe_share": unsafe.float().mean(),
                "train/safety_warned_share": warned.float().mean(),
                "train/safety_recall": hits / unsafe.sum().clamp_min(1),
                "train/safety_precision": hits / warned.sum().clamp_min(1),
            },
            on_step=False,
            on_epoch=True,
            batch_size=len(unsafe),
        )
