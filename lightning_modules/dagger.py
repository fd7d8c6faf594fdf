"""DAgger for target-driven navigation (Ross et al. 2011; the paper, Section 3.3 and Algorithm 1)."""

from __future__ import annotations

from typing import Any

import torch

from lightning_modules.behaviour_cloning import BehaviourCloning
from visagent.errors import ConfigError
from visagent.seeding import derive_seed


class DAgger(BehaviourCloning):
    """Behaviour cloning on a data set that grows by one round each epoch; the DataModule collects and labels.

    Args:
        retrain: `scratch` draws new weights each round (Algorithm 1 trains a policy from the aggregated data),
            `continue` goes on from the last round's ("fine-tunes", Section 3.3).
        settings: those of `BehaviourCloning`.
    """

    def __init__(self, retrain: str, **settings: Any) -> None:
        super().__init__(**settings)
        if retrain not in ("scratch", "continue"):
            raise ConfigError(f"algorithm.retrain: expected scratch or continue, got {retrain!r}")
        self.retrain = retrain

    def on_train_epoch_start(self) -> None:
        if self.retrain == "scratch" and self.current_epoch > 0:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(self.seed, "weights", self.current_epoch))
                self.reset_parameters()
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.network.reset_parameters()
