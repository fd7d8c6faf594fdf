"""Packages of others that add methods, worlds, presets and tables of their own.

Such a package names a module in the entry-point group `visagent.extensions`. Importing that module registers its
schemas (`visagent.config.registry.registered`); the folder `conf` beside it is laid out as ours and joins Hydra's
search path after it. Every command imports it, so it imports no torch.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from visagent.config.registry import GROUP_SCHEMAS, check_fits
from visagent.errors import ConfigError

GROUP = "visagent.extensions"


def conf_folder() -> Path:
    """The installed folder of visagent's own YAML files."""
    return Path(str(files("visagent.conf")))


@dataclass(frozen=True)
class Extension:
    """An installed extension.

    Attributes:
        name: of its entry point.
        module: that registers its schemas.
        distribution: as pip knows it; empty where it knows none.
        conf: its folder of YAML files; None where it has none.
    """

    name: str
    module: str
    distribution: str
    conf: Path | None


@cache
def extensions() -> tuple[Extension, ...]:
    """All installed extensions, by name; none is imported.

    Raises:
        ConfigError: for one whose module is not there, or with a file of a name that is taken.
    """
    found: dict[str, Extension] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            spec = find_spec(point.module)
        except ImportError:
            spec = None
        if spec is None or spec.origin is None:
            raise _broken(point.name, point.module, "there is no such module")
        folder = Path(spec.origin).parent / "conf"
        before = [each.conf for each in found.values() if each.conf is not None]
        _refuse_taken(point.name, folder, [conf_folder(), *before])
        distribution = "" if point.dist is None else point.dist.name
        found[point.name] = Extension(point.name, point.module, distribution, folder if folder.is_dir() else None)
    return tuple(found.values())


@cache
def load_extensions() -> None:
    """Import their modules, which register their schemas; once, by `visagent.config.schemas`, when visagent's own are
    there.

    Raises:
        ConfigError: for one that cannot be imported.
    """
    groups = set(GROUP_SCHEMAS)
    for extension in extensions():
        try:
            importlib.import_module(extension.module)
        except (Exception, SystemExit) as error:  # whatever it does when it is imported
            *_, last = traceback.extract_tb(error.__traceback__)
            where = f"{type(error).__name__}: {error}; {last.filename}, line {last.lineno}"
            raise _broken(extension.name, extension.module, where) from error
        if strange := sorted(set(GROUP_SCHEMAS) - groups):
            expected = ", ".join(sorted(groups))
            raise _broken(extension.name, extension.module, f"it registers {strange[0]}=...; expected {expected}")
    check_fits()


def _refuse_taken(name: str, folder: Path, others: Sequence[Path]) -> None:
    """Refuse a file of a name that is taken: Hydra would read the first one and say nothing."""
    for path in folder.rglob("*.yaml"):
        relative = path.relative_to(folder)
        if (there := next((other for other in others if (other / relative).is_file()), None)) is not None:
            raise ConfigError(
                f"extension {name}: {path} has the name of {there / relative}, which stands before it; rename it, or "
                "uninstall the package"
            )


def _broken(name: str, module: str, why: str) -> ConfigError:
    return ConfigError(
        f"extension {name}: cannot import {module} ({why}): mend it, or its entry point in the group {GROUP}, or "
        "uninstall the package"
    )
