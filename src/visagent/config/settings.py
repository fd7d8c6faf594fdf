"""Settings, said once: a field of a dataclass holds a setting's meaning, symbol and bounds; YAML in conf/ holds its
value.

The classes that are configured take the object: `PPO(settings, ...)`. A new hyperparameter is one field here and one
line of YAML. No module of settings imports torch: `--help` and `--cfg job` stay fast.
"""

from __future__ import annotations

import copy
from dataclasses import MISSING as UNSAID
from dataclasses import Field, dataclass, field, fields
from itertools import pairwise
from typing import Any

from omegaconf import MISSING

from visagent.errors import ConfigError

MOST_PROCESSES = 1024
"""Processes or threads that a setting may ask for: no machine has so many."""
PROCESSES = f"at least 1 and at most {MOST_PROCESSES}"
AS_BEFORE, SIGNED, FORMERLY, INFO = "as_before", "signed", "formerly", "info"


@dataclass(frozen=True)
class SettingInfo:
    """What a field says of its setting.

    Attributes:
        meaning: a noun phrase, with its unit.
        symbol: the paper's, or nothing.
        least, above: the smallest value, or what it is above.
        most, below: the largest value, or what it is below.
        among: all values that there are.
        example: a usual value.
        expected: words for what is expected, in place of those made of the bounds.
    """

    meaning: str
    symbol: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    among: tuple[Any, ...] = ()
    example: float | None = None
    expected: str = ""

    def allows(self, value: Any) -> bool:
        """Whether a value, or each of a list, is within the bounds; None is not asked about here."""
        if isinstance(value, list | tuple):
            return all(self.allows(each) for each in value)
        if self.among:
            return value in self.among
        if not isinstance(value, int | float):
            return True
        low = (self.least is None or value >= self.least) and (self.above is None or value > self.above)
        return low and (self.most is None or value <= self.most) and (self.below is None or value < self.below)

    @property
    def bounds(self) -> str:
        """The bounds in words: `in (0, 1]`, `at least 1`, `clip or adaptive_kl`; empty where all values are allowed."""
        if self.among:
            *others, last = (str(value) for value in self.among)
            return f"{', '.join(others)} or {last}" if others else last
        low = self.least if self.least is not None else self.above
        high = self.most if self.most is not None else self.below
        if low is not None and high is not None:
            return (
                f"in {'[' if self.least is not None else '('}{low:g}, {high:g}{']' if self.most is not None else ')'}"
            )
        if low is not None:
            return f"{'at least' if self.least is not None else 'above'} {low:g}"
        return "" if high is None else f"{'at most' if self.most is not None else 'below'} {high:g}"

    def expectation(self, optional: bool) -> str:
        """What is expected, for a message."""
        if self.expected:
            text = self.expected
        elif self.among or self.example is None:
            text = self.bounds
        else:
            text = f"{self.example:g} or another number {self.bounds}"
        return f"null, or {text}" if optional and "null" not in text else text


def setting(
    meaning: str,
    *,
    default: Any = MISSING,
    as_before: Any = UNSAID,
    signed: bool = False,
    formerly: str = "",
    nested: Any = None,
    **info: Any,
) -> Any:
    """A field of `Settings`.

    Args:
        meaning: see `SettingInfo`, as the other words and bounds.
        default: its value where no YAML has one. Ours stand in YAML; an extension's schema that has all of its values
            needs none.
        as_before: of a setting that is younger than runs of its schema, the value with which those ran: exactly what
            the code did when there was nothing to set. A stored config without the setting reads as if it had this
            value, and with it a new run has the identity that it would have had without the setting, so that finished
            runs stay found.
        signed: `as_before` is part of signatures all the same. Of settings from before that rule alone.
        formerly: its name in stored runs, by which signatures still know it.
        nested: the class of nested settings.
    """
    metadata: dict[str, Any] = {INFO: SettingInfo(meaning, **info)}
    if as_before is not UNSAID:
        metadata |= {AS_BEFORE: as_before, SIGNED: signed}
    if formerly:
        metadata |= {FORMERLY: formerly}
    if nested is not None:
        return field(default_factory=nested, metadata=metadata)
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def info_of(item: Field[Any]) -> SettingInfo | None:
    """What a field says of its setting; None where it says nothing."""
    info: SettingInfo | None = item.metadata.get(INFO)
    return info


def as_before(item: Field[Any]) -> tuple[Any, bool] | None:
    """The value of a younger setting that means as before, and whether it is part of signatures; None of one that was
    always there.
    """
    return (item.metadata[AS_BEFORE], item.metadata[SIGNED]) if AS_BEFORE in item.metadata else None


def former_names(schema: type | None) -> dict[str, str]:
    """Today's names of renamed settings, and their former ones."""
    items = fields(schema) if schema is not None else ()
    return {item.name: item.metadata[FORMERLY] for item in items if FORMERLY in item.metadata}


def today(schema: type | None) -> dict[str, str]:
    """Former names of renamed settings, and today's."""
    return {former: name for name, former in former_names(schema).items()}


@dataclass
class Settings:
    """The settings of a class that takes them as one object, its first argument."""

    def check(self) -> None:
        """Refuse values that do not go together; bounds of one setting are its field's.

        Raises:
            ConfigError: naming the setting.
        """


def check_bounds(schema: type, values: dict[str, Any], path: str) -> None:
    """Refuse values out of their fields' bounds.

    Args:
        schema: a dataclass of settings.
        values: of its fields, as far as they are there.
        path: of the node in the config.

    Raises:
        ConfigError: naming the first one, its bounds and its meaning.
    """
    for item in fields(schema):
        info, value = info_of(item), values.get(item.name)
        if info is not None and value is not None and not info.allows(value):
            where = f"{path}.{item.name}" if path else item.name
            raise refusal(where, value, info.expectation("None" in str(item.type)), info.meaning)


def require(condition: bool, key: str, value: object, expected: str) -> None:
    """Refuse a value.

    Raises:
        ConfigError: unless the condition holds.
    """
    if not condition:
        raise refusal(key, value, expected)


def refusal(key: str, value: object, expected: str, meaning: str = "") -> ConfigError:
    """The error for a value: what was got, what is expected, an example to type, and what the setting means."""
    words = [word.strip(",") for word in expected.split()]
    excluded = {word for before, word in pairwise(words) if before in ("above", "below")}
    example = next((word for word in words if word.replace(".", "").isdigit() and word not in excluded), None)
    hint = f"; for example {key}={example}" if example and not isinstance(value, list) else ""
    return ConfigError(
        f"{key}: expected {expected}, got {value!r}{hint}" + (f" ({key} is: {meaning})" if meaning else "")
    )
