"""What methods share that learn from a replay: updates, each from draws of its own."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from lightning_modules.reinforcement import Metrics, NetworkFactory, OptimizerFactory, ReinforcementModule
from visagent.config.reinforcement_schemas import LearnerSettings
from visagent.experience.transitions import TransitionBatch, Transitions


class OffPolicyModule(ReinforcementModule):
    """The loop of an iteration's updates; a subclass writes `update` and `configure_optimizers`.

    Where there are several ranks, each updates from draws of its own, and gradients are those of all.
    """

    updates: Tensor
    """Of the run, before this iteration's."""
    turn = 0
    """Updates so far, counted where nothing has to wait for a device."""
    purpose: ClassVar[str] = "update"
    """Of an iteration's random numbers, by which they are seeded."""

    def __init__(self, settings: LearnerSettings, network: NetworkFactory, optimizer: OptimizerFactory) -> None:
        super().__init__(settings, network, optimizer)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def update(self, drawn: Transitions, rng: torch.Generator) -> dict[str, Tensor]:
        """One update; returns this rank's parts of what is measured.

        Args:
            drawn: N draws.
            rng: random numbers on the CPU, the same on every rank; see `normal`.
        """
        raise NotImplementedError

    def follow(self) -> None:
        """What follows the learned networks after an update."""

    def learn(self, batch: TransitionBatch) -> Metrics:
        sums: dict[str, Tensor] = {}
        rng = self.generator(self.purpose)
        self.turn = int(self.updates)
        for drawn in batch.updates():
            for name, value in self.update(drawn, rng).items():
                sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value
            self.turn += 1
            self.follow()
        self.updates.fill_(self.turn)
        if not sums:
            return {"train/updates": self.updates.float()}
        means = self.ranks.sum(torch.stack(list(sums.values()))) / (self.ranks.count * len(batch.steps))
        return {f"train/{name}": mean for name, mean in zip(sums, means, strict=True)} | {
            "train/updates": self.updates.float()
        }

    def is_turn(self, every: int) -> bool:
        """Whether the number of updates so far is a multiple of another."""
        return self.turn % every == 0

    def normal(self, rng: torch.Generator, like: Tensor) -> Tensor:
        """This rank's standard normal numbers, `[N, ...]` as a tensor's."""
        everyones = torch.randn(self.ranks.count, *like.shape, generator=rng)
        return everyones[self.ranks.rank].to(like.device)

    @property
    def done(self) -> int:
        return int(self.updates)
