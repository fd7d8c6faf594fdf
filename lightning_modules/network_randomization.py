"""SAC with network randomization (NetRand: Lee et al. 2020; dissertation Section 5.5.1): it learns, and acts, through
random layers over its pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.sac import SAC
from visagent.config.secant_schemas import NetworkRandomizationSettings
from visagent.errors import ConfigError
from visagent.experience.transitions import Transitions
from visagent.networks.randomized import RandomizedActorCritic


class NetworkRandomization(SAC):
    """SAC whose embedding of randomized pictures is to be that of the pictures as they are.

    Its network is a `visagent.networks.randomized.RandomizedActorCritic`.
    """

    settings: NetworkRandomizationSettings
    network: RandomizedActorCritic

    def build(self) -> None:
        super().build()
        if self.settings.augmentation != "random_network":
            raise ConfigError(
                "algorithm.augmentation: expected random_network, as network randomization learns from, got "
                f"{self.settings.augmentation}; type algorithm.augmentation=random_network"
            )

    def further_loss(self, features: list[Tensor | None], drawn: Transitions) -> Tensor:
        """Their feature matching (Equation 2): the squared distance of the critics' embedding of each view to that of
        the pictures as they are, through which no gradient goes.
        """
        trunk, state = self.network.critic.trunk, self.network.state(drawn.observation)
        with torch.no_grad():
            wanted = trunk(self.network.features(drawn.observation), state)
        distances = [(trunk(each, state) - wanted).square().mean() for each in features]
        return self.settings.matching * torch.stack(distances).mean()
