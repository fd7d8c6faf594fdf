"""Experience of options: decisions of several agents, and what followed each of them until the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from visagent.envs.option_worlds import OptionSpaces
from visagent.experience.rollouts import Episode, Field
from visagent.experience.samples import Samples
from visagent.networks.option_policies import Situation

SITUATION = ("observation", "options", "choosing", "available", "state")
"""What policy and critic see of a decision, in the order of `visagent.networks.option_policies.Situation`."""


@dataclass(frozen=True)
class OptionEpisode(Episode):
    """A finished episode of options.

    Attributes:
        option_steps: decisions in it.
        last_rewards: sum, over the decisions, of the reward of the last low-level step before the next one.
    """

    option_steps: int = 0
    last_rewards: float = 0.0

    @property
    def paper_metric(self) -> float:
        """What Lyu et al. report: the mean, over decisions, of the last low-level reward; it depends on how many
        decisions a method makes.
        """
        return self.last_rewards / max(self.option_steps, 1)


def option_fields(spaces: OptionSpaces, parts: int, values: int, steps: int, worlds: int) -> dict[str, Field]:
    """The arrays of a task of one actor.

    Args:
        spaces: of the worlds.
        parts: P, log-probabilities of a decision.
        values: V, numbers that the critic says.
        steps: K, the most decisions of a world.
        worlds: of one actor.
    """
    plane, agents = (steps, worlds), len(spaces.agents)
    return {
        "observation": Field((*plane, sum(spaces.observations)), "float32", 1),
        "options": Field((*plane, agents), "int64", 1),
        "choosing": Field((*plane, agents), "bool", 1),
        "available": Field((*plane, sum(spaces.sizes)), "bool", 1),
        "state": Field((*plane, spaces.state), "float32", 1),
        "log_prob": Field((*plane, parts), "float32", 1),
        "value": Field((*plane, values), "float32", 1),
        "final_value": Field((*plane, values), "float32", 1),
        "last_value": Field((worlds, values), "float32", 0),
        **{name: Field(plane, "float32", 1) for name in ("reward", "total_reward", "last_reward")},
        "duration": Field(plane, "int64", 1),
        **{name: Field(plane, "bool", 1) for name in ("terminated", "truncated")},
        "length": Field((worlds,), "int64", 0),
    }


@dataclass(frozen=True)
class OptionBatch:
    """Decisions in B worlds, in each one `length` of at most K, with what followed.

    Attributes:
        observation: `[K, B, D]`, of all agents, when the decision was made.
        options: `[K, B, n]`, that run from then on.
        choosing: `[K, B, n]` bool, who chose (Z).
        available: `[K, B, m_1 + ... + m_n]` bool.
        state: `[K, B, S]`, what a critic may see besides.
        log_prob: `[K, B, P]` of the choices.
        value: `[K, B, V]` by the critic, as it says it.
        final_value: `[K, B, V]`, of the final observation where `truncated`, else 0.
        last_value: `[B, V]`, of the observation after the last decision's options.
        reward: `[K, B]`, until the next decision, discounted to this one.
        total_reward: `[K, B]`, the same, not discounted.
        last_reward: `[K, B]`, of the last low-level step before the next decision.
        duration: `[K, B]`, low-level steps until then.
        terminated, truncated: `[K, B]` bool, the episode ended before a next one.
        length: `[B]`.
        version: of the policy that acted.
        episodes: that ended.
        timing: seconds that the actors spent, by what they did.
    """

    observation: Tensor
    options: Tensor
    choosing: Tensor
    available: Tensor
    state: Tensor
    log_prob: Tensor
    value: Tensor
    final_value: Tensor
    last_value: Tensor
    reward: Tensor
    total_reward: Tensor
    last_reward: Tensor
    duration: Tensor
    terminated: Tensor
    truncated: Tensor
    length: Tensor
    version: int
    episodes: tuple[Episode, ...]
    timing: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plane = self.reward.shape
        for name, value in vars(self).items():
            if isinstance(value, Tensor) and name not in ("last_value", "length") and value.shape[:2] != plane:
                raise ValueError(f"OptionBatch.{name}: expected [K, B, ...] = {list(plane)}, got {list(value.shape)}")
        if self.length.shape != plane[1:] or int(self.length.max()) > plane[0]:
            raise ValueError(
                f"OptionBatch.length: expected [B] = {list(plane[1:])} of at most {plane[0]}, got "
                f"{self.length.tolist()}"
            )

    @classmethod
    def join(
        cls, arrays: Mapping[str, NDArray[Any]], version: int, episodes: Sequence[Episode], timing: Mapping[str, float]
    ) -> OptionBatch:
        """A batch that shares memory with the arrays of `option_fields`."""
        tensors: dict[str, Any] = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return cls(**tensors, version=version, episodes=tuple(episodes), timing=dict(timing))

    @property
    def valid(self) -> Tensor:
        """`[K, B]` bool, which places hold a decision."""
        return torch.arange(len(self.reward), device=self.length.device)[:, None] < self.length

    @property
    def env_steps(self) -> int:
        """Low-level steps of all worlds."""
        return int(self.duration.sum())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> OptionBatch:
        """The batch on another device."""
        if torch.device(device).type == "cpu":
            return self
        moved: dict[str, Any] = {}
        for name, value in vars(self).items():
            moved[name] = value.to(device, non_blocking=non_blocking) if isinstance(value, Tensor) else value
        return OptionBatch(**moved)


@dataclass(frozen=True)
class DecisionSamples(Samples):
    """R decisions to learn from, each `[R, ...]`.

    Attributes:
        observation, options, choosing, available, state: where they were made, as in `OptionBatch`.
        log_prob: of the choices, by the policy that acted.
        value: by the critic when they were made, as it said it.
        advantage: of the choices.
        target: what the critic learns, as it says it.
    """

    observation: Tensor
    options: Tensor
    choosing: Tensor
    available: Tensor
    state: Tensor
    log_prob: Tensor
    value: Tensor
    advantage: Tensor
    target: Tensor

    @classmethod
    def of(cls, batch: OptionBatch, advantage: Tensor, target: Tensor) -> DecisionSamples:
        """The decisions of a batch, with advantages and targets `[K, B, V]`."""
        seen = [getattr(batch, name) for name in SITUATION]
        valid = batch.valid
        return cls(*(column[valid] for column in (*seen, batch.log_prob, batch.value, advantage, target)))

    @property
    def situation(self) -> Situation:
        """Where the decisions were made."""
        return Situation(*(getattr(self, name) for name in SITUATION))
