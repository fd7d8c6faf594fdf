"""The number by which a sweeper judges a run."""

from __future__ import annotations

import math
from typing import Any

from visagent.errors import ConfigError
from visagent.runtime.record import Record


def objective_of(record: Record, config: dict[str, Any]) -> float | None:
    """What a finished run is worth to the sweeper; None where no `objective` is named.

    A metric of the test, or the one of the last epoch that has it; where it is `checkpoint.monitor`, of the best one.

    Args:
        record: of the run.
        config: with its `objective` and `checkpoint`.

    Raises:
        ConfigError: when the run has no such metric, naming those it has.
    """
    name = config.get("objective")
    if name is None:
        return None
    if name in record.metrics:
        return record.metrics[name]
    values = [epoch[name] for epoch in record.history.values() if name in epoch]
    if not values:
        last = next(reversed(record.history.values()), {})
        known = sorted([*record.metrics, *(key for key in last if key.startswith("val/"))])
        raise ConfigError(f"objective: expected one of {', '.join(known)}, got {name}")
    watched = config["checkpoint"]
    if watched["monitor"] == name:
        finite = [value for value in values if not math.isnan(value)] or values
        return max(finite) if watched["mode"] == "max" else min(finite)
    return values[-1]
