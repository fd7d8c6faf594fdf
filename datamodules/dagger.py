"""DAgger's data: demonstrations, then one labelled block of the policy's own experience per round (Ross et al.
2011).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from torch import Tensor

from datamodules.navigation import NavigationDataModule
from datamodules.ranks import next_epoch
from visagent.actors.navigation_rollout import label_rollout, mix_with_expert, rollout
from visagent.config.navigation_schemas import DAggerDataSettings
from visagent.envs.navigation import NavigationWorld
from visagent.experience.navigation import NavigationSamples
from visagent.experts.schedules import beta_schedule
from visagent.seeding import generator

log = logging.getLogger(__name__)


class DAggerDataModule(NavigationDataModule):
    """One Lightning epoch is one round: collect with the policy of the round before, label, aggregate, train.

    Collection is keyed by the round, so that it happens once however often Lightning asks for the loader.

    Args:
        settings: see `visagent.config.navigation_schemas.DAggerDataSettings`.
    """

    settings: DAggerDataSettings

    def __init__(self, settings: DAggerDataSettings) -> None:
        super().__init__(settings)
        self.beta = beta_schedule(settings.beta, settings.beta_parameter)

    def train_dataloader(self) -> Any:
        """Collect what the current round lacks, then its passes."""
        epoch = next_epoch(self.trainer)
        while len(self.data.rounds) <= epoch:
            round = len(self.data.rounds)
            self.data.append(self.collect(round) if round else self.demonstrations())
        return self.loader(epoch)

    def loader(self, epoch: int) -> Any:
        """The passes of one round; each round is a training phase of its own."""
        first, later = self.settings.passes_first_round, self.settings.passes_per_epoch
        done = first + (epoch - 1) * later
        passes = range(done, done + later) if epoch else range(first)
        return self.sample_loader(passes, passes)

    def collect(self, round: int) -> NavigationSamples:
        """D_round: every state that the mixture visits, labelled by the expert (Algorithm 1 of the paper, steps 2 and
        3).
        """
        behaviour = mix_with_expert(self.policy(), self.expert, self.beta(round))
        episodes = self.starts(self.targets, self.settings.collect_starts_per_target, "collect", round)
        path = rollout(behaviour, self.world(), *episodes, generator(self.settings.seed, "collect", round))
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
            yield self.starts(self.targets, self.settings.collect_starts_per_target, "collect", round)

    def policy(self) -> Any:
        """The learner's current policy; the expert moves to its device."""
        if self.trainer is None:
            raise RuntimeError("collecting needs a learner: attach the DataModule to a Trainer")
        learner: Any = self.trainer.lightning_module
        self.expert.tables = self.tables.to(learner.device)
        return learner.policy()

    def world(self, max_steps: int | None = None) -> NavigationWorld:
        """A fresh world for collection, on the expert's device."""
        return NavigationWorld(self.expert.tables, max_steps or self.settings.collect_max_steps)
