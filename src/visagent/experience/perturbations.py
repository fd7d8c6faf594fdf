"""Experience of evolution strategies: returns of perturbed policies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visagent.experience.rollouts import Episode, Field


def perturbation_fields(pairs: int, state: int) -> dict[str, Field]:
    """The arrays of a task of one actor.

    Args:
        pairs: P, antithetic pairs.
        state: D, numbers of an observation.
    """
    return {
        "offset": Field((pairs,), "int64", 0),
        "returns": Field((pairs, 2), "float64", 0),
        "steps": Field((pairs, 2), "int64", 0),
        "seen_count": Field((1,), "float64", 0),
        "seen_mean": Field((1, state), "float64", 0),
        "seen_spread": Field((1, state), "float64", 0),
    }


@dataclass(frozen=True)
class PerturbationBatch:
    """What P antithetic pairs of perturbed policies earned.

    Attributes:
        offset: `[P]` where each perturbation begins in the noise table.
        returns: `[P, 2]` of theta + sigma epsilon and theta - sigma epsilon.
        steps: `[P, 2]` of the worlds.
        seen: number `[W]`, mean `[W, D]` and sum of squared distances `[W, D]` of the observations of each of W actors.
        version: of theta.
        episodes: of the perturbed policies.
        timing: seconds that the actors spent, by what they did.
    """

    offset: Tensor
    returns: Tensor
    steps: Tensor
    seen: tuple[Tensor, Tensor, Tensor]
    version: int
    episodes: tuple[Episode, ...]
    timing: Mapping[str, float]

    def __post_init__(self) -> None:
        expected = (len(self.offset), 2)
        for name in ("returns", "steps"):
            if getattr(self, name).shape != expected:
                raise ValueError(
                    f"PerturbationBatch.{name}: expected [P, 2] = {list(expected)}, got "
                    f"{list(getattr(self, name).shape)}"
                )

    @classmethod
    def join(
        cls, arrays: Mapping[str, object], version: int, episodes: Sequence[Episode], timing: Mapping[str, float]
    ) -> PerturbationBatch:
        """A batch that shares memory with the arrays of `perturbation_fields`."""
        tensors = {name: torch.as_tensor(array) for name, array in arrays.items()}
        seen = (tensors["seen_count"], tensors["seen_mean"], tensors["seen_spread"])
        return cls(
            tensors["offset"], tensors["returns"], tensors["steps"], seen, version, tuple(episodes), dict(timing)
        )

    @property
    def env_steps(self) -> int:
        """Environment steps of all perturbed policies."""
        return int(self.steps.sum())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> PerturbationBatch:
        """The same object: what is learned from it is a sum over the noise table, which lives on the CPU."""
        return self
