"""The keys that a command line's config has, for suggestions after a mistyped one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf


def composed_keys(root: str, arguments: Sequence[str], wrong: str) -> dict[str, tuple[bool, Any]]:
    """All keys of the config that `arguments` compose to without the override of `wrong` and without flags and sweeps.

    Returns:
        key -> whether it is an empty dict, which takes any key with `+`, and its value.
    """
    overrides = [
        a
        for a in arguments
        if "=" in a and not a.startswith("-") and a.lstrip("+~").split("=", 1)[0] != wrong and "," not in a
    ]
    GlobalHydra.instance().clear()
    with initialize_config_module("visagent.conf", version_base="1.3"):
        try:
            config = compose(root, overrides)
        except HydraException:
            config = compose(root)
    plain = OmegaConf.to_container(config, resolve=False)
    assert isinstance(plain, dict)
    return dict(_paths(plain, ""))


def _paths(node: Mapping[Any, Any], prefix: str) -> Iterator[tuple[str, tuple[bool, Any]]]:
    for key, value in node.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        yield path, (isinstance(value, Mapping) and not value, value)
        if isinstance(value, Mapping):
            yield from _paths(value, path)
