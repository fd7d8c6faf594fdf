"""SAC with an auxiliary task, inverse dynamics (SAC+IDM; Hansen et al. 2021; dissertation Section 5.5.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lightning_modules.sac import SAC
from visagent.config.secant_schemas import InverseDynamicsSettings
from visagent.errors import ConfigError
from visagent.experience.transitions import Transitions
from visagent.learning.descent import Descent
from visagent.networks.inverse_dynamics import InverseDynamics
from visagent.objectives.distillation import imitation_loss


class InverseDynamicsSAC(SAC):
    """SAC whose convolutions also learn which action led from an observation to the next."""

    settings: InverseDynamicsSettings

    def build(self) -> None:
        super().build()
        network, settings = self.network, self.settings
        projection = network.actor.trunk.projection
        if projection is None:
            raise ConfigError(
                "algorithm=inverse_dynamics: expected worlds that show pictures, got "
                f"{' and '.join(self.data.spaces.observation)}; type datamodule.env.observe=pixels"
            )
        linear = projection[0]
        assert isinstance(linear, nn.Linear)
        actions = self.data.spaces.action.size
        self.inverse = InverseDynamics(linear.in_features, linear.out_features, settings.inverse_hidden, actions)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        return [
            *super().configure_optimizers(),
            self._slower(self._inverse_parameters, self.settings.inverse_lr_factor),
        ]

    @property
    def _inverse_parameters(self) -> list[nn.Parameter]:
        assert self.network.stem is not None
        return [*self.network.stem.parameters(), *self.inverse.parameters()]

    def on_fit_start(self) -> None:
        *own, inverse = self.own_optimizers()
        self.make_descents(own)
        self.inverse_descent = Descent(inverse, self._inverse_parameters, self.ranks)

    def update(self, drawn: Transitions, rng: torch.Generator) -> dict[str, Tensor]:
        if (steps := drawn.rewards.shape[1]) != 1:
            raise ConfigError(
                f"datamodule.n_step: expected 1, as inverse dynamics learns of single steps, got {steps}; type "
                "datamodule.n_step=1"
            )
        measured = super().update(drawn, rng)
        every = self.settings.inverse_every
        if self.is_turn(every):
            before, after = (self.views(each, 1, rng)[0] for each in (drawn.observation, drawn.next_observation))
            features, following = self.network.features(before), self.network.features(after)
            loss = imitation_loss(self.inverse(features, following), drawn.action, "squared")
            self.inverse_descent.step(loss / self.ranks.count)
            measured["inverse_loss"] = every * loss.detach()
        return measured
