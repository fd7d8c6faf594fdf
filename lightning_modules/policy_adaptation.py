"""Policy adaptation during deployment (PAD: Hansen et al. 2021; dissertation Section 5.5.1): a trained policy that goes
on learning while it is tested.
"""

from __future__ import annotations

from typing import Any

from lightning_modules.inverse_dynamics import InverseDynamicsSAC
from lightning_modules.reinforcement import NetworkFactory, OptimizerFactory
from lightning_modules.untrained import Untrained
from visagent.config.secant_schemas import PolicyAdaptationSettings
from visagent.errors import ConfigError
from visagent.networks.adaptation import AdaptingPolicy


class PolicyAdaptation(Untrained):
    """Tests a policy of SAC with inverse dynamics, which adapts to each episode; trains nothing.

    Args:
        settings: see `visagent.config.secant_schemas.PolicyAdaptationSettings`.
        network: of no policy of its own, uniform actions.
        optimizer: not used.
        expert: the trained module of the run whose policy adapts.
    """

    settings: PolicyAdaptationSettings

    def __init__(
        self,
        settings: PolicyAdaptationSettings,
        network: NetworkFactory,
        optimizer: OptimizerFactory,
        expert: Any,
    ) -> None:
        super().__init__(settings, network, optimizer)
        if not isinstance(expert, InverseDynamicsSAC):
            raise ConfigError(
                "algorithm.expert: expected a run of algorithm=inverse_dynamics, by which a policy adapts, got one of "
                f"{type(expert).__name__}; type for example "
                "'algorithm.expert.overrides=[experiment=secant/inverse_dynamics]'"
            )
        self._expert = [expert]

    def build(self) -> None:
        super().build()
        trained = self._expert[0]
        if trained.network.spaces != self.data.spaces:
            raise ConfigError(
                f"algorithm.expert: its policy sees {dict(trained.network.spaces.observation)}, got worlds that show "
                f"{dict(self.data.spaces.observation)}; type the same datamodule.env settings for both"
            )
        self.network = AdaptingPolicy(trained.network, trained.inverse, self.settings.lr, self.settings.crops)
