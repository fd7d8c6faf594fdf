"""Actors that roll a policy out in segments of T steps (on-policy learning)."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from visagent.actors.evaluation import as_batch
from visagent.actors.roles import Report, Task, timing
from visagent.envs.episodes import episodes_of
from visagent.envs.world import WorldFactory
from visagent.experience.rollouts import PREFIX, Episode, Field, rollout_fields
from visagent.networks.actor_critic import ActorCritic
from visagent.networks.policy import begin_again
from visagent.seeding import derive_seed, generator


@dataclass(frozen=True)
class RolloutRoleFactory:
    """Makes actors that roll a policy out in segments.

    Args:
        worlds: what they act in.
        policy: a copy of the learner's, on the CPU.
        count: worlds of each actor.
        steps: T of a segment.
        seed: of worlds and actions.
    """

    worlds: WorldFactory
    policy: ActorCritic
    count: int
    steps: int
    seed: int

    def fields(self) -> dict[str, Field]:
        lstm = self.policy.lstm.hidden_size if self.policy.lstm is not None else 0
        return rollout_fields(self.policy.spaces, self.policy.distribution.size, self.steps, self.count, lstm)

    def __call__(self, worker: int) -> SegmentActor:
        return SegmentActor(self, worker)


class SegmentActor:
    """Steps its worlds with a policy; episodes go on from one segment to the next."""

    def __init__(self, factory: RolloutRoleFactory, worker: int) -> None:
        self.factory, self.worker, self.policy = factory, worker, copy.deepcopy(factory.policy)
        self.episodes = episodes_of(factory.worlds, factory.count)

    def _begin(self, task: Task) -> None:
        where = (task.epoch, self.worker, task.attempt)
        self.episodes.reset(
            [derive_seed(self.factory.seed, "world", *where, index) for index in range(self.factory.count)]
        )
        self.generator = generator(self.factory.seed, "act", *where)
        self.state = self.policy.initial_state(self.factory.count)
        self.first = np.ones(self.factory.count, bool)

    def run(self, task: Task, out: Mapping[str, NDArray[Any]], version: int) -> Report:
        self.episodes.of_epoch(task.epoch)
        if task.begin:
            self._begin(task)
        worlds, policy, clock = self.episodes, self.policy, time.perf_counter
        shown = {name: torch.from_numpy(array) for name, array in worlds.observation.items()}
        ended: list[Episode] = []
        features = []
        acting = stepping = 0.0
        drawing = worlds.drawing
        if self.state is not None:
            out["hidden"][:], out["cell"][:] = (part.numpy() for part in self.state)
        out["final_value"][:] = 0.0
        for t in range(self.factory.steps):
            began = clock()
            for name, array in worlds.observation.items():
                out[f"{PREFIX}{name}"][t] = array
            out["first"][t] = self.first
            chosen = policy.choose(shown, self.state, generator=self.generator)
            features.append(chosen.features.clone())
            action = chosen.action.numpy()
            out["action"][t], out["parameters"][t] = action, chosen.parameters.numpy()
            decided = clock()
            over = worlds.step(action, out["reward"][t], out["terminated"][t], out["truncated"][t])
            moved = clock()
            for end in over:
                ended.append(Episode(end.total_reward, end.steps, end.success))
                if end.truncated:
                    out["final_value"][t, end.index] = self._value(end.final_observation, chosen.state, end.index)
            self.first = out["terminated"][t] | out["truncated"][t]
            self.state = begin_again(chosen.state, [end.index for end in over])
            acting, stepping = acting + decided - began + clock() - moved, stepping + moved - decided
        began = clock()
        with torch.inference_mode():  # what no action waits for, of the whole segment at once
            out["value"][:] = policy.values_of(torch.stack(features)).numpy()
            out["log_prob"][:] = policy.distribution.log_prob(
                torch.from_numpy(out["parameters"]), torch.from_numpy(out["action"])
            ).numpy()
        out["last_value"][:] = policy.act(shown, self.state, deterministic=True).value.numpy()  # type: ignore[union-attr]
        acting += clock() - began
        return Report(version, tuple(ended), timing(acting, stepping, worlds.drawing - drawing))

    def _value(self, observation: Mapping[str, NDArray[Any]], state: Any, index: int) -> float:
        one = as_batch(observation)
        before = None if state is None else tuple(part[index : index + 1] for part in state)
        value = self.policy.act(one, before, deterministic=True).value
        assert value is not None
        return float(value)

    def close(self) -> None:
        self.episodes.close()
