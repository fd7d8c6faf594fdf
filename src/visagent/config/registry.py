"""Which schema stands for which option of a config group: each schema is registered where it is written.

Read these through `visagent.config.schemas`, which imports every file that registers any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TypeVar

from omegaconf import MISSING

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
    """

    def register(schema: Schema) -> Schema:
        GROUP_SCHEMAS.setdefault(group, {})[option] = schema
        if fit is not None:
            FITS[schema] = fit
        if formerly:
            FORMER_TARGETS[schema._target_] = formerly  # type: ignore[attr-defined]
        return schema

    return register


def complete(group: str) -> list[str]:
    """Options of a group whose schemas have all of their values, so that they need no YAML."""
    return [option for option, schema in GROUP_SCHEMAS.get(group, {}).items() if _is_complete(schema)]


def _is_complete(schema: type) -> bool:
    return all(
        _is_complete(item.default_factory) if is_dataclass(item.default_factory) else item.default != MISSING
        for item in fields(schema)
    )


def moved() -> dict[str, str]:
    """Of classes that have moved: where they were, and where they are."""
    return {former: target for target, former in FORMER_TARGETS.items()}


def schemas_of(group: str, options: tuple[str, ...]) -> tuple[type, ...]:
    """The schemas of some options of a group."""
    return tuple(GROUP_SCHEMAS[group][option] for option in options)
