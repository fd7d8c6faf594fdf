"""Experience of evolution strategies: returns of perturbed policies, and the noise that all processes share."""

from __future__ import annotations

from typing import cast

from torch import nn

from datamodules.actors import ActorDataModule
from visagent.actors.perturbations import PerturbationRoleFactory
from visagent.config.reinforcement_schemas import PerturbationDataSettings
from visagent.errors import ConfigError
from visagent.experience.noise import NoiseTable
from visagent.experience.perturbations import PerturbationBatch
from visagent.networks.evolved import EvolvedPolicy


class PerturbationDataModule(ActorDataModule):
    """Antithetic pairs of perturbed policies, divided among actors.

    Args:
        settings: see `visagent.config.reinforcement_schemas.PerturbationDataSettings`.

    Raises:
        ConfigError: when the pairs cannot be divided among the actors, or gymnasium is to step worlds together, which
            end their episodes here each for itself.
    """

    settings: PerturbationDataSettings

    def __init__(self, settings: PerturbationDataSettings) -> None:
        together = getattr(settings.env, "vectorization", "none")
        if together != "none":
            raise ConfigError(
                f"datamodule.env.vectorization: expected none with datamodule=perturbations, got {together}; type "
                "datamodule.env.vectorization=none"
            )
        super().__init__(settings)
        pairs, actors = settings.pairs, settings.actors
        if pairs % actors:
            lower = pairs - pairs % actors
            raise ConfigError(
                f"datamodule.pairs={pairs} is not divisible by {actors} actors: use {lower or actors} or "
                f"{lower + actors}"
            )
        self.sigma = settings.sigma
        self.table = NoiseTable(settings.cache, settings.seed, settings.noise_size)

    def make_role(self, policy: nn.Module) -> PerturbationRoleFactory:
        settings = self.settings
        return PerturbationRoleFactory(
            self.env,
            cast(EvolvedPolicy, policy),
            self.table,
            settings.pairs // settings.actors,
            settings.episodes_per_policy,
            settings.worlds_per_actor,
            settings.sigma,
            settings.seed,
        )

    def next_batch(self, epoch: int, iteration: int) -> PerturbationBatch:
        collected = self.collect(epoch, iteration)
        return PerturbationBatch.join(collected.arrays, collected.version, collected.episodes, collected.timing)
