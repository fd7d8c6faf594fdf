"""Settings that are younger than stored runs, or were renamed since: what those ran with.

A new setting of a schema is declared with `visagent.config.settings.setting(..., as_before=VALUE)`, one of a place that
has no schema in `ELSEWHERE`. From then on two things hold: a stored config without it reads as if it had that value
(resuming, evaluating, exporting, tables), and that value stays out of a run's identity, so that runs from before it
keep their signatures. One that was renamed, `setting(..., formerly=NAME)`, is read by either name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from visagent.config.registry import moved
from visagent.config.schemas import TrainConfig, schema_below
from visagent.config.settings import as_before, today

ELSEWHERE: dict[str, dict[str, Any]] = {"trainer": {"ema": None}, "optimizer": {}}
"""Path of a dict without a schema -> key -> the value that means as before."""


def completed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config under today's names, with settings that are younger than it at the values that it ran with."""

    def fill(node: Any, schema: type | None, path: str) -> Any:
        if not isinstance(node, Mapping):
            return node
        node = renamed(node, schema)
        inner = {key: fill(value, _below(schema, key, value), _join(path, key)) for key, value in node.items()}
        return inner | {key: value for key, (value, _) in _younger(schema, path).items() if key not in inner}

    filled = fill(stored, TrainConfig, "")
    assert isinstance(filled, dict)
    return filled


def renamed(node: Mapping[Any, Any], schema: type | None) -> Mapping[Any, Any]:
    """A dict under today's names, its class where it is today."""
    names, target = today(schema), node.get("_target_")
    if names:
        node = {names.get(key, key): value for key, value in node.items()}
    return {**node, "_target_": moved()[target]} if isinstance(target, str) and target in moved() else node


def neutral_keys(node: Mapping[Any, Any], schema: type | None, path: str) -> set[Any]:
    """Keys of a dict whose values mean as before, and that no signature names."""
    unsigned = {key: value for key, (value, signed) in _younger(schema, path).items() if not signed}
    return {key for key, value in unsigned.items() if key in node and _canonical(node[key]) == _canonical(value)}


def _younger(schema: type | None, path: str) -> dict[str, tuple[Any, bool]]:
    declared = (
        {item.name: said for item in fields(schema) if (said := as_before(item)) is not None}
        if schema is not None
        else {}
    )
    return declared | {key: (value, False) for key, value in ELSEWHERE.get(path, {}).items()}


def _below(schema: type | None, key: Any, value: Any) -> type | None:
    return schema_below(schema, str(key), value) if isinstance(value, Mapping) else None


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
