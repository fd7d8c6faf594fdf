"""What settings mean, what they may be, and where a run's were set; for `visagent-info`."""

from __future__ import annotations

import difflib
import re
import shlex
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.errors import HydraException
from omegaconf import OmegaConf

from visagent.charts import shown
from visagent.config.composition import config_folder
from visagent.config.presets import conf_folders, options
from visagent.config.quoting import plain
from visagent.config.schemas import GROUP_SCHEMAS, REQUIRED_GROUPS, TrainConfig, schema_below
from visagent.config.settings import SettingInfo, info_of
from visagent.errors import ConfigError
from visagent.runtime.credentials import without_credentials
from visagent.runtime.headline import FITS, headline
from visagent.runtime.queue import shown_state
from visagent.runtime.record import Record
from visagent.runtime.report import what_was_tested
from visagent.runtime.run_folder import RunFolder, find_run
from visagent.words import counted, span

NARROWEST = 40
"""Columns for what a setting means, beside the others."""
ENV = "datamodule.env"


@dataclass(frozen=True)
class Setting:
    """One setting of a config.

    Attributes:
        key: dotted, below the group.
        value: as the config has it, interpolations unresolved.
        info: what its field says; None of what says nothing.
        set_by: `default`, `preset` or `override`; nothing where a group alone is shown.
    """

    key: str
    value: Any
    info: SettingInfo | None
    set_by: str = ""

    @property
    def shown(self) -> str:
        """Its value as YAML has it."""
        return plain(self.value)


def group_report(group: str, name: str) -> str:
    """The settings of one option of a group, such as `algorithm` `ppo`.

    Raises:
        ConfigError: when there is no such group or option.
    """
    groups = sorted({*GROUP_SCHEMAS, *REQUIRED_GROUPS})
    if group == "experiment":
        raise ConfigError(f"experiment={name}: presets are described by visagent-info presets {name}")
    if group not in groups:
        raise ConfigError(
            f"{group}={name}: expected one of {', '.join(f'{each}=NAME' for each in groups)}, or run=SIGNATURE"
        )
    if name not in options(group):
        near = difflib.get_close_matches(name, options(group), 1, cutoff=0.6)
        meant = f"; did you mean {group}={near[0]}?" if near else ""
        raise ConfigError(f"{group}={name}: expected one of {', '.join(options(group))}{meant}")
    with config_folder():
        node = _option(group, name)
    return _table(f"{group}={name}", _with_comments(group, name, _settings(node, schema_below(None, "", node), "")))


def reference() -> Iterator[tuple[str, list[tuple[str, str, list[Setting]]]]]:
    """All groups, and of each its kinds of options: a name, what it is, its settings. Options that differ in values
    alone are named by the kind that they are of; the first group, `run`, is of settings that every run has.
    """
    with config_folder():
        root: Any = OmegaConf.to_container(compose("train", ["experiment=ppo/cartpole"]), resolve=False)
        alone = {key: value for key, value in root.items() if key not in (*REQUIRED_GROUPS, "learners", "defaults")}
        yield "run", [("", (TrainConfig.__doc__ or "").strip(), list(_settings(alone, TrainConfig, "")))]
        for group in (*REQUIRED_GROUPS, "env", "learners"):
            kinds: dict[Any, list[str]] = {}
            nodes = {}
            for name in options(group):
                try:
                    nodes[name] = _option(group, name)
                except HydraException:  # one that is a part of another choice, such as none
                    continue
                schema = schema_below(None, "", nodes[name])
                kinds.setdefault(schema or nodes[name].get("_target_", name), []).append(name)
            out = []
            for kind, names in kinds.items():
                schema = kind if isinstance(kind, type) else None
                registered = (name for name in names if GROUP_SCHEMAS.get(group, {}).get(name) is schema)
                first = next(registered, names[0]) if schema is not None else names[0]
                says = " ".join((schema.__doc__ or "").split("\n\n")[0].split()) if schema is not None else ""
                others = [f"`{name}`" for name in names if name != first]
                if others:
                    says += f" Also: {', '.join(others)}, which are of its kind with other values."
                out.append((first, says.strip(), _with_comments(group, first, _settings(nodes[first], schema, ""))))
            yield group, out


