"""Which schema stands for which option of a config group: each schema is registered where it is written.

Read these through `visagent.config.schemas`, which imports every file that registers any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TypeVar

from omegaconf import MISSING

from visagent.errors import ConfigError

Schema = TypeVar("Schema", bound=type)


@dataclass(frozen=True)
class Fit:
    """What goes with a method.

    Attributes:
        networks, data: options of the groups `network` and `datamodule`, the usual one first; one whose schema derives
            from any of theirs fits as well, unless it is among `except_data`.
    """

    networks: tuple[str, ...]
    data: tuple[str, ...]
    except_data: tuple[str, ...] = ()


GROUP_SCHEMAS: dict[str, dict[str, type]] = {}
"""By group and option."""
FITS: dict[type, Fit] = {}
"""By the method's schema. What has no schema is the user's own, and fits if it says so itself."""
FORMER_TARGETS: dict[str, str] = {}
"""Of classes that have moved: where they are, and where they were when runs were stored first."""


def registered(group: str, option: str, fit: Fit | None = None, formerly: str = "") -> Callable[[Schema], Schema]:
    """A class decorator: this is the schema of an option of a config group.

    Args:
        group: such as `algorithm`.
        option: the name of its file in `conf/<group>/`.
        fit: what goes with it, of an algorithm.
        formerly: the `_target_` of before its class has moved, by which signatures still know it.

    Raises:
        ConfigError: for an option that is there already, or a class that another option makes: a schema is found by
            what it makes.
    """

    def register(schema: Schema) -> Schema:
        there = GROUP_SCHEMAS.setdefault(group, {})
        if (taken := there.get(option)) is not None and _place(taken) != _place(schema):
            raise ConfigError(f"{_place(schema)}: {group}={option} is {_place(taken)} already; take another name")
        target = getattr(schema, "_target_", None)
        twin = next((name for name, each in there.items() if getattr(each, "_target_", None) == target), None)
        if target is not None and twin not in (None, option):
            raise ConfigError(
                f"{_place(schema)}: {group}={twin} makes {target} already; other values of the same settings are one "
                f"more file, conf/{group}/{option}.yaml"
            )
        there[option] = schema
        if fit is not None:
            FITS[schema] = fit
        if formerly:
            FORMER_TARGETS[schema._target_] = formerly  # type: ignore[attr-defined]
        return schema

    return register


def _place(schema: type) -> str:
    return f"{schema.__module__}.{schema.__qualname__}"


def check_fits() -> None:
    """Refuse methods that name networks or data which nothing is registered as.

    Raises:
        ConfigError: naming the first one.
    """
    for schema, fit in FITS.items():
        for group, named in (("network", fit.networks), ("datamodule", (*fit.data, *fit.except_data))):
            for option in named:
                if option not in GROUP_SCHEMAS[group]:
                    there = ", ".join(GROUP_SCHEMAS[group])
                    raise ConfigError(f"{_place(schema)}: Fit names {group}={option}; expected one of {there}")


def complete(group: str) -> list[str]:
    """Options of a group whose schemas have all of their values, so that they need no YAML."""
    return [option for option, schema in GROUP_SCHEMAS.get(group, {}).items() if _is_complete(schema)]


def missing_values(group: str, option: str) -> list[str]:
    """The settings of an option's schema that have no value; empty where no schema is registered."""
    schema = GROUP_SCHEMAS.get(group, {}).get(option)
    return [] if schema is None else [item.name for item in fields(schema) if item.default == MISSING]


def _is_complete(schema: type) -> bool:
    return all(
        _is_complete(item.default_factory) if is_dataclass(item.default_factory) else item.default != MISSING
        for item in fields(schema)
    )


def moved() -> dict[str, str]:
    """Old and new places of the classes that have moved."""
    return {former: target for target, former in FORMER_TARGETS.items()}


def schemas_of(group: str, options: tuple[str, ...]) -> tuple[type, ...]:
    """The schemas of some options of a group."""
    return tuple(GROUP_SCHEMAS[group][option] for option in options)
