"""What a search may choose from, in Hydra's own words: choice(...), range(...), interval(...), tag(log, ...)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from visagent.errors import ConfigError

DIGITS = 5
"""Significant ones of a number that is drawn: more than anybody reads, and few enough for a command line."""
EXACT = 12
"""Significant digits of a range's numbers, without what adding up has left behind."""
EXAMPLE = "'optimizer.lr=tag(log,interval(1e-5,1e-2))' or algorithm.passes=4,10"


@dataclass(frozen=True)
class Space:
    """Dimensions by their keys.

    Attributes:
        dimensions: distributions, as Optuna has them.
    """

    dimensions: Mapping[str, BaseDistribution]

    @classmethod
    def of(cls, overrides: Sequence[Override]) -> Space:
        """The space of the overrides that have several values.

        Raises:
            ConfigError: when there is none, or one of a kind that cannot be searched.
        """
        dimensions = {o.get_key_element(): _distribution(o) for o in overrides if o.is_sweep_override()}
        if not dimensions:
            raise ConfigError(f"expected something to search, such as {EXAMPLE}, got one value of each setting")
        return cls(dimensions)

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """Overrides of the command line for a point of the space."""
        return [f"{key}={params[key]}" for key in self.dimensions]

    def rounded(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The point nearby whose numbers have few digits."""
        rounded = dict(params)
        for key, dimension in self.dimensions.items():
            if isinstance(dimension, FloatDistribution):
                number = float(f"{params[key]:.{DIGITS if dimension.step is None else EXACT}g}")
                rounded[key] = min(max(number, dimension.low), dimension.high)
        return rounded

    @property
    def is_finite(self) -> bool:
        """Whether `grid` can say all points."""
        return all(
            isinstance(each, CategoricalDistribution)
            or (isinstance(each, IntDistribution) and not each.log)
            or (isinstance(each, FloatDistribution) and each.step is not None)
            for each in self.dimensions.values()
        )

    def grid(self) -> list[dict[str, Any]]:
        """All points, the last dimension the fastest.

        Raises:
            ConfigError: when a dimension has any number of values.
        """
        return [
            dict(zip(self.dimensions, point, strict=True))
            for point in product(*(_values(key, each) for key, each in self.dimensions.items()))
        ]


def _distribution(override: Override) -> BaseDistribution:
    value, key = override.value(), override.get_key_element()
    tags: set[str] = getattr(value, "tags", set())
    if tags - {"log"}:
        raise ConfigError(f"{override.input_line}: expected no tag but log, got {', '.join(sorted(tags))}")
    log = "log" in tags
    try:
        if isinstance(value, ChoiceSweep) and not log:
            return CategoricalDistribution(tuple(str(each) for each in override.sweep_string_iterator()))
        if isinstance(value, IntervalSweep):
            assert value.start is not None and value.end is not None
            if isinstance(value.start, int):
                return IntDistribution(value.start, int(value.end), log=log)
            return FloatDistribution(value.start, value.end, log=log)
        if isinstance(value, RangeSweep) and not log:
            numbers = sorted(float(f"{float(each):.{EXACT}g}") for each in override.sweep_string_iterator())
            whole = all(number.is_integer() for number in (*numbers, float(value.step)))
            if whole and isinstance(value.start, int):
                return IntDistribution(int(numbers[0]), int(numbers[-1]), step=abs(int(value.step)))
            return FloatDistribution(numbers[0], numbers[-1], step=abs(float(value.step)))
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{override.input_line}: {error}") from error
    raise ConfigError(
        f"{override.input_line}: expected choice(...), range(...), interval(...) or tag(log,interval(...)) for {key}; "
        f"such as {EXAMPLE}"
    )


def _values(key: str, dimension: BaseDistribution) -> list[Any]:
    if isinstance(dimension, CategoricalDistribution):
        return list(dimension.choices)
    if isinstance(dimension, IntDistribution) and not dimension.log:
        return list(range(dimension.low, dimension.high + 1, dimension.step))
    if isinstance(dimension, FloatDistribution) and dimension.step is not None:
        count = round((dimension.high - dimension.low) / dimension.step) + 1
        return [float(f"{dimension.low + number * dimension.step:.{EXACT}g}") for number in range(count)]
    raise ConfigError(
        f"hydra.sweeper.sampler=grid: expected choice(...) or range(...) for {key}, got an interval; type "
        "hydra.sweeper.sampler=random"
    )
