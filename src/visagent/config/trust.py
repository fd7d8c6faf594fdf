"""What a stored config may make. A run folder may come from someone else, and whoever instantiates a config runs what
it names.

A config that was composed here is the user's own and may name anything; one that is read from a run folder may name
what visagent itself has, and what the user allows. This looks before anything that it names is imported.
"""

from __future__ import annotations

import importlib
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from visagent.config.registry import moved
from visagent.config.reinforcement_worlds import GymnasiumConfig
from visagent.config.schemas import GROUP_SCHEMAS
from visagent.errors import ConfigError

TRAINER = "pytorch_lightning.Trainer"
OPTIMIZER = re.compile(r"torch\.optim\.[A-Z]\w*")
"""A class of the package itself: nothing that could be reached through its modules."""
PREFIX = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
OWN_PACKAGES = ("datamodules", "lightning_modules", "cuda_ext")
HOMES = (Path(__file__).resolve().parents[2], Path(__file__).resolve().parents[3])
"""Where these are: beside the package where it is installed, beside src/ in a checkout."""
INSTRUCTIONS = {"_target_", "_partial_"}
"""What a config of ours tells Hydra's instantiation; positional arguments, conversions and the like are none of it."""


def registered() -> frozenset[str]:
    """The targets of all schemas, nested ones included."""
    return frozenset(
        target for schemas in GROUP_SCHEMAS.values() for schema in schemas.values() for target in _targets(schema)
    )


def _targets(schema: type) -> Iterator[str]:
    if isinstance(target := getattr(schema, "_target_", None), str):
        yield target
    for declared in typing.get_type_hints(schema).values():
        if is_dataclass(declared):
            yield from _targets(typing.cast(type, declared))


def refuse_foreign(stored: Mapping[str, Any], where: str, allowed: Sequence[str] = ()) -> None:
    """Refuse a stored config that would run anything but visagent's own classes, the Trainer, optimizers, and what the
    user allows.

    Args:
        stored: plain Python as it was read, interpolations unresolved.
        where: the run, for the message.
        allowed: packages, modules or classes whose targets the user trusts, by their dotted names.

    Raises:
        ConfigError: naming the first one, and how to allow it.
    """
    for prefix in allowed:
        if not PREFIX.fullmatch(prefix):
            raise ConfigError(
                "--allow-targets: expected the dotted name of a package, module or class, such as my_worlds, got "
                f"{prefix!r}"
            )
    known, trusted = registered() | set(moved()) | {TRAINER}, []
    for path, node in dicts(stored):
        target = node.get("_target_")
        if isinstance(target, str) and _within(target, allowed):
            trusted.append((path, target))
            continue
        if "_target_" in node and not (isinstance(target, str) and (target in known or OPTIMIZER.fullmatch(target))):
            raise ConfigError(_foreign(where, f"{path}._target_", target))
        if unusual := sorted(
            key for key in node if isinstance(key, str) and re.fullmatch(r"_\w+_", key) and key not in INSTRUCTIONS
        ):
            raise ConfigError(
                f"{where}: {path}.{unusual[0]}: its config tells more than what to make and with which settings, "
                "which no run of visagent's does"
            )
        if target == GymnasiumConfig._target_:
            module, separator, _ = str(node.get("id")).partition(":")  # gymnasium imports it
            if separator and not _within(module, allowed):
                raise ConfigError(_foreign(where, f"{path}.id", node["id"], module))
            for number, wrapper in enumerate(node.get("wrappers") or ()):
                name = wrapper.get("name") if isinstance(wrapper, Mapping) else wrapper
                module, separator, _ = str(name).rpartition(":")
                if separator and not _within(module, allowed):
                    raise ConfigError(_foreign(where, f"{path}.wrappers[{number}].name", name, module))
    for path, target in trusted:
        home = getattr(locate(target, path), "__module__", None)
        # what a trusted module has imported is not its own
        if isinstance(home, str) and not _within(home, allowed) and not _within(target, [home]):
            raise ConfigError(_foreign(where, f"{path}._target_", target, home))


def _foreign(where: str, path: str, got: object, module: str | None = None) -> str:
    text = f"{where}: {path}: expected a target of visagent's own in a stored config, got {got!r}, whose code would run"
    named = module if module is not None else got.rpartition(".")[0] if isinstance(got, str) else ""
    if PREFIX.fullmatch(named) and find_spec(package := named.partition(".")[0]) is None:
        return f"{where}: {path}: {got!r} is not there: install the package that has {package}"
    return text + (
        f"; if the run is yours or you trust it, type --allow-targets {named}" if PREFIX.fullmatch(named) else ""
    )


def _within(name: str, prefixes: Iterable[str]) -> bool:
    return PREFIX.fullmatch(name) is not None and any(
        name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes
    )


def dicts(node: Any, path: str = "") -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """Every dict within, through lists as well."""
    if isinstance(node, Mapping):
        yield path, node
        for key, value in node.items():
            yield from dicts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from dicts(value, f"{path}[{number}]")


def literal(value: Any) -> Any:
    """Plain Python that OmegaConf reads back as it is: what looks like an interpolation is text, as in every config
    that is resolved already.
    """
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda match: 2 * match.group(1) + r"\${", value)
    if isinstance(value, Mapping):
        return {key: literal(entry) for key, entry in value.items()}
    return [literal(entry) for entry in value] if isinstance(value, list) else value


def refuse_shadowed(package: str) -> None:
    """Refuse a package of the user's that has the name of one of ours and stands before it on the path.

    Raises:
        ConfigError: naming both.
    """
    if package not in OWN_PACKAGES:
        return
    spec = find_spec(package)
    origin = Path(str(spec.origin)).resolve() if spec is not None and spec.origin is not None else None
    expected = [above / package / "__init__.py" for above in HOMES]
    if origin not in expected and any(place.is_file() for place in expected):
        ours = next(place.parent for place in expected if place.is_file())
        theirs = (
            origin.parent
            if origin is not None
            else next(iter(spec.submodule_search_locations or ["?"]))
            if spec is not None
            else "nowhere"
        )
        raise ConfigError(
            f"the package {package} is taken from {theirs}, expected visagent's own, {ours}: another one stands "
            "before it on the path; "
            "rename that one, or take its folder out of PYTHONPATH"
        )


def locate(target: str, path: str) -> Any:
    """The object that a `_target_` names: something of a module, not reached through attributes, which lead to whatever
    that module has imported.

    Raises:
        ConfigError: when it cannot be imported.
    """
    if target in moved():
        raise ConfigError(f"{path}._target_: {target} has moved: type {moved()[target]}")
    module, _, name = target.rpartition(".")
    refuse_shadowed(target.partition(".")[0])
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{path}._target_: cannot import {target!r} ({error})") from error
