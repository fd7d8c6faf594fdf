"""What every policy answers, whoever asks: actors, evaluation, another process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class PolicyStep:
    """A policy's answer for B observations.

    Attributes:
        action: `[B]` int64 (discrete), `[B, A]` int64 (multi-discrete) or `[B, A]` float32.
        state: recurrent state for the next step, None for feed-forward policies.
        log_prob: `[B]` of the action taken.
        value: `[B]` or None where the policy has no critic.
        unsafe: `[B]` bool, the safety policy's warning, or None where there is none.
        parameters: `[B, P]` of the distribution that the action was drawn from, or None where nobody needs them.
    """

    action: Tensor
    state: Any
    log_prob: Tensor
    value: Tensor | None = None
    unsafe: Tensor | None = None
    parameters: Tensor | None = None


class Policy(Protocol):
    """The policy protocol; the observation normaliser lives inside."""

    def act(
        self, observation: Any, state: Any = None, deterministic: bool = False, generator: torch.Generator | None = None
    ) -> PolicyStep:
        """Act on a batch of observations; random draws come from `generator` alone."""
        ...

    def initial_state(self, count: int) -> Any:
        """The recurrent state of `count` fresh episodes."""
        ...


class Memoryless(nn.Module):
    """A policy that remembers nothing of an episode."""

    def initial_state(self, count: int) -> None:
        """None: it remembers nothing."""


def begin_again(state: Any, places: Sequence[int]) -> Any:
    """A policy's state where new episodes begin: tensors `[B, ...]` get zeros; another kind of state says itself how it
    begins, by a method of this name.
    """
    if state is None or not places:
        return state
    if hasattr(state, "begin_again"):
        return state.begin_again(places)
    fresh = tuple(part.clone() for part in state)
    for part in fresh:
        part[places] = 0.0
    return fresh