def _with_comments(group: str, name: str, settings: Iterable[Setting]) -> list[Setting]:
    """Settings of what has no schema, as others' classes, with the comments of its YAML for meanings."""
    path = next((path for folder in conf_folders() if (path := folder / group / f"{name}.yaml").is_file()), None)
    said = dict(re.findall(r"^(\w+):[^#\n]*#\s*(.+)$", path.read_text(), re.MULTILINE)) if path is not None else {}
    return [
        replace(item, info=SettingInfo(said[item.key])) if item.info is None and item.key in said else item
        for item in settings
    ]


def run_report(outputs: Path, wanted: str, full: bool = False) -> str:
    """What a run is, what came of it, and its settings: those that differ from their groups' own, with where each was
    set.

    Args:
        outputs: folder of runs.
        wanted: signature of the run, the beginning of one, or its folder.
        full: all settings.

    Raises:
        ConfigError: when there is no such run.
    """
    folder = find_run(outputs / "runs", wanted)
    record, stored = folder.load(), folder.config()
    if record is None:
        raise ConfigError(f"run {folder.path}: it has no record")
    given = [word for word in shlex.split(record.command)[1:] if "=" in word and not word.startswith("-")]
    keys = {word.lstrip("+~").partition("=")[0] for word in given}
    parts, differing, total = [about(folder, record, full)], list[Setting](), 0
    with config_folder():
        try:
            choices = compose("train", given, return_hydra_config=True).hydra.runtime.choices
        except HydraException as error:  # of a version with other groups or keys
            reason = str(error).splitlines()[0]
            said = f"its command does not compose here ({reason}); its settings are in {folder.path / 'config.yaml'}"
            return f"{parts[0]}\n\n{said}"
        for group, node in {
            **{group: stored[group] for group in REQUIRED_GROUPS},
            "env": stored["datamodule"].get("env"),
        }.items():
            if not isinstance(node, Mapping) or choices.get(group) is None:
                continue
            where = ENV if group == "env" else group
            usual = {item.key: item.value for item in _settings(_option(group, choices[group]), None, "")}
            items = []
            for item in _settings(node, schema_below(None, "", node), ""):
                default = item.key in usual and _same(usual[item.key], item.value)
                set_by = "override" if f"{where}.{item.key}" in keys else "default" if default else "preset"
                items.append(replace(item, set_by=set_by))
            total += len(items)
            differing += [replace(each, key=f"{where}.{each.key}") for each in items if each.set_by != "default"]
            if full:
                parts.append(_table(f"{group}={choices[group]}", items))
    if not full:
        chosen = " ".join(f"{group}={choices[group]}" for group in (*REQUIRED_GROUPS, "env") if choices.get(group))
        differing.sort(key=lambda item: item.set_by != "override")
        title = f"{chosen}\nsettings that differ from the defaults of these:"
        where = "" if outputs == Path("outputs") else f" --outputs {shlex.quote(str(outputs))}"
        others = f"{total - len(differing)} more, and all numbers: visagent-info run={folder.path.name} --full{where}"
        parts.append(f"{_table(title, differing) if differing else f'{title} none'}\n{others}")
    return "\n\n".join(parts)


