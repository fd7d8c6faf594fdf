"""Which networks and data each method goes with, so that a wrong choice is named before anything is imported or
made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from visagent.config.option_schemas import OptionDataSettings
from visagent.config.presets import config_file, presets
from visagent.config.registry import FITS, GROUP_SCHEMAS, schemas_of
from visagent.config.reinforcement_schemas import ActorDataSettings
from visagent.config.schemas import schema_of
from visagent.errors import ConfigError


def check_pairs(config: Mapping[str, Any]) -> None:
    """Refuse groups of a run's config that do not go together.

    Raises:
        ConfigError: naming what was chosen and what to type.
    """
    algorithm, network, data = (_schema(config.get(group)) for group in ("algorithm", "network", "datamodule"))
    if algorithm in FITS:
        assert algorithm is not None
        fit = FITS[algorithm]
        networks, data_sources = schemas_of("network", fit.networks), schemas_of("datamodule", fit.data)
        wrong = {}
        if network is not None and not issubclass(network, networks):
            wrong["network"] = (network, networks)
        excepted = schemas_of("datamodule", fit.except_data)
        if data is not None and (not issubclass(data, data_sources) or issubclass(data, excepted)):
            wrong["datamodule"] = (data, data_sources)
        if wrong:
            raise _mismatch(wrong, algorithm)
    chosen = config.get("datamodule")
    env = _schema(chosen.get("env")) if isinstance(chosen, Mapping) else None
    if env is None or data is None or not issubclass(data, ActorDataSettings):
        return
    options = issubclass(data, OptionDataSettings)
    if getattr(env, "options", False) != options:
        known = GROUP_SCHEMAS["env"].items()
        there = ", ".join(f"env={name}" for name, schema in known if getattr(schema, "options", False) == options)
        kind = "options" if options else "single actions"
        raise ConfigError(
            f"env={_name(env)} does not go with datamodule={_name(data)}: expected a world of {kind}, {there} or one "
            "of your own (env=own)"
        )


def _mismatch(wrong: Mapping[str, tuple[type, Sequence[type]]], algorithm: type) -> ConfigError:
    method = _name(algorithm)
    got = " and ".join(f"{group}={_name(schema)}" for group, (schema, _) in wrong.items())
    names = {group: [f"{group}={_name(schema)}" for schema in fitting] for group, (_, fitting) in wrong.items()}
    expected = " and ".join(" or ".join(fitting) for fitting in names.values())
    preset = next((f", or experiment={name}" for name in presets() if method == _method_of(name)), "")
    return ConfigError(
        f"algorithm={method} does not go with {got}: expected {expected}; type "
        f"{' '.join(n[0] for n in names.values())}{preset}"
    )


def _method_of(preset: str) -> str | None:
    """The algorithm that a preset's file itself chooses."""
    defaults = yaml.safe_load(config_file(f"experiment/{preset}").read_text()).get("defaults", [])
    return next(
        (
            entry["override /algorithm"]
            for entry in defaults
            if isinstance(entry, dict) and "override /algorithm" in entry
        ),
        None,
    )


def _schema(node: object) -> type | None:
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return schema_of(target) if isinstance(target, str) else None


def _name(schema: type) -> str:
    return next(name for schemas in GROUP_SCHEMAS.values() for name, known in schemas.items() if known is schema)
