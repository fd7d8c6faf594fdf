"""Evolution strategies (Salimans et al. 2017; SURREAL-ES, dissertation Sections 3.3 and 3.6.2)."""

from __future__ import annotations

import torch

from lightning_modules.reinforcement import Metrics, ReinforcementModule
from visagent.config.reinforcement_schemas import EvolutionStrategiesSettings
from visagent.errors import ConfigError
from visagent.experience.perturbations import PerturbationBatch
from visagent.learning.sources import PerturbationSource
from visagent.objectives.evolution import antithetic_gradient, centered_ranks, undefined_last

CHUNK = 64
"""Perturbations that are taken from the noise table at once."""


class EvolutionStrategies(ReinforcementModule):
    """Moves a policy's weights, an `visagent.networks.evolved.EvolvedPolicy`'s, towards perturbations that earned more.

    A batch holds nothing of the size of the weights: whoever has the weights, the optimizer's state and the noise table
    makes the same update from it.
    """

    settings: EvolutionStrategiesSettings

    @property
    def data(self) -> PerturbationSource:
        """The DataModule."""
        return self.trainer.datamodule  # type: ignore[attr-defined, no-any-return]

    def build(self) -> None:
        if not hasattr(self.network, "vector"):
            name = type(self.network).__name__
            raise ConfigError(
                f"network: evolution strategies need a policy whose weights are one vector, got {name}; type "
                "network=evolved"
            )
        if self.trainer.world_size > 1:
            got = f"{self.trainer.world_size} ranks; for more speed raise datamodule.actors"
            raise ConfigError(
                f"one process learns from all actors: expected trainer.devices=1 trainer.num_nodes=1, got {got}"
            )

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.network.parameters())

    def learn(self, batch: PerturbationBatch) -> Metrics:
        returns = batch.returns
        shaped = centered_ranks(returns) if self.settings.shaping == "ranks" else undefined_last(returns)
        table, sigma, vector = self.data.table, self.data.sigma, self.network.vector
        gradient = torch.zeros(len(vector))
        for part in torch.arange(len(shaped)).split(CHUNK):
            noise = torch.from_numpy(table.rows(batch.offset[part].numpy(), len(vector)))
            gradient += antithetic_gradient(shaped[part], noise, sigma) * (len(part) / len(shaped))
        vector.grad = -gradient.to(vector.device)  # optimizers go down, returns are to go up
        self.own_optimizers()[0].step()
        return {"train/gradient_norm": gradient.norm(), "train/weight_norm": vector.detach().norm()}

    def update_normalizer(self, batch: PerturbationBatch) -> None:
        if self.network.normalizer is not None:
            for count, mean, spread in zip(*batch.seen, strict=True):
                self.network.normalizer.merge(*(part.to(self.device) for part in (count, mean, spread)))

    def describe(self, batch: PerturbationBatch) -> Metrics:
        defined = batch.returns[batch.returns.isfinite()]
        return {
            "train/return": defined.mean(),
            "train/return_std": defined.std(unbiased=False),
            "data/undefined_returns": float(batch.returns.numel() - len(defined)),
        }

    def remedies(self) -> list[str]:
        return [] if self.settings.shaping == "ranks" else ["algorithm.shaping=ranks"]