def about(folder: RunFolder, record: Record, full: bool) -> str:
    """What a run is and what came of it, in lines; of many numbers the first ones, unless it is to be `full`."""
    steps = f"{record.env_steps:,} env steps, " if record.env_steps else ""
    rows = {
        "state": shown_state(folder, record).lower() + (f": {record.error.splitlines()[-1]}" if record.error else ""),
        "name": f"{record.name}, seed {record.seed}, {record.scale} scale",
        "command": record.command,
        "folder": str(folder.path),
        "begun, ended": f"{record.created}, {record.finished or 'not yet'}",
        "took": f"{counted(len(record.history), 'epoch')}, {steps}{span(record.seconds)}"
        + (f", {record.attempts} attempts" if record.attempts > 1 else ""),
        "machine": ", ".join(f"{key} {value}" for key, value in record.hardware.items()),
        "commit": record.commit,
        "tested": what_was_tested(record).removeprefix("tested: "),
        "page": str(folder.page) if folder.page.is_file() else "",
    }
    lines = [record.signature, *(f"  {key:14}{without_credentials(value)}" for key, value in rows.items() if value)]
    key = headline(record)
    names = sorted(record.metrics, key=lambda name: key is None or name != key[0])[: None if full else FITS]
    width = max([14, *(len(name) + 2 for name in names)])
    lines += [f"  {name:{width}}{shown(record.metrics[name])}" for name in names]
    left = len(record.metrics) - len(names)
    return "\n".join([*lines, *([f"  and {counted(left, 'more number')}"] if left else [])])


def _option(group: str, name: str) -> dict[Any, Any]:
    """What an option of a group has by itself, interpolations unresolved."""
    config = compose("train", [*(["datamodule=rollouts"] if group == "env" else []), f"{group}={name}"])
    node = OmegaConf.to_container(OmegaConf.select(config, ENV if group == "env" else group), resolve=False)
    assert isinstance(node, dict)
    return node


def _settings(node: Mapping[Any, Any], schema: type | None, prefix: str) -> Iterator[Setting]:
    """The settings of a config and of what is nested in it, in the order of the schema's fields; worlds are a group of
    their own.
    """
    declared = {item.name: info_of(item) for item in fields(schema)} if schema is not None else {}
    order = {name: number for number, name in enumerate(declared)}
    for key in sorted(node, key=lambda name: order.get(name, len(order))):
        value = node[key]
        if str(key).startswith("_") or (key == "env" and isinstance(value, Mapping)):
            continue
        if isinstance(value, Mapping) and value:
            yield from _settings(value, schema_below(schema, str(key), value), f"{prefix}{key}.")
        else:
            yield Setting(f"{prefix}{key}", value, declared.get(key))


def _same(usual: Any, value: Any) -> bool:
    """Whether a resolved value may be what an option has by itself."""
    return bool(usual == value) or (isinstance(usual, str) and "${" in usual)


def _table(title: str, settings: Sequence[Setting]) -> str:
    """Names, values, where they were set, bounds, and meanings, wrapped to the terminal: in columns, or, where these
    would be too narrow, each setting above its meaning.
    """
    if not settings:
        return f"{title}\n  no settings but the arguments of its class"
    rows = []
    for item in settings:
        rows.append([item.key, item.shown, item.set_by, item.info.bounds if item.info else "", _meaning(item.info)])
    widths = [max([len(row[column]) for row in rows] or [0]) for column in range(4)]
    used = sum(width + 2 for width in widths if width) + 2
    width = shutil.get_terminal_size((160, 24)).columns
    room, lines = width - used, [title]
    if room < NARROWEST:
        for key, value, set_by, bounds, meaning in rows:
            said = "  ".join(part for part in (f"{key}={value}", set_by, bounds) if part)
            lines += textwrap.wrap(said, width, initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False)
            lines += textwrap.wrap(meaning, width, initial_indent="      ", subsequent_indent="      ")
        return "\n".join(lines)
    for *cells, meaning in rows:
        head = "  " + "".join(f"{cell:{width}}  " for cell, width in zip(cells, widths, strict=True) if width)
        first, *more = textwrap.wrap(meaning, room) or [""]
        lines += [(head + first).rstrip(), *(" " * len(head) + line for line in more)]
    return "\n".join(lines)


def _meaning(info: SettingInfo | None) -> str:
    if info is None:
        return ""
    return f"{info.meaning} ({info.symbol})" if info.symbol else info.meaning
