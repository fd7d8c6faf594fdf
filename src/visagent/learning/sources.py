"""What a DataModule and the LightningModule that learns from it ask of each other, by family; they never import each
other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from visagent.envs.demonstrated import Demonstrated
from visagent.envs.navigation import SceneTables
from visagent.experience.noise import NoiseTable
from visagent.learning.ranks import Ranks


class PolicySource(Protocol):
    """What the data of reinforcement learning ask of the module: the policy for its actors."""

    @property
    def device(self) -> torch.device:
        """The device of the module."""

    @property
    def ranks(self) -> Ranks:
        """The processes of the run."""

    def acting_policy(self) -> nn.Module:
        """A copy on the CPU of what actors run."""

    def published(self) -> tuple[dict[str, Tensor], int]:
        """The weights for the actors, and their version."""


class ExperienceSource(Protocol):
    """What a module of reinforcement learning asks of its data."""

    iterations_per_epoch: int
    """Batches between two evaluations."""

    @property
    def spaces(self) -> Any:
        """Spaces of the worlds: `visagent.envs.spaces.WorldSpaces`, or those of options."""

    def statistics(self) -> Mapping[str, float]:
        """What this rank's actors did beside their batches, for the log."""


class RolloutSource(ExperienceSource, Protocol):
    """What PPO asks of its data."""

    def demonstrated(self, name: str, episodes: int | None) -> Demonstrated:
        """Episodes of a data set, as the worlds would show them; None: all."""
        ...


class PerturbationSource(ExperienceSource, Protocol):
    """What evolution strategies ask of their data."""

    table: NoiseTable
    sigma: float
    """Standard deviation of the perturbations."""


class EpisodeSource(ExperienceSource, Protocol):
    """What methods ask that learn from whole episodes."""

    buffer: Sized
    """The episodes that are kept."""


class DemonstrationSource(Protocol):
    """What a module of imitation navigation asks of its data."""

    tables: SceneTables

    @property
    def env_steps(self) -> int:
        """Steps that were walked for the labels so far."""

    def statistics(self) -> Mapping[str, float]:
        """Statistics of the labelled samples, for the log."""
