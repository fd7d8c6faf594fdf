"""Validation after composition: what Hydra's own checks let through (`+key=`, missing values, rules across fields,
targets).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from visagent.config.pairs import check_pairs
from visagent.config.presets import options, presets
from visagent.config.schemas import REQUIRED_GROUPS, TrainConfig, known_keys, schema_below, schema_of
from visagent.config.settings import Settings, check_bounds
from visagent.config.trained_weights import SETTINGS as TRAINED_WEIGHTS
from visagent.config.trainer_settings import EMA, check_numbers, check_trainer, signature_keys, unknown_key
from visagent.config.trust import dicts, locate
from visagent.errors import ConfigError

OURS_OF = {"network": TRAINED_WEIGHTS, "trainer": (EMA,)}
"""Settings of a group that are none of the object's that it makes."""
_MERGED: set[tuple[type, str]] = set()
"""Schemas and values that OmegaConf has found to have their types; the configs of a table are nearly all the same."""


def validate(config: DictConfig, root: type) -> dict[str, Any]:
    """Check a composed config against its schemas, without importing what it instantiates.

    Args:
        config: composed, without the `hydra` node.
        root: schema of the root.

    Returns:
        The resolved config as plain Python.

    Raises:
        ConfigError: naming the key, what was got and what to type.
    """
    for key in config:
        if key not in known_keys(root):
            raise unknown_key(str(key), known_keys(root))
    if root is TrainConfig:
        check_groups(config)
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ConfigError(
            f"missing config value {missing[0]!r}: type {missing[0]}=VALUE"
            + (f" (also missing: {', '.join(missing[1:])})" if missing[1:] else "")
        )
    try:
        resolved = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"config does not resolve: {error}") from error
    assert isinstance(resolved, dict)
    _check_node(config, root, "")
    if root is TrainConfig:
        check_numbers(resolved["optimizer"], "optimizer")
        check_numbers(resolved["trainer"], "trainer")
        check_trainer(resolved["trainer"], resolved["algorithm"]["_target_"])
        if (known := signature_keys(resolved["optimizer"]["_target_"])) is not None:
            for key in resolved["optimizer"]:
                if not key.startswith("_") and key not in known:
                    raise unknown_key(f"optimizer.{key}", known)
    return {str(key): value for key, value in resolved.items()}


def check_groups(config: DictConfig) -> None:
    """Refuse a run's config in which a group is missing, does not say what to make, or does not go with the others.

    Raises:
        ConfigError: naming the group.
    """
    for group in REQUIRED_GROUPS:
        node = config.get(group)
        if node is None:
            raise ConfigError(
                f"no {group} chosen: start from a preset, for example experiment={presets()[0]}; visagent-train --help "
                "lists them"
            )
        target = (
            None if not isinstance(node, DictConfig) or OmegaConf.is_missing(node, "_target_") else node.get("_target_")
        )
        if not isinstance(target, str) or "." not in target:
            got = target if isinstance(node, DictConfig) else node
            raise ConfigError(
                f"{group}._target_: expected the dotted name of what to make, got {got!r}; choose with {group}=NAME: "
                f"{', '.join(options(group))}"
            )
    check_pairs(config)


def _check_node(node: DictConfig, schema: type | None, path: str) -> None:
    """Recurse: every dict is checked against the schema of its place or of its `_target_`."""
    if schema is not None:
        for key in node:
            if str(key) not in known_keys(schema):
                raise unknown_key(f"{path}.{key!s}" if path else str(key), known_keys(schema))
        _check_rules(node, schema, path)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none():
            _check_node(child, schema_below(schema, str(key), child), f"{path}.{key!s}" if path else str(key))


def _check_rules(node: DictConfig, schema: type, path: str) -> None:
    absent = [item.name for item in fields(schema) if item.name not in node and item.default == MISSING]
    if absent:  # of a run that an earlier version made
        where = f"{path}.{absent[0]}" if path else absent[0]
        raise ConfigError(f"missing config value {where!r}: type +{where}=VALUE")
    values = {item.name: _plain(node[item.name]) for item in fields(schema) if item.name in node}
    # Groups and nested schemas are checked in their own places; what is declared as a dict is a value like any other.
    nested = {
        item.name
        for item in fields(schema)
        if isinstance(values.get(item.name), dict) and not str(item.type).startswith("dict")
    }
    own = {name: value for name, value in values.items() if name not in nested}
    if (merged := (schema, repr(own))) not in _MERGED:
        try:
            OmegaConf.merge(OmegaConf.structured(schema), own)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{path or 'config'}: {str(error).splitlines()[0]}") from error
        _MERGED.add(merged)
    check_numbers({name: value for name, value in values.items() if not isinstance(value, dict)}, path)
    check_bounds(schema, values, path)
    check = getattr(schema, "check", None)
    if check is not None:
        instance: Any = object.__new__(schema)
        for name, value in values.items():
            setattr(instance, name, value)
        check(instance)


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, (DictConfig, ListConfig)) else value


def check_targets(config: Mapping[str, Any], path: str = "") -> None:
    """Import every `_target_` and bind its arguments to the signature; imports torch and lightning.

    Arguments that the runtime adds itself may be missing; unknown ones are refused with the nearest known one.
    """
    for where, node in dicts(config, path):
        target = node.get("_target_")
        if not isinstance(target, str):
            continue
        function, schema = locate(target, where), schema_of(target)
        if schema is not None and issubclass(schema, Settings):  # takes the object, whose fields were checked
            continue
        if (accepted := parameters(function)) is None:
            continue
        for key in node:
            ours = key in OURS_OF.get(where, ())
            if not (str(key).startswith("_") or ours or key in accepted):
                raise unknown_key(f"{where}.{key}" if where else str(key), accepted)


def parameters(target: Any) -> list[str] | None:
    """Names of the arguments that a class (with those its bases take through **kwargs) or function takes; None for
    any.
    """
    names: list[str] = []
    chain = (
        [vars(c)["__init__"] for c in inspect.getmro(target) if "__init__" in vars(c)]
        if inspect.isclass(target)
        else [target]
    )
    for function in chain:
        accepted = inspect.signature(function).parameters.values()
        names += [p.name for p in accepted if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
        if not any(p.kind == p.VAR_KEYWORD for p in accepted):
            return names
    return None
