"""DAgger's data: demonstrations, then one labelled block of the policy's own experience per round (Ross et al.
2011).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from datamodules.navigation import NavigationDataModule, SampleLoader
from datamodules.ranks import next_epoch
from visagent.actors.navigation_rollout import label_rollout, mix_with_expert, rollout
from visagent.envs.navigation import NavigationWorld
from visagent.experience.navigation import NavigationSamples
from visagent.experts.schedules import beta_schedule
from visagent.seeding import generator

log = logging.getLogger(__name__)


class DAggerDataModule(NavigationDataModule):
    """One Lightning epoch is one round: collect with the policy of the round before, label, aggregate, train.

    Collection is keyed by the round, so that it happens once however often Lightning asks for the loader.

    Args:
        beta: schedule name, see `visagent.experts.schedules`.
        beta_parameter: its parameter.
        passes_first_round: passes over the demonstrations in round 0; the later rounds make `passes_per_epoch`.
        collect_starts_per_target: episodes per target and round.
        collect_max_steps: their cut-off.
        settings: those of `NavigationDataModule`.
    """

    def __init__(
        self,
        beta: str,
        beta_parameter: float | None,
        passes_first_round: int,
        collect_starts_per_target: int,
        collect_max_steps: int,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.beta = beta_schedule(beta, beta_parameter)
        self.passes_first_round = passes_first_round
        self.collect_starts, self.collect_max_steps = collect_starts_per_target, collect_max_steps

    def train_dataloader(self) -> Any:
        """Collect what the current round lacks, then its passes."""
        epoch = next_epoch(self.trainer)
        while len(self.data.rounds) <= epoch:
            round = len(self.data.rounds)
            self.data.append(self.collect(round) if round else self.demonstrations())
        return self.loader(epoch)

    def loader(self, epoch: int) -> Any:
        """The passes of one round; each round is a training phase of its own."""
        done = self.passes_first_round + (epoch - 1) * self.passes_per_epoch
        passes = range(done, done + self.passes_per_epoch) if epoch else range(self.passes_first_round)
        return SampleLoader(
            self.data.samples, self.tables.scene_of, self.batch_size, passes, passes, self.seed, self.shard()
        )

    def collect(self, round: int) -> NavigationSamples:
        """D_round: every state that the mixture visits, labelled by the expert (Algorithm 1 of the paper, steps 2 and
        3).
        """
        behaviour = mix_with_expert(self.policy(), self.expert, self.beta(round))
        episodes = self.starts(self.targets, self.collect_starts, "collect", round)
        path = rollout(behaviour, self.world(), *episodes, generator(self.seed, "collect", round))
        samples = label_rollout(path, self.expert)
        log.info(
            "round %d: %d states labelled, %.0f %% of the episodes reached the target",
            round,
            len(samples),
            100 * float(path.success.float().mean()),
        )
        return samples

    def training_episodes(self, rounds: int) -> Iterator[tuple[Tensor, Tensor]]:
        yield from super().training_episodes(rounds)
        for round in range(1, rounds):
            yield self.starts(self.targets, self.collect_starts, "collect", round)

    def policy(self) -> Any:
        """The learner's current policy; the expert moves to its device."""
        if self.trainer is None:
            raise RuntimeError("collecting needs a learner: attach the DataModule to a Trainer")
        learner: Any = self.trainer.lightning_module
        self.expert.tables = self.tables.to(learner.device)
        return learner.policy()

    def world(self, max_steps: int | None = None) -> NavigationWorld:
        """A fresh world for collection, on the expert's device."""
        return NavigationWorld(self.expert.tables, max_steps or self.collect_max_steps)
