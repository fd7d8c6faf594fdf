"""On-policy experience: actors collect a batch whenever the learner asks for the next one."""

from __future__ import annotations

from torch import nn

from datamodules.actors import ActorDataModule
from visagent.actors.segments import RolloutRoleFactory
from visagent.config.reinforcement_schemas import RolloutDataSettings
from visagent.experience.rollouts import RolloutBatch


class RolloutDataModule(ActorDataModule):
    """Segments of T steps of all actors' worlds.

    Args:
        settings: see `visagent.config.reinforcement_schemas.RolloutDataSettings`.
    """

    settings: RolloutDataSettings

    def __init__(self, settings: RolloutDataSettings) -> None:
        super().__init__(settings)
        self.steps = settings.steps

    @property
    def steps_per_batch(self) -> int:
        """T B."""
        return self.settings.actors * self.settings.worlds_per_actor * self.steps

    def make_role(self, policy: nn.Module) -> RolloutRoleFactory:
        settings = self.settings
        return RolloutRoleFactory(self.env, policy, settings.worlds_per_actor, self.steps, settings.seed)  # type: ignore[arg-type]

    def next_batch(self, epoch: int, iteration: int) -> RolloutBatch:
        collected = self.collect(epoch, iteration)
        return RolloutBatch.join(collected.arrays, collected.version, collected.episodes, collected.timing)
