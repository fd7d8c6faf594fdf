"""Labelled navigation experience: samples are state ids, features are stored once elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from visagent.envs.navigation import HISTORY, NavigationObservation
from visagent.scenes.graph import ACTIONS


@dataclass(frozen=True)
class NavigationBatch:
    """One minibatch for a learner.

    Attributes:
        observation: histories, targets and scenes, `[B]`.
        action: `[B]` int64, the expert's action.
        optimal: `[B, 4]` bool, all optimal actions.
        part: what the batch is for: `policy`, `safety` or `calibration` (SafeDAgger fits and calibrates its safety
            policy).
        progress: in [0, 1), how much of its training phase (a run, a round) came before it; learning rates follow it.
    """

    observation: NavigationObservation
    action: Tensor
    optimal: Tensor
    part: str = "policy"
    progress: float = 0.0

    def __post_init__(self) -> None:
        if self.action.shape != self.observation.target.shape or self.optimal.shape != (
            *self.action.shape,
            len(ACTIONS),
        ):
            raise ValueError(
                f"batch: expected action [B] and optimal [B, {len(ACTIONS)}] for B = {len(self.observation)}, "
                f"got {list(self.action.shape)} and {list(self.optimal.shape)}"
            )

    def __len__(self) -> int:
        return len(self.action)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> NavigationBatch:
        """The batch on another device."""
        o = self.observation
        moved = NavigationObservation(
            *(t.to(device, non_blocking=non_blocking) for t in (o.history, o.target, o.scene))
        )
        return replace(self, observation=moved, action=self.action.to(device), optimal=self.optimal.to(device))


@dataclass(frozen=True)
class NavigationSamples:
    """Many labelled states, 22 bytes each.

    Attributes:
        history: `[N, 4]` int32 global states, oldest first.
        target: `[N]` int32 global state.
        action: `[N]` int8, the expert's.
        optimal: `[N]` uint8, bit a set where action a is optimal.
    """

    history: Tensor
    target: Tensor
    action: Tensor
    optimal: Tensor

    def __post_init__(self) -> None:
        count = len(self.target)
        if self.history.shape != (count, HISTORY) or self.action.shape != (count,) or self.optimal.shape != (count,):
            raise ValueError(
                f"samples: expected history [N, {HISTORY}], target, action and optimal [N], got "
                f"{[list(t.shape) for t in self.tensors()]}"
            )

    @classmethod
    def pack(cls, observation: NavigationObservation, action: Tensor, optimal: Tensor) -> NavigationSamples:
        """Samples from full tensors: observation of N states, action `[N]`, optimal `[N, 4]` bool."""
        bits = (optimal.to(torch.uint8) << torch.arange(len(ACTIONS), dtype=torch.uint8, device=optimal.device)).sum(
            dim=1, dtype=torch.uint8
        )
        packed = (observation.history.to(torch.int32), observation.target.to(torch.int32), action.to(torch.int8), bits)
        return cls(*(t.cpu() for t in packed))

    @classmethod
    def empty(cls) -> NavigationSamples:
        """No samples."""
        return cls(
            torch.zeros(0, HISTORY, dtype=torch.int32),
            torch.zeros(0, dtype=torch.int32),
            torch.zeros(0, dtype=torch.int8),
            torch.zeros(0, dtype=torch.uint8),
        )

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four columns."""
        return (self.history, self.target, self.action, self.optimal)

    def __len__(self) -> int:
        return len(self.target)

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return sum(t.nbytes for t in self.tensors())

    def select(self, index: Tensor) -> NavigationSamples:
        """The samples at `index` (ids or mask)."""
        return NavigationSamples(*(t[index] for t in self.tensors()))

    def batch(self, index: Tensor, scene_of: Tensor, part: str = "policy", progress: float = 0.0) -> NavigationBatch:
        """The samples at `index` as a batch; `scene_of` `[S]` gives each state's scene."""
        target = self.target[index].long()
        observation = NavigationObservation(self.history[index].long(), target, scene_of[target])
        bits = torch.arange(len(ACTIONS), dtype=torch.uint8)
        optimal = (self.optimal[index][:, None] >> bits & 1).bool()
        return NavigationBatch(observation, self.action[index].long(), optimal, part, progress)


class Aggregate:
    """DAgger's growing data set: one block of samples per round (Ross et al. 2011, Algorithm 3.1)."""

    def __init__(self) -> None:
        self.rounds: list[NavigationSamples] = []
        self._all = NavigationSamples.empty()

    def append(self, samples: NavigationSamples) -> None:
        """Add the samples of the next round."""
        self.rounds.append(samples)
        self._all = NavigationSamples(
            *(torch.cat(columns) for columns in zip(*(r.tensors() for r in self.rounds), strict=True))
        )

    @property
    def samples(self) -> NavigationSamples:
        """All rounds together."""
        return self._all

    def __len__(self) -> int:
        return len(self._all)

    @property
    def nbytes(self) -> int:
        """Memory of the aggregated set in bytes."""
        return self._all.nbytes

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain Python only."""
        return {"rounds": [list(samples.tensors()) for samples in self.rounds]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become what `state_dict` described."""
        self.rounds, self._all = [], NavigationSamples.empty()
        for tensors in state["rounds"]:
            self.append(NavigationSamples(*tensors))


def minibatches(
    count: int, batch_size: int, passes: int, generator: torch.Generator, rank: int = 0, world_size: int = 1
) -> Iterator[Tensor]:
    """Shuffled index batches, `passes` times over `count` samples; each rank gets its slice of every global batch.

    Ranks get equally many samples, so that the mean of their gradients is the batch's: what does not divide is left
    out.
    """
    for _ in range(passes):
        for batch in torch.randperm(count, generator=generator).split(batch_size):
            even = len(batch) - len(batch) % world_size
            if even:
                yield batch[rank:even:world_size]


def minibatch_count(count: int, batch_size: int, passes: int, world_size: int = 1) -> int:
    """How many batches `minibatches` yields."""
    full, rest = divmod(count, batch_size)
    return passes * (full * (batch_size >= world_size) + (rest >= world_size))
