"""Policies that are kept as they were: targets, and what actors run between two publications."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


def frozen(network: N) -> N:
    """A copy of a network that no optimizer moves."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def approach(targets: Iterable[nn.Parameter], learned: Iterable[nn.Parameter], tau: float) -> None:
    """Move parameters of target networks towards those learned, by a share `tau` of the way; 1: they become copies."""
    for kept, new in zip(targets, learned, strict=True):
        kept.lerp_(new, tau) if tau < 1 else kept.copy_(new)


@dataclass(frozen=True)
class Publications:
    """When actors get the policy: after every so many iterations. Version 0 is the policy that learning begins with.

    Attributes:
        every: iterations.
        after_first: the first publication follows the first iteration, and the others are counted from it: the first
            batch served a z-filter alone.
    """

    every: int
    after_first: bool = False

    def version(self, iterations: int) -> int:
        """The version that actors have after so many iterations."""
        if not self.after_first:
            return iterations // self.every
        return 1 + (iterations - 1) // self.every if iterations > 0 else 0

    def is_due(self, iterations: int) -> bool:
        """Whether the policy is published after so many iterations."""
        return self.version(iterations) > self.version(iterations - 1)
