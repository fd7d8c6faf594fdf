"""Off-policy experience of options: actors run them, whole episodes are kept and drawn from."""

from __future__ import annotations

from typing import Any

from datamodules.option_rollouts import OptionDataModule
from visagent.config.option_schemas import OptionReplayDataSettings
from visagent.errors import ConfigError
from visagent.experience.option_decisions import OptionBatch
from visagent.experience.option_episodes import EpisodeBatch, EpisodeBuffer
from visagent.seeding import generator


class OptionReplayDataModule(OptionDataModule):
    """Episodes of decisions from a buffer.

    In an iteration the actors take `steps` low-level steps in every world, and the learner gets `updates` draws.

    Args:
        settings: see `visagent.config.option_schemas.OptionReplayDataSettings`.
    """

    settings: OptionReplayDataSettings

    def __init__(self, settings: OptionReplayDataSettings) -> None:
        super().__init__(settings)
        self.buffer = EpisodeBuffer(self.worlds.spaces(), settings.capacity, settings.longest)

    def setup(self, stage: str) -> None:
        """Refuse what is not built.

        Raises:
            ConfigError: for several ranks or asynchronous actors.
        """
        if self.trainer is not None and self.trainer.world_size > 1:
            raise ConfigError(
                "one process learns from all actors: expected trainer.devices=1 trainer.num_nodes=1, got "
                f"{self.trainer.world_size} ranks"
            )
        if self.settings.mode != "synchronous":
            raise ConfigError(
                f"datamodule.mode={self.settings.mode}: expected synchronous, as episodes of an epoch are whole; type "
                "actors=serial or actors=process"
            )

    def next_batch(self, epoch: int, iteration: int) -> EpisodeBatch:  # type: ignore[override]
        settings = self.settings
        if iteration == 0:
            self.buffer.begin(settings.actors * settings.worlds_per_actor)
        collected = self.collect(epoch, iteration)
        batch = OptionBatch.join(collected.arrays, collected.version, collected.episodes, collected.timing)
        self.buffer.add(batch)
        updates = settings.updates if len(self.buffer) >= settings.warmup else 0
        rng = generator(settings.seed, "draw", epoch, iteration)
        return self.buffer.draw(
            updates, settings.batch_size, rng, batch.env_steps, collected.version, collected.episodes, collected.timing
        )

    def state_dict(self) -> dict[str, Any]:
        return self.buffer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.buffer.load_state_dict(state_dict)
