"""Which schema stands for which option of a config group: each schema is registered where it is written.

Read these through `visagent.config.schemas`, which imports every file that registers any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

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


def registered(group: str, option: str, fit: Fit | None = None) -> Callable[[Schema], Schema]:
    """A class decorator: this is the schema of an option of a config group.

    Args:
        group: such as `algorithm`.
        option: the name of its file in `conf/<group>/`.
        fit: what goes with it, of an algorithm.
    """

    def register(schema: Schema) -> Schema:
        GROUP_SCHEMAS.setdefault(group, {})[option] = schema
        if fit is not None:
            FITS[schema] = fit
        return schema

    return register


def schemas_of(group: str, options: tuple[str, ...]) -> tuple[type, ...]:
    """The schemas of some options of a group."""
    return tuple(GROUP_SCHEMAS[group][option] for option in options)
