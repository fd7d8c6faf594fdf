"""The processes that learn one run together (ranks), as a learner sees them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """All processes that learn together, and which of them this one is; with one rank, every method is the identity.

    Every rank must call a method that communicates, in the same order.

    Attributes:
        rank: of this process, from 0.
        count: of processes.
    """

    rank: int = 0
    count: int = 1

    def sum(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by the sum over all ranks; returns the same tensor."""
        if self.count > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def total(self, number: float, device: torch.device | str) -> float:
        """The sum of a number over all ranks."""
        if self.count == 1:
            return number
        return float(self.sum(torch.tensor(float(number), dtype=torch.float64, device=device)))

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all ranks, which have one shape, in the order of ranks."""
        if self.count == 1:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.count)]
        torch.distributed.all_gather(gathered, tensor.contiguous())
        return gathered

    def moments(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The mean over the numbers of all ranks, whatever their shapes, and the mean of their squares, in double
        precision.
        """
        numbers = values.double()
        count = torch.tensor(float(numbers.numel()), dtype=torch.float64, device=values.device)
        count, total, squares = self.sum(torch.stack([count, numbers.sum(), numbers.square().sum()]))
        return total / count, squares / count

    def own(self, width: int) -> slice:
        """This rank's part of an axis along which the parts of all ranks, `width` each, are joined."""
        return slice(self.rank * width, (self.rank + 1) * width)


ALONE = Ranks()
"""The one process that learns."""
