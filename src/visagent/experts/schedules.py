"""Beta schedules of DAgger: how likely the expert acts while experience is collected (Ross et al. 2011, Section 3).

`round` counts from 0; round 0 is the expert's own demonstrations, the first collection by the policy is round 1.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from visagent.errors import ConfigError

BetaSchedule = Callable[[int], float]


def _indicator(round: int) -> float:
    return float(round == 0)


def _linear(rounds: int, round: int) -> float:
    return max(0.0, 1.0 - round / rounds)


def _exponential(base: float, round: int) -> float:
    return base**round


def _constant(value: float, round: int) -> float:
    return value


def beta_schedule(kind: str, parameter: float | None = None) -> BetaSchedule:
    """A schedule by name.

    Args:
        kind: `indicator` (the paper's: 1 in round 0, then 0), `linear` (1 down to 0 at round `parameter`),
            `exponential` (`parameter ** round`) or `constant` (`parameter`).
        parameter: as above; None for `indicator`.

    Raises:
        ConfigError: for an unknown kind or a parameter out of range.
    """
    if kind == "indicator":
        if parameter is not None:
            raise ConfigError(
                f"beta schedule indicator takes no parameter, got {parameter}: set datamodule.beta_parameter=null"
            )
        return _indicator
    if parameter is None:
        raise ConfigError(f"beta schedule {kind}: expected a parameter, got none: set datamodule.beta_parameter=NUMBER")
    if kind == "linear":
        if parameter < 1 or parameter != int(parameter):
            raise ConfigError(f"beta schedule linear: expected a whole number of rounds from 1, got {parameter}")
        return partial(_linear, int(parameter))
    if kind in ("exponential", "constant"):
        if not 0.0 <= parameter <= 1.0:
            raise ConfigError(f"beta schedule {kind}: expected a parameter in [0, 1], got {parameter}")
        return partial(_exponential if kind == "exponential" else _constant, parameter)
    raise ConfigError(
        f"unknown beta schedule {kind!r}: expected indicator, linear, exponential or constant (datamodule.beta=...)"
    )
