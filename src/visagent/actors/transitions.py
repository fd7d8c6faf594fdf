"""Actors that write streams of rows for a replay (off-policy learning)."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visagent.actors.exploration import Exploration
from visagent.actors.roles import Report, Task, timing
from visagent.envs.episodes import episodes_of
from visagent.envs.spaces import WorldSpaces
from visagent.envs.world import Observation, WorldFactory
from visagent.experience.rollouts import PREFIX, Episode, Field
from visagent.experience.transitions import stream_fields
from visagent.seeding import derive_seed, generator


@dataclass(frozen=True)
class TransitionRoleFactory:
    """Makes actors that write streams of rows.

    Args:
        worlds: what they act in.
        spaces: of the worlds.
        policy: a copy of the learner's, on the CPU.
        exploration: how it explores.
        count: worlds of each actor.
        total: worlds of all actors.
        steps: T of a task, in each world.
        first_tasks: at the beginning of the run, in which actions are uniform or the expert's.
        tasks_per_epoch: for counting them.
        seed: of worlds and actions.
        collect: who acts, `policy`, `dagger`, `expert`, `student` or `both`; see
            `visagent.config.reinforcement_schemas.ReplayDataSettings`.
    """

    worlds: WorldFactory
    spaces: WorldSpaces
    policy: Any
    exploration: Exploration
    count: int
    total: int
    steps: int
    first_tasks: int
    tasks_per_epoch: int
    seed: int
    collect: str = "policy"

    def fields(self) -> dict[str, Field]:
        return stream_fields(self.spaces, self.steps, self.count)

    def __call__(self, worker: int) -> TransitionActor:
        return TransitionActor(self, worker)


class TransitionActor:
    """Steps its worlds with a noisy policy; episodes go on from one task to the next."""

    def __init__(self, factory: TransitionRoleFactory, worker: int) -> None:
        self.factory, self.worker, self.policy = factory, worker, copy.deepcopy(factory.policy)
        self.episodes = episodes_of(factory.worlds, factory.count)
        self.serial = np.zeros(factory.count, np.int64)
        self.sigma = factory.exploration.sigma(worker * factory.count, factory.count, factory.total)

    def _begin(self, task: Task) -> None:
        where = (task.epoch, self.worker, task.attempt)
        self.episodes.reset(
            [derive_seed(self.factory.seed, "world", *where, index) for index in range(self.factory.count)]
        )
        self.generator = generator(self.factory.seed, "act", *where)
        self.noise = torch.zeros(self.factory.count, self.factory.spaces.action.size)
        self.turn = torch.arange(self.factory.count) % 2 == 0
        self.serial = np.maximum(self.serial + 2, task.attempt << 40)  # no actor before this one has come so far

    def run(self, task: Task, out: Mapping[str, NDArray[Any]], version: int) -> Report:
        self.episodes.of_epoch(task.epoch)
        if task.begin:
            self._begin(task)
        factory, worlds, clock = self.factory, self.episodes, time.perf_counter
        act = self._who(task)
        shown = {name: torch.from_numpy(array) for name, array in worlds.observation.items()}
        row, everywhere = np.zeros(factory.count, np.int64), np.arange(factory.count)
        reward, terminated, truncated = (
            np.zeros(factory.count, np.float32),
            np.zeros(factory.count, bool),
            np.zeros(factory.count, bool),
        )
        ended: list[Episode] = []
        acting = stepping = 0.0
        drawing = worlds.drawing
        for _ in range(factory.steps):
            began = clock()
            action = act(shown)
            for name, array in worlds.observation.items():
                out[f"{PREFIX}{name}"][everywhere, row] = array[:, -factory.spaces.frame[name][0] :]
            out["step"][everywhere, row], out["serial"][everywhere, row] = worlds.steps, self.serial
            self.serial += 1
            out["action"][everywhere, row] = action.numpy()
            decided = clock()
            over = worlds.step(action.numpy(), reward, terminated, truncated)
            moved = clock()
            out["reward"][everywhere, row], out["terminated"][everywhere, row], out["truncated"][everywhere, row] = (
                reward,
                terminated,
                truncated,
            )
            out["final"][everywhere, row] = False
            row += 1
            for end in over:
                ended.append(Episode(end.total_reward, end.steps, end.success))
                self._finish(out, end.index, int(row[end.index]), end.final_observation, end.steps)
                row[end.index] += 1
                self.noise[end.index] = 0.0
                self.turn[end.index] = ~self.turn[end.index]
            acting, stepping = acting + decided - began + clock() - moved, stepping + moved - decided
        out["length"][:] = row
        return Report(version, tuple(ended), timing(acting, stepping, worlds.drawing - drawing))

    def _who(self, task: Task) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """What acts in a task: it takes observations to actions `[B, A]`."""
        factory = self.factory
        first = task.epoch * factory.tasks_per_epoch + task.iteration < factory.first_tasks
        if factory.collect == "expert" or (first and factory.collect == "dagger"):
            return self.policy.expert_action  # type: ignore[no-any-return]
        if first and factory.collect in ("policy", "both"):
            return self._at_random
        return self._in_turn if factory.collect == "both" else self._explore

    def _at_random(self, shown: Mapping[str, Tensor]) -> Tensor:
        return torch.rand(self.noise.shape, generator=self.generator) * 2 - 1

    def _in_turn(self, shown: Mapping[str, Tensor]) -> Tensor:
        """The expert in every second episode of a world, the student in the others."""
        expert: Tensor = self.policy.expert_sample(shown, self.generator)
        return torch.where(self.turn[:, None], expert, self._explore(shown))

    def _explore(self, shown: Mapping[str, Tensor]) -> Tensor:
        exploration = self.factory.exploration
        self.noise = exploration.next(self.noise, self.sigma, self.generator)
        chosen: Tensor = self.policy.act(shown, deterministic=not exploration.samples, generator=self.generator).action
        return (chosen + self.noise).clamp(-1.0, 1.0)

    def _finish(
        self, out: Mapping[str, NDArray[Any]], world: int, row: int, observation: Observation, steps: int
    ) -> None:
        """The row of the observation that no action followed."""
        for name, part in observation.items():
            out[f"{PREFIX}{name}"][world, row] = part[-self.factory.spaces.frame[name][0] :]
        out["action"][world, row], out["reward"][world, row] = 0.0, 0.0
        out["terminated"][world, row] = out["truncated"][world, row] = False
        out["final"][world, row], out["step"][world, row], out["serial"][world, row] = True, steps, self.serial[world]
        self.serial[world] += 1

    def close(self) -> None:
        self.episodes.close()
