"""On-policy experience: actors collect a batch whenever the learner asks for the next one."""

from __future__ import annotations

from typing import Any

from torch import nn

from datamodules.actors import ActorDataModule
from visagent.actors.segments import RolloutRoleFactory
from visagent.experience.rollouts import RolloutBatch


class RolloutDataModule(ActorDataModule):
    """Segments of T steps of all actors' worlds.

    Args:
        worlds_per_actor: stepped by one actor, whose policy sees them as one batch.
        steps: T, of each segment.
        shared: see `ActorDataModule`.
    """

    def __init__(self, worlds_per_actor: int, steps: int, **shared: Any) -> None:
        super().__init__(**shared)
        self.worlds_per_actor, self.steps = worlds_per_actor, steps

    @property
    def steps_per_batch(self) -> int:
        """T B."""
        return self.workers * self.worlds_per_actor * self.steps

    def make_role(self, policy: nn.Module) -> RolloutRoleFactory:
        return RolloutRoleFactory(self.env, policy, self.worlds_per_actor, self.steps, self.seed)  # type: ignore[arg-type]

    def next_batch(self, epoch: int, iteration: int) -> RolloutBatch:
        found = self.collect(epoch, iteration)
        return RolloutBatch.join(found.arrays, found.version, found.episodes, found.timing)
