"""A policy that acts on randomized pictures (network randomization, Lee et al. 2020, "Network Randomization: A Simple
Technique for Generalization in Deep Reinforcement Learning").
"""

from __future__ import annotations

from typing import Any

import torch

from visagent.augment.images import random_network
from visagent.networks.policy import PolicyStep
from visagent.networks.soft_actor_critic import Observation, SoftActorCritic


class RandomizedActorCritic(SoftActorCritic):
    """A soft actor-critic whose pictures go through a random layer before it acts.

    Args:
        samples: random layers that a deterministic action is the mean over (Section 3.2 there: 10); an action that is
            sampled has one.
        settings: as `SoftActorCritic` has them.
    """

    def __init__(self, *args: Any, samples: int, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.samples = samples

    def act(
        self,
        observation: Observation,
        state: Any = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> PolicyStep:
        """Act on observations `[B, ...]`: a sample, or the mean of tanh of the means.

        Args:
            observation: with pictures.
            state: none.
            deterministic: whether to take the mean.
            generator: draws the layers, and samples.
        """
        rng = torch.default_generator if generator is None else generator
        with torch.inference_mode():
            pictures = observation["pixels"].float()
            steps = [
                super(RandomizedActorCritic, self).act(
                    {**observation, "pixels": random_network(pictures, rng)}, state, deterministic, generator
                )
                for _ in range(self.samples if deterministic else 1)
            ]
            action = torch.stack([step.action for step in steps]).mean(dim=0)
            return PolicyStep(action, None, steps[0].log_prob)
