"""On-policy experience: segments of T steps of B worlds, and how they lie in memory while actors write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from visagent.envs.spaces import WorldSpaces
from visagent.experience.samples import Samples

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
    kind, size = spaces.action.kind, spaces.action.size
    action = Field(plane if kind == "discrete" else (*plane, size), "float32" if kind == "continuous" else "int64", 1)
    fields = {
        "action": action,
        "parameters": Field((*plane, parameters), "float32", 1),
        "last_value": Field((worlds,), "float32", 0),
        **{name: Field(plane, "float32", 1) for name in ("reward", "log_prob", "value", "final_value")},
        **{name: Field(plane, "bool", 1) for name in ("terminated", "truncated", "first")},
    }
    for name, shape in spaces.observation.items():
        fields[f"{PREFIX}{name}"] = Field((*plane, *shape), "uint8" if name == "pixels" else "float32", 1)
    if lstm:
        fields["hidden"] = fields["cell"] = Field((worlds, lstm), "float32", 0)
    return fields


@dataclass(frozen=True)
class RolloutBatch:
    """Segments of B worlds, as a learner takes them.

    Attributes:
        observation: parts `[T, B, ...]`, before each action.
        action: `[T, B]` int64 (discrete), `[T, B, A]` int64 (multi-discrete) or `[T, B, A]` float32.
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
                raise ValueError(
                    f"RolloutBatch.{name}: expected [T, B] = {list(plane)}, got {list(getattr(self, name).shape)}"
                )
        if self.last_value.shape != plane[1:]:
            raise ValueError(
                f"RolloutBatch.last_value: expected [B] = {list(plane[1:])}, got {list(self.last_value.shape)}"
            )

    @classmethod
    def join(
        cls, arrays: Mapping[str, NDArray[Any]], version: int, episodes: Sequence[Episode], timing: Mapping[str, float]
    ) -> RolloutBatch:
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


@dataclass(frozen=True)
class PolicySamples(Samples):
    """What a policy learns from: N steps `[N, ...]`; see `SegmentSamples` for those of a recurrent one.

    Attributes:
        action: as in `RolloutBatch`.
        observation: parts, normalised.
        log_prob, parameters: of the policy that acted; `log_prob` may be that of another one around which is clipped.
        advantage, returns: of the action, and what the critic learns.
        weight: of samples that an older policy made; None where none did.
        began: parameters of the policy that learning from the batch began with, where another one acted; else None.
        first: the episode began with this observation; None without a recurrent state.
        state: hidden and cell before the first step; None without.
    """

    action: Tensor
    observation: Mapping[str, Tensor]
    log_prob: Tensor
    parameters: Tensor
    advantage: Tensor
    returns: Tensor
    weight: Tensor | None = None
    began: Tensor | None = None
    first: Tensor | None = None
    state: tuple[Tensor, Tensor] | None = None

    @classmethod
    def of(
        cls, batch: RolloutBatch, observation: Mapping[str, Tensor], advantage: Tensor, returns: Tensor
    ) -> PolicySamples:
        """The samples of a batch, with normalised observations, advantages and returns `[T, B]`."""
        columns = (batch.action, observation, batch.log_prob, batch.parameters, advantage, returns)
        if batch.state is not None:
            return SegmentSamples(*columns, first=batch.first, state=batch.state)
        return cls(*columns)._each(lambda tensor, _: tensor.flatten(0, 1))

    def with_advantage(self, advantage: Tensor) -> Self:
        """The same batch with other advantages, times the samples' weights where they have some."""
        values = vars(self) | {"advantage": advantage if self.weight is None else advantage * self.weight}
        return type(self)(**values)

    def across_ranks(self, advantage: Tensor, worlds: slice, size: int) -> tuple[Tensor, Tensor, int]:
        """What `visagent.learning.passes.one_pass` needs to know of the samples of all ranks.

        Args:
            advantage: `[T, B]` of all worlds.
            worlds: which of them are this rank's.
            size: of a minibatch, in steps.

        Returns:
            Their advantages, which of them are this rank's, and the size of a minibatch in samples.
        """
        owned = torch.zeros(advantage.shape, dtype=torch.bool)
        owned[:, worlds] = True
        return advantage.flatten(), owned.flatten(), size


@dataclass(frozen=True)
class SegmentSamples(PolicySamples):
    """Segments of T steps of N worlds, `[T, N, ...]`, for policies with a recurrent state `[N, units]`."""

    axis: ClassVar[int] = 1

    def across_ranks(self, advantage: Tensor, worlds: slice, size: int) -> tuple[Tensor, Tensor, int]:
        owned = torch.zeros(advantage.shape[1], dtype=torch.bool)
        owned[worlds] = True
        return advantage, owned, max(1, size // len(advantage))


def allocate(fields: Mapping[str, Field], workers: int) -> dict[str, NDArray[Any]]:
    """Arrays that hold the parts of all workers."""
    return {name: np.zeros(joined(field, workers), field.dtype) for name, field in fields.items()}


def joined(field: Field, workers: int) -> tuple[int, ...]:
    """The shape of all workers' parts together."""
    shape = list(field.shape)
    shape[field.axis] *= workers
    return tuple(shape)


def worker_part(array: NDArray[Any], field: Field, worker: int) -> NDArray[Any]:
    """One worker's part of a joined array, as a view."""
    size = field.shape[field.axis]
    return array[(slice(None),) * field.axis + (slice(worker * size, (worker + 1) * size),)]
