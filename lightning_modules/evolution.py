"""Evolution strategies (Salimans et al. 2017; SURREAL-ES, dissertation Sections 3.3 and 3.6.2)."""

from __future__ import annotations

import math
from typing import Any

import torch

from lightning_modules.reinforcement import NetworkFactory, OptimizerFactory, ReinforcementModule
from visagent.errors import ConfigError
from visagent.experience.perturbations import PerturbationBatch
from visagent.objectives.evolution import antithetic_gradient, centered_ranks, undefined_last

CHUNK = 64
"""Perturbations that are taken from the noise table at once."""


class EvolutionStrategies(ReinforcementModule):
    """Moves a policy's weights towards perturbations that earned more.

    A batch holds nothing of the size of the weights: whoever has the weights, the optimizer's state and the noise table makes the same update from it.

    Args:
        network: makes the policy, a `visagent.networks.evolved.EvolvedPolicy`, from the worlds' spaces.
        optimizer: makes the optimizer from parameter groups.
        shaping: of the returns: `ranks`, or `none`.
        seed: of the weights.
    """

    def __init__(self, network: NetworkFactory, optimizer: OptimizerFactory, shaping: str, seed: int) -> None:
        super().__init__(network, optimizer, seed)
        self.shaping = shaping

    def prepare(self) -> None:
        if not hasattr(self.network, "vector"):
            name = type(self.network).__name__
            raise ConfigError(f"network: evolution strategies need a policy whose weights are one vector, got {name}; type network=evolved")
        if self.trainer.world_size > 1:
            got = f"{self.trainer.world_size} ranks; for more speed raise datamodule.actors"
            raise ConfigError(f"one process learns from all actors: expected trainer.devices=1 trainer.num_nodes=1, got {got}")

    def remedies(self) -> list[str]:
        return [] if self.shaping == "ranks" else ["algorithm.shaping=ranks"]

    def training_step(self, batch: PerturbationBatch, batch_index: int) -> None:
        if not self.only_for_the_filter(batch.version):
            self._learn(batch)
        if self.network.normalizer is not None:
            for count, mean, spread in zip(*batch.seen, strict=True):
                self.network.normalizer.merge(*(part.to(self.network.vector.device) for part in (count, mean, spread)))
        lag = float(int(self.iterations) - batch.version)
        self.env_steps += batch.env_steps
        self.iterations += 1
        defined = batch.returns[batch.returns.isfinite()]
        self.log_dict({"train/return": defined.mean(), "train/return_std": defined.std(unbiased=False)})
        self.log("data/undefined_returns", float(batch.returns.numel() - len(defined)))
        self.report([episode for episode in batch.episodes if math.isfinite(episode.total_reward)], batch.timing, lag)

    def _learn(self, batch: PerturbationBatch) -> None:
        shaped = centered_ranks(batch.returns) if self.shaping == "ranks" else undefined_last(batch.returns)
        table, sigma, vector = self.data.table, self.data.sigma, self.network.vector
        gradient = torch.zeros(len(vector))
        for part in torch.arange(len(shaped)).split(CHUNK):
            noise = torch.from_numpy(table.rows(batch.offset[part].numpy(), len(vector)))
            gradient += antithetic_gradient(shaped[part], noise, sigma) * (len(part) / len(shaped))
        optimizer: Any = self.optimizers()
        vector.grad = -gradient.to(vector.device)  # optimizers go down, returns are to go up
        optimizer.step()
        self.log_dict({"train/gradient_norm": gradient.norm(), "train/weight_norm": vector.detach().norm()})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.network.parameters())
