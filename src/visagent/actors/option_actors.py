"""Actors that run options with a policy, decision by decision."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from visagent.actors.evaluation import FILM_STEPS, make_film
from visagent.actors.roles import Report, Task, timing
from visagent.envs import border
from visagent.envs.border import WorldError
from visagent.envs.option_worlds import OptionStep, OptionWorldFactory
from visagent.envs.schemes import Scheme
from visagent.envs.timeline import Timeline
from visagent.errors import ConfigError
from visagent.experience.option_decisions import SITUATION, OptionEpisode, option_fields
from visagent.experience.rollouts import Episode, Field
from visagent.networks.option_policies import OptionChoice, Situation
from visagent.seeding import derive_seed, generator

FILM_FPS = 4.0


class OptionPolicy(Protocol):
    """Chooses options."""

    @property
    def memory_size(self) -> int:
        """S, numbers that it remembers of an episode; 0 for none."""
        ...

    def choose(
        self, situation: Situation, deterministic: bool = False, generator: torch.Generator | None = None
    ) -> OptionChoice:
        """Joint options, drawn or the best ones."""
        ...


@dataclass(frozen=True)
class OptionRoleFactory:
    """Makes actors that run options.

    Args:
        worlds: what they act in.
        scheme: who chooses when.
        policy: a copy of the learner's, on the CPU.
        count: worlds of each actor.
        steps: low-level steps of a task in each world; those that are needed to end what runs come on top.
        gamma: discount of a low-level step.
        seed: of worlds and choices.
        max_option_steps: after which an episode is truncated; None for never.
    """

    worlds: OptionWorldFactory
    scheme: str
    policy: Any
    count: int
    steps: int
    gamma: float
    seed: int
    max_option_steps: int | None = None

    def fields(self) -> dict[str, Field]:
        return option_fields(self.policy.spaces, self.policy.parts, self.policy.values_count, self.steps, self.count)

    def __call__(self, worker: int) -> OptionActor:
        return OptionActor(self, worker)


class OptionActor:
    """Runs options in its worlds; episodes, and options within them, go on from one task to the next."""

    def __init__(self, factory: OptionRoleFactory, worker: int) -> None:
        self.factory, self.worker, self.policy = factory, worker, copy.deepcopy(factory.policy)
        self.run_through = RunThrough(
            factory.worlds, factory.scheme, factory.count, self.policy.memory_size, factory.max_option_steps
        )

    def _begin(self, task: Task) -> None:
        self.where = (task.epoch, self.worker, task.attempt)
        self.generator = generator(self.factory.seed, "act", *self.where)
        self.begun = np.zeros(self.factory.count, np.int64)
        self._reset(np.ones(self.factory.count, bool))

    def _reset(self, which: NDArray[np.bool_]) -> None:
        seeds = [
            derive_seed(self.factory.seed, "world", *self.where, int(index), int(self.begun[index]))
            for index in np.flatnonzero(which)
        ]
        self.run_through.reset(which, seeds)
        self.begun[which] += 1

    def run(self, task: Task, out: Mapping[str, NDArray[Any]], version: int) -> Report:
        if task.begin:
            self._begin(task)
        factory, through, clock = self.factory, self.run_through, time.perf_counter
        for array in out.values():
            array[...] = 0
        active, taken = np.ones(factory.count, bool), np.zeros(factory.count, np.int64)
        place, weight = np.full(factory.count, -1), np.ones(factory.count)
        ended: list[Episode] = []
        acting = stepping = 0.0
        while True:
            began = clock()
            choosing = through.scheme.choosing()
            due = choosing.any(axis=1)
            active &= ~(due & (taken >= factory.steps))
            if not active.any():
                break
            rows = np.flatnonzero(due & active)
            if len(rows):
                place[rows] += 1
                weight[rows] = 1.0
                situation, log_prob = through.decide(self.policy, choosing, rows, False, self.generator)
                here = (place[rows], rows)
                out["log_prob"][here] = log_prob
                for name in SITUATION:
                    out[name][here] = getattr(situation, name)
            decided = clock()
            step = through.step(active)
            # of this task, and nobody has chosen in all the steps beyond it
            if taken.max() >= factory.steps + border.LONGEST:
                through.refuse_endless(int(taken.argmax()), border.LONGEST)
            moved = clock()
            here = (place[active], np.flatnonzero(active))
            reward = step.reward[active]
            out["reward"][here] += weight[active] * reward
            out["total_reward"][here] += reward
            out["last_reward"][here] = reward
            out["duration"][here] += 1
            weight *= factory.gamma
            taken += active
            over = step.terminated | step.truncated
            if over.any():
                rows = np.flatnonzero(over)
                out["terminated"][place[rows], rows], out["truncated"][place[rows], rows] = (
                    step.terminated[rows],
                    step.truncated[rows],
                )
                cut = np.flatnonzero(step.truncated)
                if len(cut):
                    out["final_value"][place[cut], cut] = self._values(
                        through.situation(through.scheme.next_choosers(), cut)
                    )
                ended += through.ended(rows)
                self._reset(over)
            acting, stepping = acting + decided - began + clock() - moved, stepping + moved - decided
        began = clock()
        out["length"][:] = place + 1
        made_here = np.arange(factory.steps)[:, None] < out["length"]
        parts = (torch.from_numpy(out[name][made_here]) for name in SITUATION)
        out["value"][made_here] = self._values(Situation(*parts))
        out["last_value"][:] = self._values(through.situation(choosing, np.arange(factory.count)))
        acting += clock() - began
        return Report(version, tuple(ended), timing(acting, stepping, 0.0))

    @torch.inference_mode()
    def _values(self, situation: Situation) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self.policy.values(situation).numpy()
        return values

    def close(self) -> None:
        self.run_through.close()


class RunThrough:
    """N episodes in which a policy runs options, with what is counted of them.

    Args:
        worlds: makes the episodes.
        scheme: who chooses when.
        count: N.
        memory: S, numbers that the policy remembers of an episode.
        max_option_steps: after which an episode is truncated; None for never.
    """

    def __init__(
        self, worlds: OptionWorldFactory, scheme: str, count: int, memory: int = 0, max_option_steps: int | None = None
    ) -> None:
        self.worlds, self.spaces = worlds, worlds.spaces()
        self.world = worlds.make(count)
        self.scheme = Scheme(self.world, scheme, count, len(self.spaces.agents))
        self.total_reward, self.last_reward, self.last_rewards = np.zeros(count), np.zeros(count), np.zeros(count)
        self.steps, self.option_steps = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.chose = np.zeros_like(self.scheme.finished)  # who did before the next step
        self.memory = torch.zeros(count, memory) if memory else None
        self.max_option_steps = max_option_steps

    def reset(self, which: NDArray[np.bool_], seeds: Sequence[int]) -> None:
        """Begin anew where `which` `[N]`."""
        self.world.reset(which, seeds)
        self.scheme.reset(which)
        for counter in (self.total_reward, self.last_reward, self.last_rewards, self.steps, self.option_steps):
            counter[which] = 0
        if self.memory is not None:
            self.memory[torch.from_numpy(which)] = 0.0

    def situation(self, choosing: NDArray[np.bool_], rows: NDArray[np.int64]) -> Situation:
        """The situation of some of the episodes."""
        observation = np.concatenate([part[rows] for part in self.world.observation], axis=1)
        parts = (
            observation,
            self.scheme.running[rows],
            choosing[rows],
            self.world.available()[rows],
            self.world.state[rows],
            self.scheme.taken[rows],
        )
        situation = Situation(*(torch.from_numpy(part) for part in parts))
        return situation if self.memory is None else replace(situation, memory=self.memory[torch.from_numpy(rows)])

    def decide(
        self,
        policy: OptionPolicy,
        choosing: NDArray[np.bool_],
        rows: NDArray[np.int64],
        deterministic: bool,
        rng: torch.Generator,
    ) -> tuple[Situation, torch.Tensor]:
        """Have a policy choose in some episodes: the situations with the joint options that run from now on, and
        log-probabilities.
        """
        situation = self.situation(choosing, rows)
        if not bool(situation.available.all()):
            self._refuse_nothing_to_choose(situation)
        chosen = policy.choose(situation, deterministic, rng)
        if self.memory is not None and chosen.memory is not None:
            self.memory[torch.from_numpy(rows)] = chosen.memory
        self.last_rewards[rows] += self.last_reward[rows]
        self.last_reward[rows] = 0.0
        self.option_steps[rows] += 1
        self.scheme.choose(choosing, rows, chosen.options.numpy())
        self.chose[rows] = choosing[rows]
        return replace(situation, options=chosen.options), chosen.log_prob

    def _refuse_nothing_to_choose(self, situation: Situation) -> None:
        some = [part.any(dim=-1) for part in situation.available.split(list(self.spaces.sizes), dim=-1)]
        lacking = situation.choosing & ~torch.stack(some, dim=-1)
        if bool(lacking.any()):
            agent = int(lacking.nonzero()[0, 1])
            names = ", ".join(self.spaces.options[agent])
            raise ConfigError(
                f"options: {self.spaces.agents[agent]} is to choose, and none of {names} is available: give it one "
                "that always is"
            )

    def refuse_endless(self, episode: int, steps: int) -> NoReturn:
        """Stop, as an episode goes on and on.

        Raises:
            WorldError: naming the options that run in it.
        """
        zipped = zip(self.spaces.agents, self.spaces.options, self.scheme.running[episode], strict=True)
        running = ", ".join(f"{names[option]} of {agent}" for agent, names, option in zipped)
        raise WorldError(
            f"{border.name_of(self.worlds)}: expected its episodes and options to end, got {steps} steps without an "
            f"end while these run: {running}; "
            "have the options end, and the episodes: datamodule.env.horizon=600 in visagent's worlds, "
            "datamodule.max_option_steps=200 in any"
        )

    def close(self) -> None:
        """Close the world."""
        self.world.close()

    def step(self, active: NDArray[np.bool_]) -> OptionStep:
        """One low-level step of some episodes."""
        step = self.scheme.step(active)
        self.chose[:] = False
        self.total_reward += step.reward
        self.last_reward[active] = step.reward[active]
        self.steps += active
        if self.max_option_steps is not None:
            ended = active & (self.option_steps >= self.max_option_steps) & self.scheme.choosing().any(axis=1)
            step = replace(step, truncated=step.truncated | (ended & ~step.terminated))
        return step

    def ended(self, rows: NDArray[np.int64]) -> list[OptionEpisode]:
        """What episodes that are over amount to."""
        success = self.world.success
        return [
            OptionEpisode(
                float(self.total_reward[n]),
                int(self.steps[n]),
                None if success is None else bool(success[n]),
                int(self.option_steps[n]),
                float(self.last_rewards[n] + self.last_reward[n]),
            )
            for n in rows
        ]


Watch = Callable[[RunThrough, bool], None]


def run_option_episodes(
    policy: OptionPolicy,
    worlds: OptionWorldFactory,
    scheme: str,
    seeds: Sequence[int],
    deterministic: bool,
    watch: Watch | None = None,
    max_option_steps: int | None = None,
) -> list[OptionEpisode]:
    """One episode for each seed, all together.

    Args:
        policy: chooses.
        worlds: makes the worlds.
        scheme: who chooses when.
        seeds: of the worlds; the first also seeds all choices.
        deterministic: choose the most probable joint option.
        watch: is shown the episodes before every step, and after the last one with True.
        max_option_steps: after which an episode is truncated; None for never.

    Raises:
        WorldError: when an episode does not end.
    """
    count, longest = len(seeds), border.longest_episode(worlds)
    through, rng = RunThrough(worlds, scheme, count, policy.memory_size, max_option_steps), generator(seeds[0], "act")
    active, episodes = np.ones(count, bool), [OptionEpisode(0.0, 0)] * count
    with closing(through):
        through.reset(active, seeds)
        while active.any():
            choosing = through.scheme.choosing() & active[:, None]
            rows = np.flatnonzero(choosing.any(axis=1))
            if len(rows):
                through.decide(policy, choosing, rows, deterministic, rng)
            if watch is not None:
                watch(through, False)
            step = through.step(active)
            over = np.flatnonzero(step.terminated | step.truncated)
            for n, episode in zip(over, through.ended(over), strict=True):
                episodes[n] = episode
            active[over] = False
            if (through.steps[active] >= longest).any():
                through.refuse_endless(int((through.steps * active).argmax()), longest)
        if watch is not None:
            watch(through, True)
    return episodes


@dataclass(frozen=True)
class OptionFilm:
    """An episode to be filmed, with the options of its agents below.

    Args:
        policy: chooses.
        worlds: makes the world.
        scheme: who chooses when.
        seed: of the world and the choices.
        deterministic: choose the most probable joint option.
        max_option_steps: after which the episode is truncated; None for never.
    """

    policy: OptionPolicy
    worlds: OptionWorldFactory
    scheme: str
    seed: int
    deterministic: bool
    max_option_steps: int | None = None

    def make(self, path: Path) -> None:
        """Write the film; see `visagent.actors.evaluation.make_film`."""
        make_film(_shoot, self, path)

    def timeline(self) -> tuple[Timeline, OptionEpisode]:
        """The episode's options, and what it came to."""
        timeline = Timeline(self.worlds.spaces())
        (episode,) = self._play(lambda through, over: _show(timeline, through, over))
        return timeline, episode

    def _play(self, watch: Watch) -> list[OptionEpisode]:
        return run_option_episodes(
            self.policy, self.worlds, self.scheme, (self.seed,), self.deterministic, watch, self.max_option_steps
        )


def _show(timeline: Timeline, through: RunThrough, over: bool) -> None:
    if over:
        timeline.end()
    else:
        timeline.show(through.scheme.running[0], through.chose[0], through.scheme.finished[0])


def _shoot(film: OptionFilm) -> tuple[list[NDArray[np.uint8]], float]:
    timeline, pictures = Timeline(film.worlds.spaces()), []

    def watch(through: RunThrough, over: bool) -> None:
        picture = through.world.picture(0)
        _show(timeline, through, over)
        pictures.append(np.concatenate([picture, timeline.strip(picture.shape[1])]))

    film._play(watch)
    return pictures[:FILM_STEPS], FILM_FPS
