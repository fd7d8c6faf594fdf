"""On-policy experience of options: actors run them in several worlds whenever the learner asks for the next batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from datamodules.actors import ActorDataModule, EvaluationEpisodes
from visagent.actors.option_actors import OptionFilm, OptionRoleFactory, run_option_episodes
from visagent.config.option_schemas import OptionDataSettings
from visagent.envs.option_worlds import OptionWorldFactory
from visagent.experience.option_decisions import OptionBatch
from visagent.experience.rollouts import Episode


@dataclass(frozen=True)
class OptionEpisodes(EvaluationEpisodes):
    """Episodes to evaluate a policy over options on.

    Attributes:
        scheme: who chooses when.
        max_option_steps: after which an episode is truncated; None for never.
    """

    worlds: OptionWorldFactory  # type: ignore[assignment]
    extras: ClassVar[tuple[str, ...]] = ("option_steps", "paper_metric")
    scheme: str = "async"
    max_option_steps: int | None = None

    def run(self, policy: Any, seeds: tuple[int, ...]) -> list[Episode]:
        return list(
            run_option_episodes(
                policy, self.worlds, self.scheme, seeds, self.deterministic, None, self.max_option_steps
            )
        )

    def film(self, policy: Any, seed: int) -> OptionFilm:
        return OptionFilm(policy, self.worlds, self.scheme, seed, self.deterministic, self.max_option_steps)


class OptionDataModule(ActorDataModule):
    """Decisions over options in batches of low-level steps.

    A batch has `actors` x `worlds_per_actor` x `steps` low-level steps, and those that are needed to end the options
    that run then.

    Args:
        settings: see `visagent.config.option_schemas.OptionDataSettings`.
    """

    settings: OptionDataSettings

    def __init__(self, settings: OptionDataSettings) -> None:
        worlds: OptionWorldFactory = settings.env
        self.worlds = worlds.primitives() if settings.scheme == "end2end" else worlds
        super().__init__(settings, self.worlds)  # type: ignore[arg-type]
        self.steps = settings.steps

    @property
    def steps_per_batch(self) -> int:
        """Low-level steps, without those that end what runs."""
        return self.settings.actors * self.settings.worlds_per_actor * self.steps

    def make_role(self, policy: nn.Module) -> OptionRoleFactory:
        settings = self.settings
        return OptionRoleFactory(
            self.worlds,
            settings.scheme,
            policy,
            settings.worlds_per_actor,
            settings.steps,
            settings.gamma,
            settings.seed,
            settings.max_option_steps,
        )

    def next_batch(self, epoch: int, iteration: int) -> OptionBatch:
        collected = self.collect(epoch, iteration)
        return OptionBatch.join(collected.arrays, collected.version, collected.episodes, collected.timing)

    def evaluation(self, seeds: tuple[int, ...], films: int) -> OptionEpisodes:
        return OptionEpisodes(
            self.worlds,
            seeds,
            self.settings.eval_deterministic,
            films,
            self.settings.scheme,
            self.settings.max_option_steps,
            solved_return=self.solved_return,
        )
