"""Checks that schemas share; the messages name the key, what was got, what is expected and, where it can, what to type."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from omegaconf import MISSING

from visagent.config.settings import AS_BEFORE, SIGNED, require

MOST_PROCESSES = 1024


def added(*, as_before: Any, signed: bool = False, default_factory: Any = None) -> Any:
    """A schema's field for a setting that is younger than runs of that schema; see `visagent.config.settings.setting`."""
    metadata = {AS_BEFORE: as_before, SIGNED: signed}
    return field(default=MISSING, metadata=metadata) if default_factory is None else field(default_factory=default_factory, metadata=metadata)


def processes(group: str, config: object, *names: str, least: int = 1) -> None:
    """Refuse fields of a config that say how many processes or threads are started, where no machine has so many."""
    for name in names:
        value = getattr(config, name)
        require(least <= value <= MOST_PROCESSES, f"{group}.{name}" if group else name, value, f"at least {least} and at most {MOST_PROCESSES}")


def positive(group: str, config: object, *names: str) -> None:
    """Refuse fields of a config below 1."""
    for name in names:
        require(getattr(config, name) >= 1, f"{group}.{name}", getattr(config, name), "at least 1")
