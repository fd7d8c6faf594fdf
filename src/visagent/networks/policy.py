"""What every policy answers, whoever asks: actors, evaluation, another process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class PolicyStep:
    """A policy's answer for B observations.

    Attributes:
        action: `[B]` int64 (discrete) or `[B, A]` float32.
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


def begin_again(state: Any, places: Sequence[int]) -> Any:
    """A recurrent state (None, or tensors `[B, ...]`) with zeros where new episodes begin."""
    if state is None or not places:
        return state
    fresh = tuple(part.clone() for part in state)
    for part in fresh:
        part[places] = 0.0
    return fresh


def sample_categorical(logits: Tensor, deterministic: bool, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Actions `[B]` and their log-probabilities `[B]` from logits `[B, A]`; ties of the argmax go to the lowest action.

    Draws are made on the CPU, so that one seed gives one episode on every device.
    """
    log_probs = logits.log_softmax(dim=-1)
    if deterministic:
        action = logits.argmax(dim=-1)
    else:
        uniform = torch.rand(len(logits), 1, generator=generator).to(logits.device)
        action = (log_probs.exp().cumsum(dim=-1) < uniform).sum(dim=-1).clamp_max(logits.shape[-1] - 1)
    return action, log_probs.gather(-1, action[:, None])[:, 0]
