"""What methods share that are evaluated as any other, and trained not at all."""

from __future__ import annotations

from lightning_modules.reinforcement import ReinforcementModule
from visagent.errors import ConfigError


class Untrained(ReinforcementModule):
    """Learns nothing."""

    exported = None  # type: ignore[assignment]

    def build(self) -> None:
        if self.trainer.world_size > 1:
            raise ConfigError(
                "nothing is trained here, which leaves several processes nothing to do: expected trainer.devices=1 "
                f"trainer.num_nodes=1, got {self.trainer.world_size} ranks"
            )

    def configure_optimizers(self) -> None:
        """No optimizer: nothing is trained."""
