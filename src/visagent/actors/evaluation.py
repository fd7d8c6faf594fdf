"""Episodes on worlds of their own, with generators of their own: evaluating never changes training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from visagent.envs.episodes import Episodes, WorldFactory
from visagent.experience.rollouts import Episode
from visagent.networks.policy import Policy, begin_again
from visagent.seeding import generator

AT_ONCE = 16
"""Worlds that are stepped together."""


def run_episodes(policy: Policy, worlds: WorldFactory, seeds: Sequence[int], deterministic: bool) -> list[Episode]:
    """One episode for each seed.

    Args:
        policy: acts.
        worlds: makes the worlds.
        seeds: of the worlds; the first of each group of `AT_ONCE` also seeds its actions.
        deterministic: act by the distribution's mode.
    """
    found: list[Episode] = []
    for start in range(0, len(seeds), AT_ONCE):
        found += _together(policy, worlds, seeds[start : start + AT_ONCE], deterministic)
    return found


def _together(policy: Policy, worlds: WorldFactory, seeds: Sequence[int], deterministic: bool) -> list[Episode]:
    count = len(seeds)
    episodes = Episodes(worlds, count)
    try:
        episodes.reset(seeds)
        rng, state = generator(seeds[0], "act"), policy.initial_state(count)
        shown = {name: torch.from_numpy(array) for name, array in episodes.observation.items()}
        reward, terminated, truncated = np.zeros(count), np.zeros(count, bool), np.zeros(count, bool)
        first: dict[int, Episode] = {}
        while len(first) < count:
            step = policy.act(shown, state, deterministic, rng)
            ended = episodes.step(step.action.numpy(), reward, terminated, truncated)
            for end in ended:
                first.setdefault(end.index, Episode(end.total_reward, end.steps))
            state = begin_again(step.state, [end.index for end in ended])
        return [first[index] for index in range(count)]
    finally:
        episodes.close()
