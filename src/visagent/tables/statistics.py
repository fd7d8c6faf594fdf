"""Statistics over seeds: mean, standard deviation, interquartile mean, stratified bootstrap intervals.

Definitions as in Agarwal et al. 2021, *Deep Reinforcement Learning at the Edge of the Statistical Precipice* (rliable):
runs are resampled within each task (stratum), intervals are percentiles of the resampled statistic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

MINIMUM_SEEDS = 3
"""With fewer runs no interval is given."""

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis."""
    return np.asarray(values.mean(axis=-1))


def interquartile_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis without the lowest and the highest quarter, each rounded down to whole values.

    Of fewer than four values nothing is cut: it is the mean.
    """
    ordered = np.sort(values, axis=-1)
    cut = int(0.25 * values.shape[-1])
    return mean(ordered[..., cut : values.shape[-1] - cut])


STATISTICS: dict[str, Statistic] = {"mean": mean, "iqm": interquartile_mean}


def standard_deviation(values: NDArray[np.float64]) -> float | None:
    """Standard deviation of a sample (divided by n - 1); None for a single value."""
    return float(values.std(ddof=1)) if len(values) > 1 else None


def stratified_bootstrap(
    strata: Sequence[NDArray[np.float64]],
    statistic: Statistic,
    generator: np.random.Generator,
    samples: int,
    confidence: float,
) -> tuple[float, float] | None:
    """Percentile interval of a statistic of all values together.

    Args:
        strata: the runs' values per task, `[n_i]` each; resampled with replacement within the task.
        statistic: over the last axis.
        generator: draws the resamples.
        samples: how many.
        confidence: of the interval, in (0, 1).

    Returns:
        lower and upper end, or None where a stratum has fewer than `MINIMUM_SEEDS` runs.
    """
    if not strata or min(len(values) for values in strata) < MINIMUM_SEEDS:
        return None
    drawn = [values[generator.integers(0, len(values), (samples, len(values)))] for values in strata]
    ends = np.quantile(statistic(np.concatenate(drawn, axis=-1)), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(ends[0]), float(ends[1])
