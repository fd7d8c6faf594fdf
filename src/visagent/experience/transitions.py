"""Off-policy experience: streams of rows as actors write them, and the draws that a learner takes from a replay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from visagent.envs.spaces import WorldSpaces
from visagent.experience.rollouts import PREFIX, Episode, Field
from visagent.experience.samples import Samples

Columns = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and dtype of one row's entries, by name."""


def row_columns(spaces: WorldSpaces) -> dict[str, tuple[tuple[int, ...], str]]:
    """What one row of a stream holds: an observation's newest frame, the action taken, and its outcome.

    `step` counts from 0 in each episode. The observation that ends an episode is a row of its own, with `final` set and
    no action. `serial` counts the rows of a world from 1 with a gap before what a new epoch or actor begins, so that
    neighbours in a stream follow each other in time where it says so: what was dropped and made again lies behind what
    was made meanwhile. 0 is a row that was never written.
    """
    action = ((spaces.action.size,), "float32") if spaces.action.kind == "continuous" else ((), "int64")
    observation = {
        f"{PREFIX}{name}": (shape, "uint8" if name == "pixels" else "float32") for name, shape in spaces.frame.items()
    }
    return {
        **observation,
        "action": action,
        "reward": ((), "float32"),
        "terminated": ((), "bool"),
        "truncated": ((), "bool"),
        "final": ((), "bool"),
        "step": ((), "int32"),
        "serial": ((), "int64"),
    }


def stream_fields(spaces: WorldSpaces, steps: int, worlds: int) -> dict[str, Field]:
    """The arrays of one actor's task: rows `[B, 2 T, ...]` and how many of them each world filled, `[B]`.

    Args:
        spaces: of the worlds.
        steps: T of each world; every one may end an episode, which takes a second row.
        worlds: B of one actor.
    """
    rows = {name: Field((worlds, 2 * steps, *shape), dtype, 0) for name, (shape, dtype) in row_columns(spaces).items()}
    return {**rows, "length": Field((worlds,), "int64", 0)}


def draw_fields(spaces: WorldSpaces, updates: int, count: int, n_step: int) -> dict[str, Field]:
    """The arrays of what one shard draws for U updates, N draws each."""
    plane = (updates, count)
    fields = {
        "action": Field((*plane, spaces.action.size), "float32", 1),
        "rewards": Field((*plane, n_step), "float32", 1),
        "steps": Field(plane, "int64", 1),
        "terminated": Field(plane, "bool", 1),
    }
    for name, shape in spaces.observation.items():
        dtype = "uint8" if name == "pixels" else "float32"
        fields[f"{PREFIX}{name}"] = fields[f"next_{PREFIX}{name}"] = Field((*plane, *shape), dtype, 1)
    return fields


@dataclass(frozen=True)
class Transitions(Samples):
    """N draws for one update.

    Attributes:
        action: `[N, A]` taken on `observation`.
        observation, next_observation: parts `[N, ...]`, the second k steps after the first.
        rewards: `[N, n]` of the steps between them; 0 from the k-th on.
        steps: `[N]` k, from 1 to n.
        terminated: `[N]` bool, the episode ended with the last of them.
    """

    action: Tensor
    observation: Mapping[str, Tensor]
    next_observation: Mapping[str, Tensor]
    rewards: Tensor
    steps: Tensor
    terminated: Tensor


@dataclass(frozen=True)
class TransitionBatch:
    """Draws for U updates, N each.

    Attributes:
        observation, next_observation: parts `[U, N, ...]`, the second k steps after the first.
        action: `[U, N, A]` taken on the first.
        rewards: `[U, N, n]` of the steps between them; 0 from the k-th on.
        steps: `[U, N]` k, from 1 to n.
        terminated: `[U, N]` bool, the episode ended with the last of them.
        env_steps: that actors took since the last batch.
        version: of the policy that acted last, the oldest of them.
        episodes: that ended since the last batch.
        timing: seconds by what they were spent on.
    """

    observation: Mapping[str, Tensor]
    next_observation: Mapping[str, Tensor]
    action: Tensor
    rewards: Tensor
    steps: Tensor
    terminated: Tensor
    env_steps: int
    version: int
    episodes: tuple[Episode, ...]
    timing: Mapping[str, float]

    def __post_init__(self) -> None:
        plane = self.steps.shape
        for name in ("action", "rewards", "terminated"):
            if getattr(self, name).shape[:2] != plane:
                raise ValueError(
                    f"TransitionBatch.{name}: expected [U, N, ...] with [U, N] = {list(plane)}, got "
                    f"{list(getattr(self, name).shape)}"
                )

    def updates(self) -> Iterator[Transitions]:
        """The draws of one update after the other."""
        for number in range(len(self.steps)):
            seen, following = (
                {name: part[number] for name, part in of.items()} for of in (self.observation, self.next_observation)
            )
            rewards, steps, terminated = (column[number] for column in (self.rewards, self.steps, self.terminated))
            yield Transitions(self.action[number], seen, following, rewards, steps, terminated)

    @classmethod
    def join(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        updates: int,
        env_steps: int,
        version: int,
        episodes: Sequence[Episode],
        timing: Mapping[str, float],
    ) -> TransitionBatch:
        """A batch of the first `updates` draws, which shares memory with the arrays of `draw_fields`."""
        tensors = {name: torch.from_numpy(array[:updates]) for name, array in arrays.items()}
        parts: dict[str, dict[str, Tensor]] = {PREFIX: {}, f"next_{PREFIX}": {}}
        for name, tensor in tensors.items():
            for prefix, observation in parts.items():
                if name.startswith(prefix):
                    observation[name.removeprefix(prefix)] = tensor
        columns = {name: tensors[name] for name in ("action", "rewards", "steps", "terminated")}
        return cls(
            parts[PREFIX],
            parts[f"next_{PREFIX}"],
            **columns,
            env_steps=env_steps,
            version=version,
            episodes=tuple(episodes),
            timing=dict(timing),
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TransitionBatch:
        """The batch on another device."""
        if torch.device(device).type == "cpu":
            return self
        moved: dict[str, Any] = dict(vars(self))
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                moved[name] = value.to(device, non_blocking=non_blocking)
            elif name in ("observation", "next_observation"):
                moved[name] = {part: tensor.to(device, non_blocking=non_blocking) for part, tensor in value.items()}
        return TransitionBatch(**moved)
