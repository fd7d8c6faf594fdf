"""The baseline of reinforcement learning: random actions, evaluated as any other policy."""

from __future__ import annotations

from lightning_modules.reinforcement import ReinforcementModule
from visagent.errors import ConfigError


class RandomPolicy(ReinforcementModule):
    """Learns nothing; worlds and actions of its policy, a `visagent.networks.uniform.UniformPolicy`, follow from the
    DataModule's seed.
    """

    def build(self) -> None:
        if self.trainer.world_size > 1:
            got = f"{self.trainer.world_size} ranks"
            raise ConfigError(
                "random actions leave several processes nothing to do: expected trainer.devices=1 "
                f"trainer.num_nodes=1, got {got}"
            )

    def configure_optimizers(self) -> None:
        """None: nothing is trained."""
