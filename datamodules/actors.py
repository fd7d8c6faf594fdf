"""What DataModules whose experience comes from actors share: starting them, publishing weights, episodes to evaluate
on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, cast

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from datamodules.ranks import next_epoch, shard
from visagent.actors.evaluation import Film, run_episodes
from visagent.actors.pool import ActorPool, Collected, SerialActors
from visagent.actors.process import ProcessActors
from visagent.actors.ray_actors import RayActors
from visagent.actors.roles import Role, RoleFactory, Task
from visagent.config.reinforcement_schemas import ActorDataSettings
from visagent.envs.demonstrated import Demonstrated
from visagent.envs.spaces import WorldSpaces
from visagent.envs.world import WorldFactory
from visagent.errors import ConfigError
from visagent.experience.rollouts import Episode, Field
from visagent.learning.sources import PolicySource
from visagent.seeding import derive_seed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationEpisodes:
    """Episodes to evaluate a policy on.

    Attributes:
        worlds: makes the worlds.
        seeds: one for each episode.
        deterministic: act by the distribution's mode.
        films: of how many of them a video is made.
        extras: attributes of an episode whose means are evaluated too.
        solved_return: of an episode that counts as solved, at least; None where nobody says.
        look: of the worlds, where it is not their own.
    """

    extras: ClassVar[tuple[str, ...]] = ()
    worlds: WorldFactory
    seeds: tuple[int, ...]
    deterministic: bool
    films: int
    solved_return: float | None = field(default=None, kw_only=True)
    look: str | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.seeds)

    def run(self, policy: Any, seeds: tuple[int, ...]) -> list[Episode]:
        """One episode for each of some of the seeds, all together."""
        return run_episodes(policy, self.worlds, seeds, self.deterministic)

    def film(self, policy: Any, seed: int) -> Any:
        """A film of one of them, to be made."""
        return Film(policy, self.worlds, seed, self.deterministic)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> EvaluationEpisodes:
        """The same object: worlds live on the CPU."""
        return self


@dataclass(frozen=True)
class RanksRoles:
    """Makes the roles of one rank's workers, which are numbered among those of all ranks.

    Args:
        make_role: by number among all.
        first: number of this rank's first worker.
    """

    make_role: RoleFactory
    first: int

    def fields(self) -> dict[str, Field]:
        return self.make_role.fields()

    def __call__(self, worker: int) -> Role:
        return self.make_role(self.first + worker)


class ExperienceLoader:
    """A sized iterable that collects a batch on `next()`; all of its random numbers follow from (seed, epoch).

    Args:
        data: whose actors collect.
        epoch: number of the epoch.
    """

    def __init__(self, data: ActorDataModule, epoch: int) -> None:
        self.data, self.epoch = data, epoch

    def __len__(self) -> int:
        return self.data.iterations_per_epoch

    def __iter__(self) -> Iterator[Any]:
        for iteration in range(len(self)):
            yield self.data.next_batch(self.epoch, iteration)


class ActorDataModule(pl.LightningDataModule):
    """Experience of the policy that learns, made by actors.

    Every epoch begins with new episodes in all worlds, so that what an epoch collects follows from its number and the
    weights alone: a resumed run needs no state of the worlds.

    Args:
        settings: see `visagent.config.reinforcement_schemas.ActorDataSettings`; their `env` makes the worlds.
        env: the worlds, where they are not the settings' own.
    """

    settings: ActorDataSettings
    steps: int
    """Of each world in a batch; where batches are whole episodes there is no such number."""

    def __init__(self, settings: ActorDataSettings, env: WorldFactory | None = None) -> None:
        super().__init__()
        self.settings, self.env = settings, settings.env if env is None else env
        # Made now, so that a look that there is not is refused before anything is learned.
        self.looks: dict[str, WorldFactory] = {
            look: replace(self.env, look=look)  # type: ignore[type-var]
            for look in settings.test_looks
        }
        self.iterations_per_epoch = settings.iterations_per_epoch
        self.solved_return: float | None = (
            getattr(self.env, "solved_return", None) if settings.solved_return is None else settings.solved_return
        )
        self.actors: ActorPool | None = None
        self.spaces: WorldSpaces = self.env.spaces()
        self.dropped = self.restarts = self.ended = 0
        self.warned = False

    @property
    def learner(self) -> PolicySource:
        """The module that learns from the batches."""
        assert self.trainer is not None
        return cast(PolicySource, self.trainer.lightning_module)

    def make_role(self, policy: nn.Module) -> RoleFactory:
        """What the actors do, with copies of `policy`."""
        raise NotImplementedError

    def next_batch(self, epoch: int, iteration: int) -> Any:
        """What the learner gets in an iteration of an epoch."""
        raise NotImplementedError

    def demonstrated(self, name: str, episodes: int | None) -> Demonstrated:
        """Episodes of a data set, as the worlds would show them; None: all.

        Raises:
            ConfigError: for worlds that read none, and for a data set that is not theirs.
        """
        read = getattr(self.env, "demonstrated", None)
        if read is None:
            raise ConfigError(
                f"algorithm.cloning.demonstrations={name}: expected worlds of gymnasium, whose data sets Minari has, "
                f"got {type(self.env).__name__}; type algorithm.cloning.demonstrations=null"
            )
        shown: Demonstrated = read(name, episodes)
        return shown

    def _start(self) -> ActorPool:
        policy = self.learner.acting_policy()
        settings, make_role = self.settings, self.make_role(policy)
        rank, world = shard(self.trainer, settings.actors, "datamodule.actors")
        count = settings.actors // world
        roles = RanksRoles(make_role, rank * count)
        if settings.pool == "serial":
            return SerialActors(roles, count)
        ahead = settings.ahead if settings.mode == "asynchronous" else 0
        max_lag = settings.max_lag if ahead else None
        if settings.pool == "ray":
            return RayActors(roles, count, ahead, max_lag, settings.address, settings.timeout)
        memory = settings.shared_memory
        return ProcessActors(roles, count, policy.state_dict(), ahead, max_lag, memory, settings.timeout)

    def collect(self, epoch: int, iteration: int) -> Collected:
        """What all actors make with the weights that the module publishes."""
        fresh = self.actors is None
        if self.actors is None:
            self.actors = self._start()
        self.actors.publish(*self.learner.published())
        synchronous = self.settings.mode == "synchronous"
        begin = iteration == 0 if synchronous else fresh
        collected = self.actors.collect(Task(epoch, iteration, begin))
        self.dropped += collected.dropped
        self.restarts = collected.restarts
        self.ended = len(collected.episodes) + (self.ended if iteration else 0)
        last = iteration == self.iterations_per_epoch - 1
        if last and synchronous and not self.ended and not self.warned:
            self.warned = True
            self._warn_of_short_epochs()
        return collected

    def _warn_of_short_epochs(self) -> None:
        log.warning(
            "no episode ended in an epoch, which has %d steps in each world: every epoch begins new episodes, so that "
            "nothing is learned of what comes later in one; type a larger datamodule.iterations_per_epoch, such as %d "
            "(a smoke run need not mind)",
            self.steps * self.iterations_per_epoch,
            4 * self.iterations_per_epoch,
        )

    def train_dataloader(self) -> ExperienceLoader:
        """The batches of the epoch that comes next; nothing is collected before they are asked for."""
        return ExperienceLoader(self, next_epoch(self.trainer))

    def _evaluation(self, name: str, episodes: int, films: int, look: str | None = None) -> DataLoader[Any]:
        seeds = tuple(derive_seed(self.settings.seed, name, number) for number in range(episodes))
        chosen = self.evaluation(seeds, films)
        if look is not None:
            chosen = replace(chosen, worlds=self.looks[look], look=look)
        return DataLoader([chosen], batch_size=None)  # type: ignore[arg-type]

    def evaluation(self, seeds: tuple[int, ...], films: int) -> EvaluationEpisodes:
        """The episodes to evaluate on."""
        return EvaluationEpisodes(
            self.env, seeds, self.settings.eval_deterministic, films, solved_return=self.solved_return
        )

    def val_dataloader(self) -> DataLoader[Any]:
        return self._evaluation("validate", self.settings.eval_episodes, 0)

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """Episodes on other seeds than those that are watched while training, in the worlds' own look and in others."""
        settings = self.settings
        films = min(settings.film_episodes, settings.test_episodes)
        return [self._evaluation("test", settings.test_episodes, films, look) for look in (None, *self.looks)]

    def close(self) -> None:
        """End the actors, whatever they are doing."""
        actors, self.actors = self.actors, None
        if actors is not None:
            actors.close()

    def on_exception(self, exception: BaseException) -> None:
        self.close()

    def teardown(self, stage: str) -> None:
        self.close()

    def statistics(self) -> Mapping[str, float]:
        """What is worth logging about the actors."""
        return {"data/dropped_segments": float(self.dropped), "data/actor_restarts": float(self.restarts)}
