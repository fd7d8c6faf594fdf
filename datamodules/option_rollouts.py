"""On-policy experience of options: actors run them in several worlds whenever the learner asks for the next batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from datamodules.actors import ActorDataModule, EvaluationEpisodes
from visagent.actors.option_actors import OptionFilm, OptionRoleFactory, run_option_episodes
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
        env: makes the worlds.
        scheme: who chooses when: `async`, `sync_wait`, `sync_cut`, or `end2end`, which takes the worlds' low-level
            actions for options.
        worlds_per_actor: stepped by one actor.
        steps: low-level steps of a world.
        gamma: discount of a low-level step.
        max_option_steps: after which an episode is truncated; None for never.
        shared: see `ActorDataModule`.
    """

    def __init__(
        self,
        env: OptionWorldFactory,
        scheme: str,
        worlds_per_actor: int,
        steps: int,
        gamma: float,
        max_option_steps: int | None,
        **shared: Any,
    ) -> None:
        self.worlds = env.primitives() if scheme == "end2end" else env
        super().__init__(env=self.worlds, **shared)  # type: ignore[arg-type]
        self.scheme, self.worlds_per_actor, self.steps, self.gamma = scheme, worlds_per_actor, steps, gamma
        self.max_option_steps = max_option_steps

    @property
    def steps_per_batch(self) -> int:
        """Low-level steps, without those that end what runs."""
        return self.workers * self.worlds_per_actor * self.steps

    def make_role(self, policy: nn.Module) -> OptionRoleFactory:
        return OptionRoleFactory(
            self.worlds,
            self.scheme,
            policy,
            self.worlds_per_actor,
            self.steps,
            self.gamma,
            self.seed,
            self.max_option_steps,
        )

    def next_batch(self, epoch: int, iteration: int) -> OptionBatch:
        found = self.collect(epoch, iteration)
        return OptionBatch.join(found.arrays, found.version, found.episodes, found.timing)

    def evaluation(self, seeds: tuple[int, ...], films: int) -> OptionEpisodes:
        return OptionEpisodes(
            self.worlds,
            seeds,
            self.eval_deterministic,
            films,
            self.scheme,
            self.max_option_steps,
            solved_return=self.solved_return,
        )
