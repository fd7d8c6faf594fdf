"""The baseline of reinforcement learning: random actions, evaluated as any other policy."""

from __future__ import annotations

from typing import Any

from lightning_modules.reinforcement import ReinforcementModule


class RandomPolicy(ReinforcementModule):
    """Learns nothing.

    Args:
        network: makes the policy, a `visagent.networks.uniform.UniformPolicy`, from the worlds' spaces.
        optimizer: unused.
        seed: unused; worlds and actions follow from the DataModule's.
    """

    def training_step(self, batch: Any, batch_index: int) -> None:
        """Never asked for."""

    def configure_optimizers(self) -> None:
        """None: nothing is trained."""
