"""Actors that try perturbed policies out, each on whole episodes (evolution strategies)."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from visagent.actors.roles import Report, Task, timing
from visagent.envs.border import Border, longest_episode, no_end
from visagent.envs.episodes import close_all, make_all
from visagent.envs.world import WorldFactory
from visagent.experience.noise import NoiseTable
from visagent.experience.perturbations import perturbation_fields
from visagent.experience.rollouts import Episode, Field
from visagent.networks.evolved import EvolvedPolicy
from visagent.networks.normalizers import RunningNormalizer
from visagent.seeding import derive_seed, generator

SIGNS = (1.0, -1.0)


@dataclass(frozen=True)
class PerturbationRoleFactory:
    """Makes actors that try perturbed policies out.

    Args:
        worlds: what they act in.
        policy: a copy of the learner's, on the CPU.
        table: of the perturbations.
        pairs: P of each actor, antithetic.
        episodes: of each perturbed policy; its return is their mean.
        count: worlds of each actor, stepped together.
        sigma: standard deviation of the perturbations.
        seed: of worlds, actions and perturbations.
    """

    worlds: WorldFactory
    policy: EvolvedPolicy
    table: NoiseTable
    pairs: int
    episodes: int
    count: int
    sigma: float
    seed: int

    def fields(self) -> dict[str, Field]:
        return perturbation_fields(self.pairs, self.policy.spaces.observation["state"][0])

    def __call__(self, worker: int) -> PerturbationActor:
        return PerturbationActor(self, worker)


class PerturbationActor:
    """Runs the episodes of its perturbed policies, several at once; both of a pair get the same worlds."""

    def __init__(self, factory: PerturbationRoleFactory, worker: int) -> None:
        self.factory, self.worker, self.policy = factory, worker, copy.deepcopy(factory.policy)
        self.worlds = make_all(factory.worlds, factory.count)
        self.border, self.longest = (
            Border.of(factory.worlds, self.worlds[0]),
            longest_episode(factory.worlds, self.worlds[0]),
        )

    def run(self, task: Task, out: Mapping[str, NDArray[Any]], version: int) -> Report:
        factory, clock = self.factory, time.perf_counter
        vector = self.policy.vector.detach()
        for world in self.worlds:
            world.epoch = task.epoch
        rng = np.random.default_rng(derive_seed(factory.seed, "noise", task.epoch, task.iteration, self.worker))
        out["offset"][:] = factory.table.offsets(factory.pairs, len(vector), rng)
        out["returns"][:], out["steps"][:] = 0.0, 0
        where = (task.epoch, task.iteration, self.worker, task.attempt)
        noise = generator(factory.seed, "act", *where)
        waiting = [
            (pair, sign, episode)
            for pair in range(factory.pairs)
            for episode in range(factory.episodes)
            for sign in (0, 1)
        ][::-1]
        width = self.policy.spaces.observation["state"][0]
        shown = np.zeros((factory.count, width), np.float32)
        vectors = torch.zeros(factory.count, len(vector))
        jobs: list[tuple[int, int, int]] = [(-1, 0, 0)] * factory.count
        totals, steps = np.zeros(factory.count), np.zeros(factory.count, np.int64)
        seen = RunningNormalizer(width)
        buffer: list[NDArray[np.float32]] = []
        ended: list[Episode] = []
        acting = stepping = 0.0
        drawing = sum(world.drawing for world in self.worlds)

        def begin(place: int) -> bool:
            """Give a world the next episode; False where none is left."""
            if not waiting:
                return False
            jobs[place] = pair, sign, episode = waiting.pop()
            perturbation = torch.from_numpy(factory.table.rows(out["offset"][pair : pair + 1], len(vector))[0])
            vectors[place] = vector + SIGNS[sign] * factory.sigma * perturbation
            shown[place] = self.border.reset(
                self.worlds[place], derive_seed(factory.seed, "world", *where, pair, episode)
            )["state"]
            totals[place], steps[place] = 0.0, 0
            return True

        active = [place for place in range(factory.count) if begin(place)]
        while active:
            began = clock()
            with torch.inference_mode():
                whole = len(active) == factory.count
                outputs = self.policy.outputs(
                    vectors if whole else vectors[active], torch.from_numpy(shown if whole else shown[active])
                )
                actions = self.policy.choose(outputs, False, noise).numpy()
            buffer.append(shown[active])
            decided = clock()
            done = []
            for place, action in zip(active, actions, strict=True):
                observation, reward, over, cut = self.border.step(self.worlds[place], action)
                shown[place] = observation["state"]
                totals[place] += reward
                steps[place] += 1
                if over or cut:
                    done.append(place)
                elif steps[place] >= self.longest:
                    raise no_end(factory.worlds, int(steps[place]))
            self.border.require_finite({"state": shown})
            moved = clock()
            for place in done:
                pair, sign, _ = jobs[place]
                out["returns"][pair, sign] += totals[place] / factory.episodes
                out["steps"][pair, sign] += steps[place]
                ended.append(Episode(float(totals[place]), int(steps[place]), self.worlds[place].success))
                if not begin(place):
                    active.remove(place)
            if len(buffer) == 256 or not active:
                seen.update(torch.from_numpy(np.concatenate(buffer)))
                buffer.clear()
            acting, stepping = acting + decided - began + clock() - moved, stepping + moved - decided
        out["seen_count"][0], out["seen_mean"][0], out["seen_spread"][0] = (
            seen.count.numpy(),
            seen.mean.numpy(),
            seen.spread.numpy(),
        )
        return Report(
            version, tuple(ended), timing(acting, stepping, sum(world.drawing for world in self.worlds) - drawing)
        )

    def close(self) -> None:
        close_all(self.worlds)
