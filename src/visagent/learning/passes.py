"""One pass over the samples of all ranks, in minibatches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from visagent.experience.rollouts import PolicySamples
from visagent.experience.samples import Samples
from visagent.learning.ranks import Ranks

MEASURED_AT_ONCE = 256
"""Samples that are measured together, at least."""
S = TypeVar("S", bound=Samples)
P = TypeVar("P", bound=PolicySamples)


@dataclass(frozen=True)
class Minibatch(Generic[S]):
    """Some of the samples of all ranks.

    Attributes:
        samples: those of this rank among them, perhaps none.
        everyone: a number of each of all ranks' samples, such as its advantage: `[N]`, or along the samples' axis.
        owned: `[N]` bool on the CPU, which of them are this rank's.
    """

    samples: S
    everyone: Tensor
    owned: Tensor

    def mean(self, values: Tensor) -> Tensor:
        """This rank's part of the mean over all ranks' samples.

        Args:
            values: one for each of this rank's samples, shaped as its part of `everyone`.
        """
        return values.sum() / self.everyone.numel()

    def own(self, values: Tensor) -> Tensor:
        """This rank's part of values shaped like `everyone`."""
        if len(self.samples) == len(self.owned):
            return values
        return values.index_select(self.samples.axis, self.owned.nonzero()[:, 0].to(values.device))


def one_pass(
    samples: S, everyone: Tensor, owned: Tensor, sizes: Sequence[int], generator: torch.Generator | None
) -> Iterator[Minibatch[S]]:
    """All samples once, in minibatches whose order is drawn for all ranks together.

    So the number of ranks changes no more than the order in which numbers are added up.

    Args:
        samples: of this rank.
        everyone: see `Minibatch`, of all samples.
        owned: see `Minibatch`, of all samples; this rank's come in the order of `samples`.
        sizes: of the minibatches; they add up to the number of all samples.
        generator: of the order, the same on every rank; None to keep it.
    """
    axis = samples.axis
    if generator is not None:
        order = torch.randperm(len(owned), generator=generator)
        place = owned.cumsum(dim=0) - 1  # of an owned sample in `samples`
        owned = owned[order]
        samples = samples.take(place[order[owned]])
        everyone = everyone.index_select(axis, order.to(everyone.device))
    here = owned.split(list(sizes))
    parts = samples.split([int(part.sum()) for part in here])
    yield from map(Minibatch, parts, everyone.split(list(sizes), axis), here)


def in_order(samples: S, numbers: Tensor, size: int) -> Iterator[Minibatch[S]]:
    """This rank's samples alone, so many at a time; `numbers` as `everyone` of `Minibatch`, of this rank's samples."""
    owned = torch.ones(len(samples), dtype=torch.bool)
    return one_pass(samples, numbers, owned, sizes_of(len(samples), size), None)


@torch.no_grad()
def mean_of_all(
    samples: P, size: int, measure: Callable[[Minibatch[P]], dict[str, Tensor]], ranks: Ranks
) -> dict[str, Tensor]:
    """What is measured of samples, averaged over all ranks, which have equally many.

    Args:
        samples: of this rank.
        size: of those that are measured at once, or more of them.
        measure: gives means over a part of them by name.
        ranks: whose samples count.
    """
    totals: dict[str, Tensor] = {}
    for part in in_order(samples, samples.advantage, max(size, MEASURED_AT_ONCE)):
        for name, value in measure(part).items():
            totals[name] = totals.get(name, torch.zeros_like(value)) + value * (len(part.samples) / len(samples))
    means = ranks.sum(torch.stack(list(totals.values())) / ranks.count)
    return dict(zip(totals, means, strict=True))


def sizes_of(count: int, size: int) -> list[int]:
    """Sizes of minibatches of `size` samples, of which the last one may be smaller."""
    whole, rest = divmod(count, size)
    return [size] * whole + [rest] * (rest > 0)


def equal_parts(count: int, parts: int) -> list[int]:
    """Sizes of so many minibatches, as equal as can be, the larger ones first."""
    whole, rest = divmod(count, parts)
    return [whole + (number < rest) for number in range(parts)]
