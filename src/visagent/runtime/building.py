"""Config -> objects."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from visagent.config.schemas import schema_of
from visagent.config.settings import Settings
from visagent.config.trained_weights import SETTINGS as TRAINED_WEIGHTS
from visagent.config.trust import INSTRUCTIONS, literal, locate
from visagent.errors import ConfigError, UserError


def make(where: str, config: Mapping[str, Any], **more: Any) -> Any:
    """The object that a resolved config names, and within it what its parts name; with `_partial_` a factory of it.

    What has `visagent.config.settings.Settings` gets them as one object, its first argument; anything else gets keyword
    arguments.

    The weights that a network begins with are none of its own settings: see `visagent.runtime.fitting.Begun`.

    Args:
        where: of the config, for messages.
        config: plain Python.
        more: further keyword arguments.

    Raises:
        UserError: when it refuses its settings.
    """
    if where == "network":
        config = {key: value for key, value in config.items() if key not in TRAINED_WEIGHTS}
    instructions = {key for key in config if key.startswith("_") and key.endswith("_")}
    if instructions - INSTRUCTIONS:
        return _by_hydra(config, more)
    target, schema = locate(config["_target_"], where), schema_of(config["_target_"])
    values = {key: _parts(f"{where}.{key}", value) for key, value in config.items()}
    if schema is not None and issubclass(schema, Settings):
        factory = functools.partial(target, schema(**values), **more)
    else:
        factory = functools.partial(
            target, **{key: value for key, value in values.items() if key not in INSTRUCTIONS}, **more
        )
    try:
        return factory if config.get("_partial_") else factory()
    except UserError:
        raise
    except Exception as error:
        given = [
            f"{where}.{key}={value}"
            for key, value in config.items()
            if not key.startswith("_") and not isinstance(value, dict)
        ]
        raise ConfigError(f"{where}: {error}; its settings are {', '.join(given)}") from error


def _parts(where: str, value: Any) -> Any:
    """A setting with the objects that its parts name."""
    if isinstance(value, Mapping):
        return (
            make(where, value)
            if "_target_" in value
            else {key: _parts(f"{where}.{key}", part) for key, part in value.items()}
        )
    return (
        [_parts(f"{where}[{number}]", part) for number, part in enumerate(value)] if isinstance(value, list) else value
    )


def _by_hydra(config: Mapping[str, Any], more: Mapping[str, Any]) -> Any:
    """What a config of the user's own tells Hydra alone: positional arguments, conversions."""
    from hydra.utils import instantiate

    return instantiate(literal(config), **more)
