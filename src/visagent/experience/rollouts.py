"""On-policy experience: segments of T steps of B worlds, and how they lie in memory while actors write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visagent.envs.spaces import WorldSpaces

PREFIX = "observation."
"""Of the names of arrays that hold a part of the observations."""


@dataclass(frozen=True)
class Field:
    """One array that an actor writes.

    Attributes:
        shape: of one actor's part.
        dtype: numpy's name.
        axis: along which the parts of several actors are joined.
    """

    shape: tuple[int, ...]
    dtype: str
    axis: int


@dataclass(frozen=True)
class Episode:
    """A finished episode.

    Attributes:
        total_reward: sum of its rewards.
        steps: of the world.
        success: whether it ended with its task done; None where the world does not say.
    """

    total_reward: float
    steps: int
    success: bool | None = None


def rollout_fields(spaces: WorldSpaces, parameters: int, steps: int, worlds: int, lstm: int) -> dict[str, Field]:
    """The arrays of a segment.

    Args:
        spaces: of the worlds.
        parameters: P of the action's distribution.
        steps: T.
        worlds: of one actor.
        lstm: units of the policy's LSTM, or 0.
    """
    plane = (steps, worlds)
    action = Field((*plane, spaces.action.size), "float32", 1) if spaces.action.kind == "continuous" else Field(plane, "int64", 1)
    found = {
        "action": action,
        "parameters": Field((*plane, parameters), "float32", 1),
        "last_value": Field((worlds,), "float32", 0),
        **{name: Field(plane, "float32", 1) for name in ("reward", "log_prob", "value", "final_value")},
        **{name: Field(plane, "bool", 1) for name in ("terminated", "truncated", "first")},
    }
    for name, shape in spaces.observation.items():
        found[f"{PREFIX}{name}"] = Field((*plane, *shape), "uint8" if name == "pixels" else "float32", 1)
    if lstm:
        found["hidden"] = found["cell"] = Field((worlds, lstm), "float32", 0)
    return found


@dataclass(frozen=True)
class RolloutBatch:
    """Segments of B worlds, as a learner takes them.

    Attributes:
        observation: parts `[T, B, ...]`, before each action.
        action: `[T, B]` int64 or `[T, B, A]` float32.
        log_prob, value: `[T, B]` of the policy that acted.
        parameters: `[T, B, P]` of its distribution.
        reward: `[T, B]`.
        terminated, truncated: `[T, B]` bool, the episode ended with this step.
        first: `[T, B]` bool, the episode began with this observation.
        final_value: `[T, B]`, the value of the final observation where `truncated`, else 0.
        last_value: `[B]`, the value of the observation after the segment.
        state: hidden and cell `[B, units]` before the segment, or None.
        version: of the policy that acted, the oldest of them.
        episodes: those that ended in it.
        timing: seconds that the actors spent, by what they did.
    """

    observation: Mapping[str, Tensor]
    action: Tensor
    log_prob: Tensor
    value: Tensor
    parameters: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    first: Tensor
    final_value: Tensor
    last_value: Tensor
    state: tuple[Tensor, Tensor] | None
    version: int
    episodes: tuple[Episode, ...]
    timing: Mapping[str, float]

    def __post_init__(self) -> None:
        plane = self.reward.shape
        for name in ("log_prob", "value", "terminated", "truncated", "first", "final_value"):
            if getattr(self, name).shape != plane:
                raise ValueError(f"RolloutBatch.{name}: expected [T, B] = {list(plane)}, got {list(getattr(self, name).shape)}")
        if self.last_value.shape != plane[1:]:
            raise ValueError(f"RolloutBatch.last_value: expected [B] = {list(plane[1:])}, got {list(self.last_value.shape)}")

    @classmethod
    def join(cls, arrays: Mapping[str, NDArray[Any]], version: int, episodes: Sequence[Episode], timing: Mapping[str, float]) -> RolloutBatch:
        """A batch that shares memory with the arrays."""
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        observation = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
        state = (tensors["hidden"], tensors["cell"]) if "hidden" in tensors else None
        return cls(
            observation=observation,
            action=tensors["action"],
            log_prob=tensors["log_prob"],
            value=tensors["value"],
            parameters=tensors["parameters"],
            reward=tensors["reward"],
            terminated=tensors["terminated"],
            truncated=tensors["truncated"],
            first=tensors["first"],
            final_value=tensors["final_value"],
            last_value=tensors["last_value"],
            state=state,
            version=version,
            episodes=tuple(episodes),
            timing=dict(timing),
        )

    @property
    def env_steps(self) -> int:
        """T B."""
        return self.reward.numel()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> RolloutBatch:
        """The batch on another device."""
        if torch.device(device).type == "cpu":
            return self
        moved: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device, non_blocking=non_blocking)
            elif name == "observation":
                moved[name] = {part: tensor.to(device, non_blocking=non_blocking) for part, tensor in value.items()}
            elif name == "state" and value is not None:
                moved[name] = tuple(tensor.to(device, non_blocking=non_blocking) for tensor in value)
            else:
                moved[name] = value
        return RolloutBatch(**moved)


def allocate(fields: Mapping[str, Field], workers: int) -> dict[str, NDArray[Any]]:
    """Arrays that hold the parts of all workers."""
    return {name: np.zeros(joined(field, workers), field.dtype) for name, field in fields.items()}


def joined(field: Field, workers: int) -> tuple[int, ...]:
    """The shape of all workers' parts together."""
    shape = list(field.shape)
    shape[field.axis] *= workers
    return tuple(shape)


def part(array: NDArray[Any], field: Field, worker: int) -> NDArray[Any]:
    """One worker's part of a joined array, as a view."""
    size = field.shape[field.axis]
    return array[(slice(None),) * field.axis + (slice(worker * size, (worker + 1) * size),)]
