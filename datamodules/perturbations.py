"""Experience of evolution strategies: returns of perturbed policies, and the noise that all processes share."""

from __future__ import annotations

from typing import Any

from torch import nn

from datamodules.actors import ActorDataModule
from visagent.actors.perturbations import PerturbationRoleFactory
from visagent.errors import ConfigError
from visagent.experience.noise import NoiseTable
from visagent.experience.perturbations import PerturbationBatch


class PerturbationDataModule(ActorDataModule):
    """Antithetic pairs of perturbed policies, divided among actors.

    Args:
        pairs: P of a batch, of all actors together.
        episodes_per_policy: whose mean is the return of a perturbed policy.
        worlds_per_actor: stepped together, each with a perturbed policy of its own.
        sigma: standard deviation of the perturbations.
        noise_size: numbers in the noise table, 4 bytes each.
        cache: folder of the noise table.
        shared: see `ActorDataModule`.

    Raises:
        ConfigError: when the pairs cannot be divided among the actors.
    """

    def __init__(
        self,
        pairs: int,
        episodes_per_policy: int,
        worlds_per_actor: int,
        sigma: float,
        noise_size: int,
        cache: str,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if pairs % self.workers:
            lower = pairs - pairs % self.workers
            raise ConfigError(
                f"datamodule.pairs={pairs} is not divisible by {self.workers} actors: use {lower or self.workers} or "
                f"{lower + self.workers}"
            )
        self.pairs, self.episodes_per_policy, self.worlds_per_actor, self.sigma = (
            pairs,
            episodes_per_policy,
            worlds_per_actor,
            sigma,
        )
        self.table = NoiseTable(cache, self.seed, noise_size)

    def make_role(self, policy: nn.Module) -> PerturbationRoleFactory:
        share = self.pairs // self.workers
        made: Any = policy
        return PerturbationRoleFactory(
            self.env, made, self.table, share, self.episodes_per_policy, self.worlds_per_actor, self.sigma, self.seed
        )

    def next_batch(self, epoch: int, iteration: int) -> PerturbationBatch:
        found = self.collect(epoch, iteration)
        return PerturbationBatch.join(found.arrays, found.version, found.episodes, found.timing)
