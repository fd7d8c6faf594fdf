"""What the config folder holds."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def conf_folder() -> Path:
    """The installed folder of YAML files."""
    return Path(str(files("visagent.conf")))


def presets() -> list[str]:
    """All experiment presets, `navigation/dagger` first; what begins with `_` is a part that several share."""
    folder = conf_folder() / "experiment"
    paths = (path for path in folder.rglob("*.yaml") if not path.name.startswith("_"))
    names = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in paths)
    return sorted(names, key=lambda name: name != "navigation/dagger")


def options(group: str) -> list[str]:
    """The options of a config group, for example `options("debug")`; what begins with `_` is a part that several
    share.
    """
    return sorted(path.stem for path in (conf_folder() / group).glob("*.yaml") if not path.name.startswith("_"))


def tables() -> list[str]:
    """All paper tables, as `<paper>/<table>`, without shared parts."""
    folder = conf_folder() / "table"
    return sorted(
        path.relative_to(folder).with_suffix("").as_posix()
        for path in folder.rglob("*.yaml")
        if not path.name.startswith("_")
    )
