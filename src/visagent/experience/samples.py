"""Samples that a learner draws minibatches from: a frozen dataclass of tensors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """N samples. The fields of a subclass are tensors, mappings of tensors, tuples of recurrent states `[N, ...]`, or
    None.
    """

    axis: ClassVar[int] = 0
    """Along which the samples lie in every field but recurrent states."""

    @property
    def _first(self) -> Tensor:
        first: Tensor = next(iter(vars(self).values()))
        return first

    def __len__(self) -> int:
        """N."""
        return self._first.shape[self.axis]

    def take(self, index: Tensor) -> Self:
        """The samples at some places `[M]`, copied."""
        index = index.to(self._first.device)
        return self._each(lambda tensor, axis: tensor.index_select(axis, index))

    def split(self, counts: Sequence[int]) -> Iterator[Self]:
        """So many samples each, one after the other, as views: all at once, as a small minibatch costs little more than
        its views.
        """
        columns = (self._parts(getattr(self, field.name), counts) for field in fields(self))
        return itertools.starmap(type(self), zip(*columns, strict=True))

    def _parts(self, value: Any, counts: Sequence[int]) -> Sequence[Any]:
        if isinstance(value, Tensor):
            return list(value.split(list(counts), self.axis))
        if isinstance(value, Mapping):
            parts = [(name, tensor.split(list(counts), self.axis)) for name, tensor in value.items()]
            return [{name: split[number] for name, split in parts} for number in range(len(counts))]
        if value is None:
            return [None] * len(counts)
        return list(zip(*(tensor.split(list(counts)) for tensor in value), strict=True))

    def _each(self, change: Callable[[Tensor, int], Tensor]) -> Self:
        return type(self)(*(self._changed(getattr(self, field.name), change) for field in fields(self)))

    def _changed(self, value: Any, change: Callable[[Tensor, int], Tensor]) -> Any:
        if isinstance(value, Tensor):
            return change(value, self.axis)
        if isinstance(value, Mapping):
            return {name: change(tensor, self.axis) for name, tensor in value.items()}
        return None if value is None else tuple(change(tensor, 0) for tensor in value)
