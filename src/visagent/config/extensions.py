"""Packages of others that add methods, worlds, presets and tables of their own.

Such a package names a module in the entry-point group `visagent.extensions`. Importing that module registers its
schemas (`visagent.config.registry.registered`); the folder `conf` beside it is laid out as ours and joins Hydra's
search path after it. Every command imports it, so it imports no torch.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from visagent.errors import ConfigError

GROUP = "visagent.extensions"


@dataclass(frozen=True)
class Extension:
    """An installed one.

    Attributes:
        name: of its entry point.
        module: that registers its schemas.
        distribution: and its version, as pip knows them.
        conf: its folder of YAML files; None where it has none.
    """

    name: str
    module: str
    distribution: str
    conf: Path | None


@cache
def extensions() -> tuple[Extension, ...]:
    """All that are installed, by name; nothing of them is imported.

    Raises:
        ConfigError: for one whose module is not there.
    """
    found = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            spec = find_spec(point.module)
        except ImportError:
            spec = None
        if spec is None or spec.origin is None:
            raise _broken(point.name, point.module, "there is no such module")
        folder = Path(spec.origin).parent / "conf"
        made = "" if point.dist is None else f"{point.dist.name} {point.dist.version}"
        found[point.name] = Extension(point.name, point.module, made, folder if folder.is_dir() else None)
    return tuple(found.values())


@cache
def load_extensions() -> None:
    """Import their modules, which register their schemas; once.

    Raises:
        ConfigError: for one that cannot be imported.
    """
    for extension in extensions():
        try:
            importlib.import_module(extension.module)
        except Exception as error:  # whatever it does when it is imported
            raise _broken(extension.name, extension.module, f"{type(error).__name__}: {error}") from error


def _broken(name: str, module: str, why: str) -> ConfigError:
    return ConfigError(
        f"extension {name}: cannot import {module} ({why}): mend its entry point in the group {GROUP}, or uninstall "
        "the package"
    )
