"""Checks that schemas share; the messages name the key, what was got, what is expected and, where it can, what to type."""

from __future__ import annotations

from dataclasses import Field, field
from typing import Any

from omegaconf import MISSING

from visagent.errors import ConfigError

MOST_PROCESSES = 1024
AS_BEFORE, SIGNED = "as_before", "signed"


def added(*, as_before: Any, signed: bool = False, default_factory: Any = None) -> Any:
    """A schema's field for a setting that is younger than runs of that schema.

    Where a stored config has none, `as_before` stands in; and with that value a new run has the identity that it would have had without the
    setting, so that finished runs stay found. The YAML file holds the value that new runs get, the same or another one.

    Args:
        as_before: the value with which those runs ran, exactly what the code did when there was nothing to set; of a nested schema, all its values.
        signed: the value is part of signatures all the same. Of settings from before this rule alone: their runs would lose their names.
        default_factory: of a nested schema, that schema.
    """
    metadata = {AS_BEFORE: as_before, SIGNED: signed}
    return field(default=MISSING, metadata=metadata) if default_factory is None else field(default_factory=default_factory, metadata=metadata)


def as_before(item: Field[Any]) -> tuple[Any, bool] | None:
    """What `added` says of a field: the value, and whether it is part of signatures; None of a field that was always there."""
    return (item.metadata[AS_BEFORE], item.metadata[SIGNED]) if AS_BEFORE in item.metadata else None


def require(condition: bool, key: str, value: object, expected: str) -> None:
    """Refuse a value.

    Raises:
        ConfigError: unless the condition holds.
    """
    if not condition:
        example = next((word.strip(",") for word in expected.split() if word.strip(",").replace(".", "").isdigit()), None)
        hint = f"; for example {key}={example}" if example and not isinstance(value, list) else ""
        raise ConfigError(f"{key}: expected {expected}, got {value!r}{hint}")


def processes(group: str, config: object, *names: str, least: int = 1) -> None:
    """Refuse fields of a config that say how many processes or threads are started, where no machine has so many."""
    for name in names:
        value = getattr(config, name)
        require(least <= value <= MOST_PROCESSES, f"{group}.{name}" if group else name, value, f"at least {least} and at most {MOST_PROCESSES}")


def positive(group: str, config: object, *names: str) -> None:
    """Refuse fields of a config below 1."""
    for name in names:
        require(getattr(config, name) >= 1, f"{group}.{name}", getattr(config, name), "at least 1")
