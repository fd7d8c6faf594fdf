"""Whole episodes of decisions, for recurrent value functions (Mac-JERTs of Xiao et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from visagent.envs.option_worlds import OptionSpaces
from visagent.experience.option_decisions import OptionBatch
from visagent.experience.rollouts import Episode
from visagent.experience.samples import Samples

COLUMNS = ("observation", "options", "choosing", "available", "reward", "duration")


@dataclass(frozen=True)
class EpisodeSamples(Samples):
    """B episodes of at most L decisions for one update, `[L, B, ...]`; see `EpisodeBatch`."""

    axis: ClassVar[int] = 1
    observation: Tensor
    options: Tensor
    choosing: Tensor
    available: Tensor
    reward: Tensor
    duration: Tensor
    valid: Tensor
    terminated: Tensor


@dataclass(frozen=True)
class EpisodeBatch:
    """Draws for U updates, each of B episodes of at most L decisions.

    Attributes:
        columns: `[U, L, B, ...]` each: observation, options, choosing and available as in `OptionBatch`, the reward
            until the next decision, its duration.
        valid: `[U, L, B]` bool, whether something was learned from this decision: the next one is known, or the episode
            terminated.
        terminated: `[U, L, B]` bool.
        env_steps: low-level steps that the actors took.
        version: of the policy that acted.
        episodes: that ended meanwhile.
        timing: seconds that the actors spent, by what they did.
    """

    columns: Mapping[str, Tensor]
    valid: Tensor
    terminated: Tensor
    env_steps: int
    version: int
    episodes: tuple[Episode, ...]
    timing: Mapping[str, float]

    def updates(self) -> Iterator[EpisodeSamples]:
        """The episodes of one update after the other."""
        for number in range(len(self.valid)):
            columns = {name: self.columns[name][number] for name in COLUMNS}
            yield EpisodeSamples(**columns, valid=self.valid[number], terminated=self.terminated[number])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> EpisodeBatch:
        """The batch on another device."""
        columns = {name: part.to(device, non_blocking=non_blocking) for name, part in self.columns.items()}
        valid, terminated = (part.to(device, non_blocking=non_blocking) for part in (self.valid, self.terminated))
        return EpisodeBatch(columns, valid, terminated, self.env_steps, self.version, self.episodes, self.timing)


class EpisodeBuffer:
    """The newest whole episodes.

    Args:
        spaces: of the worlds.
        capacity: episodes.
        longest: decisions of an episode that are kept; later ones are forgotten.
    """

    def __init__(self, spaces: OptionSpaces, capacity: int, longest: int) -> None:
        agents, plane = len(spaces.agents), (capacity, longest)
        self.capacity, self.longest = capacity, longest
        self.columns = {
            "observation": torch.zeros(*plane, sum(spaces.observations)),
            "options": torch.zeros(*plane, agents, dtype=torch.int64),
            "choosing": torch.zeros(*plane, agents, dtype=torch.bool),
            "available": torch.zeros(*plane, sum(spaces.sizes), dtype=torch.bool),
            "reward": torch.zeros(plane),
            "duration": torch.zeros(plane, dtype=torch.int64),
        }
        self.length, self.terminated = torch.zeros(capacity, dtype=torch.int64), torch.zeros(capacity, dtype=torch.bool)
        self.added = 0
        self.open: list[list[dict[str, Tensor]]] = []

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def begin(self, worlds: int) -> None:
        """New episodes begin in all worlds: unfinished ones are given up."""
        self.open = [[] for _ in range(worlds)]

    def add(self, batch: OptionBatch) -> None:
        """Take in decisions; episodes that are over can be drawn from then on."""
        sources = {name: getattr(batch, name) for name in COLUMNS}
        for world, length in enumerate(batch.length.tolist()):
            first = 0
            over = (batch.terminated | batch.truncated)[:length, world]
            for last in over.nonzero()[:, 0].tolist():
                self.open[world].append({name: part[first : last + 1, world].clone() for name, part in sources.items()})
                self._close(world, bool(batch.terminated[last, world]))
                first = last + 1
            if first < length:
                self.open[world].append({name: part[first:length, world].clone() for name, part in sources.items()})

    def _close(self, world: int, terminated: bool) -> None:
        parts, self.open[world] = self.open[world], []
        place = self.added % self.capacity
        length = 0
        for name in COLUMNS:
            whole = torch.cat([part[name] for part in parts])
            length = min(len(whole), self.longest)
            self.columns[name][place, :length] = whole[:length]
        self.length[place] = length
        self.terminated[place] = terminated and sum(len(part["reward"]) for part in parts) <= self.longest
        self.added += 1

    def draw(
        self,
        updates: int,
        episodes: int,
        generator: torch.Generator,
        env_steps: int,
        version: int,
        ended: Sequence[Episode],
        timing: Mapping[str, float],
    ) -> EpisodeBatch:
        """Episodes for some updates, each drawn from all that are kept; what belongs to the batch besides is passed
        on.
        """
        chosen = torch.randint(max(len(self), 1), (updates, episodes), generator=generator)
        longest = int(self.length[chosen].max()) if updates else 0
        columns = {name: part[chosen, :longest].transpose(1, 2).contiguous() for name, part in self.columns.items()}
        step, length = torch.arange(longest)[None, :, None], self.length[chosen][:, None]
        terminated = (step == length - 1) & self.terminated[chosen][:, None]
        return EpisodeBatch(
            columns, (step < length - 1) | terminated, terminated, env_steps, version, tuple(ended), dict(timing)
        )

    def state_dict(self) -> dict[str, Any]:
        """What is kept, without the places never used."""
        kept = len(self)
        columns = {name: part[:kept].clone() for name, part in self.columns.items()}
        return {
            "columns": columns,
            "length": self.length[:kept].clone(),
            "terminated": self.terminated[:kept].clone(),
            "added": self.added,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.added = int(state["added"])
        kept = len(self)
        for name, part in state["columns"].items():
            self.columns[name][:kept] = part
        self.length[:kept], self.terminated[:kept] = state["length"], state["terminated"]
