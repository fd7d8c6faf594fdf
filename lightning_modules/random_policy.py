"""The baseline of reinforcement learning: random actions, evaluated as any other policy."""

from __future__ import annotations

from typing import Any

from lightning_modules.reinforcement import ReinforcementModule
from visagent.errors import ConfigError


class RandomPolicy(ReinforcementModule):
    """Learns nothing.

    Args:
        network: makes the policy, a `visagent.networks.uniform.UniformPolicy`, from the worlds' spaces.
        optimizer: unused.
        seed: unused; worlds and actions follow from the DataModule's.
    """

    def prepare(self) -> None:
        if self.trainer.world_size > 1:
            got = f"{self.trainer.world_size} ranks"
            raise ConfigError(f"random actions leave several processes nothing to do: expected trainer.devices=1 trainer.num_nodes=1, got {got}")

    def training_step(self, batch: Any, batch_index: int) -> None:
        """Never asked for."""

    def configure_optimizers(self) -> None:
        """None: nothing is trained."""
