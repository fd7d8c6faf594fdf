"""A policy that knows nothing: the baseline that every learned one must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from visagent.envs.spaces import WorldSpaces
from visagent.networks.distributions import distribution_of, valid
from visagent.networks.policy import Memoryless, PolicyStep


class UniformPolicy(Memoryless):
    """Draws every action uniformly, also where the mode of a distribution is asked for.

    Args:
        spaces: of the world.
    """

    def __init__(self, spaces: WorldSpaces) -> None:
        super().__init__()
        self.spaces = spaces

    def act(
        self,
        observation: Mapping[str, Tensor],
        state: Any = None,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> PolicyStep:
        """Act on observations `[B, ...]`."""
        count, action = len(next(iter(observation.values()))), self.spaces.action
        if action.kind == "continuous":
            chosen = torch.rand(count, action.size, generator=generator) * 2 - 1
        elif action.kind == "discrete" and not self.spaces.masked:
            chosen = torch.randint(action.size, (count,), generator=generator)
        else:
            logits = torch.zeros(count, action.outputs)
            if self.spaces.masked:
                logits = valid(logits, observation["mask"])
            chosen = distribution_of(action).sample(logits, generator)
        return PolicyStep(chosen, None, torch.zeros(count))
