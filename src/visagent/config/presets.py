"""What the config folders hold: ours, and those of installed extensions."""

from __future__ import annotations

import importlib
from pathlib import Path

from visagent.config.extensions import conf_folder, extensions
from visagent.config.registry import complete
from visagent.errors import ConfigError


def conf_folders() -> list[Path]:
    """Ours, then those of extensions, in the order in which Hydra looks."""
    return [conf_folder(), *(extension.conf for extension in extensions() if extension.conf is not None)]


def config_file(name: str) -> Path:
    """A YAML file below one of the folders.

    Args:
        name: such as `experiment/ppo/pendulum`.

    Raises:
        ConfigError: when none has it.
    """
    for folder in conf_folders():
        if (path := folder / f"{name}.yaml").is_file():
            return path
    raise ConfigError(f"there is no {name}.yaml in {', '.join(map(str, conf_folders()))}")


def presets() -> list[str]:
    """All experiment presets, `navigation/dagger` first; what begins with `_` is a part that several share."""
    return sorted(_below("experiment"), key=lambda name: name != "navigation/dagger")


def description(preset: str) -> str:
    """What a preset says of itself: the comment that its file begins with.

    Args:
        preset: such as `ppo/pendulum`.
    """
    said: list[str] = []
    for line in config_file(f"experiment/{preset}").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        said += [] if "@package" in line else [line.lstrip("# ")]
    return " ".join(said)


def options(group: str, with_yaml: bool = False) -> list[str]:
    """The options of a config group, for example `options("debug")`; what begins with `_` is a part that several
    share.

    Args:
        group: such as `debug`.
        with_yaml: only those that have a file.
    """
    named = {path.stem for folder in conf_folders() for path in (folder / group).glob("[!_]*.yaml")}
    if with_yaml:
        return sorted(named)
    if extensions():
        importlib.import_module("visagent.config.schemas")  # which loads them
    return sorted(named.union(complete(group)))


def groups() -> list[str]:
    """All config groups, without the groups within them."""
    return sorted(
        {path.name for folder in conf_folders() for path in folder.iterdir() if path.is_dir() and path.name[0] != "_"}
    )


def tables() -> list[str]:
    """All paper tables, as `<paper>/<table>`, without shared parts."""
    return _below("table")


def _below(group: str) -> list[str]:
    """All options of a group and the groups within it."""
    paths = [(path, folder / group) for folder in conf_folders() for path in (folder / group).rglob("[!_]*.yaml")]
    return sorted({path.relative_to(folder).with_suffix("").as_posix() for path, folder in paths})
