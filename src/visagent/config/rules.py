"""Checks that schemas share; the messages name the key, what was got, what is expected and, where it can, what to type."""

from __future__ import annotations

from visagent.errors import ConfigError


def require(condition: bool, key: str, value: object, expected: str) -> None:
    """Refuse a value.

    Raises:
        ConfigError: unless the condition holds.
    """
    if not condition:
        example = next((word.strip(",") for word in expected.split() if word.strip(",").replace(".", "").isdigit()), None)
        hint = f"; for example {key}={example}" if example and not isinstance(value, list) else ""
        raise ConfigError(f"{key}: expected {expected}, got {value!r}{hint}")


def positive(group: str, config: object, *names: str) -> None:
    """Refuse fields of a config below 1."""
    for name in names:
        require(getattr(config, name) >= 1, f"{group}.{name}", getattr(config, name), "at least 1")
