"""DAgger for target-driven navigation (Ross et al. 2011; the paper, Section 3.3 and Algorithm 1)."""

from __future__ import annotations

import torch

from lightning_modules.behaviour_cloning import BehaviourCloning
from visagent.config.navigation_schemas import DAggerSettings
from visagent.seeding import derive_seed


class DAgger(BehaviourCloning):
    """Behaviour cloning on a data set that grows by one round each epoch; the DataModule collects and labels."""

    settings: DAggerSettings

    def on_train_epoch_start(self) -> None:
        if self.settings.retrain == "scratch" and self.current_epoch > 0:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(derive_seed(self.settings.seed, "weights", self.current_epoch))
                self.reset_parameters()
            for optimizer in self.trainer.optimizers:
                optimizer.state.clear()

    def reset_parameters(self) -> None:
        """Draw all weights anew."""
        self.network.reset_parameters()
