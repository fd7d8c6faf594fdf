"""What to say when a command line does not compose."""

from __future__ import annotations

import difflib
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from hydra.errors import OverrideParseException

from visagent.config.keys import composed_keys
from visagent.config.presets import groups, presets
from visagent.config.quoting import quoted
from visagent.config.registry import missing_values
from visagent.config.schemas import schema_of
from visagent.config.settings import today
from visagent.config.trainer_settings import OURS, signature_keys

KEY_IN_QUOTES = re.compile(r"([{,]\s*)(['\"])(.*?)\2\s*:")
WRONG_TYPES = (
    (r"^Value '(?P<got>.*)' of type '\w+' could not be converted to Float", "a number", "0.5"),
    (r"^Value '(?P<got>.*)' of type '\w+' could not be converted to Integer", "a whole number", "1"),
    (r"^Value '(?P<got>.*)' is not a valid bool", "true or false", "true"),
    (r"is not a ListConfig, list or tuple", "a list", "[1,2]"),
    (r"^Cannot assign \w+ to Dict", "a list of dicts, each with a name and its settings", "[{name: NAME}]"),
    (r"^field '.*' is not Optional", "a value, which it cannot do without", "VALUE"),
)
"""What OmegaConf says of values of other types than their settings', what is expected, and an example."""
NEAR = 0.7
"""Names less alike than this are no slips of one another."""


def composition_message(error: Exception, root: str | None) -> str:
    """Hydra's message for a command line that does not compose, shortened, with the nearest known key or option.

    Args:
        error: what Hydra or OmegaConf raised.
        root: `train` or `evaluate`, or None outside the Hydra commands.
    """
    text = str(error).strip()
    if isinstance(error.__cause__, Exception) and str(error.__cause__) not in text:
        text += f"\n{error.__cause__}"
    text = (
        "\n".join(line for line in text.splitlines() if not line.startswith("To append to your config"))
        .split("\nConfig search path")[0]
        .rstrip()
    )
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, text, root)
    if match := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^=]+)=(.*)'", text):
        key, values = match.groups()
        swept = shlex.quote(f"{key}={values}") if re.search(r"[(){}$*?\s]", values) else f"{key}={values}"
        listed = text.startswith("Ambiguous") and key.lstrip("+~") not in groups()
        alone = f"; where it is a list, {shlex.quote(f'{key}=[{values}]')}" if listed else ""
        return f"{key}={values}: several values are a sweep, a run for each: type -m {swept}{alone}"
    if (match := re.search(r"Could not override '([^']+)'", text)) and root is not None:
        return _unknown(match.group(1), root)
    if match := re.search(r"An item is already at '([^']+)'", text):
        return f"{match.group(1)} is set already: type {match.group(1)}=VALUE, without a plus"
    if match := re.search(r"Error merging override (~\S+)\n.*does not support deletion", text):
        return f"{match.group(1)}: this setting cannot be left out; expected {match.group(1)[1:]}=VALUE"
    if match := re.search(r"Error merging override \+{0,2}([\w.]+)=(.*)\n(.*)", text):
        key, value, reason = match.groups()
        for said, kind, example in WRONG_TYPES:
            if found := re.search(said, reason):
                got = found.groupdict().get("got", value)
                return f"{key}: expected {kind}, got {got}; for example {shlex.quote(f'{key}={example}')}"
    if match := re.search(
        r"In '([^']+)/([^'/]+)': ConfigKeyError raised while composing config:\s*Key '([^']+)' not in '(\w+)'", text
    ):
        group, option, key, schema = match.groups()
        there = group.removeprefix("schema/")
        return (
            f"{there}={option} sets {key}, for which there is no place in {schema}: these groups do not go together; "
            "leave one of them out, or start from a preset that has both (experiment=NAME; --help lists them)"
        )
    if match := re.search(r"Could not find 'experiment/([^']*)'", text):
        folders = [Path(folder) / "experiment" for folder in own_folders(sys.argv[1:])]
        own = sorted(
            path.relative_to(folder).with_suffix("").as_posix() for folder in folders for path in folder.rglob("*.yaml")
        )
        near = difflib.get_close_matches(match.group(1), [*presets(), *own], 1, cutoff=NEAR)
        text = f"unknown preset experiment={match.group(1)}" + (f"; did you mean experiment={near[0]}?" if near else "")
        return (
            f"{text}\npresets of {', '.join(dict.fromkeys(name.partition('/')[0] for name in [*presets(), *own]))} are "
            "listed by visagent-train --help; those of a folder of your own need --config-dir DIR, those of a package "
            "that it be installed"
        )
    if match := re.search(r"Could not find '([^']+)/([^'/]*)'", text):
        group, option = match.groups()
        if lacking := missing_values(group, option):
            return (
                f"{group}={option}: its schema has no value of {', '.join(lacking)}: give them one (default=...), or "
                f"write conf/{group}/{option}.yaml, which begins with\ndefaults:\n  - /schema/{group}@_here_: {option}"
                "\n  - _self_"
            )
        there = [name for name in re.findall(r"^\t(\S+)$", text, re.MULTILINE) if name[0] != "_"]  # no shared parts
        near = difflib.get_close_matches(option, there, 1, cutoff=0.6)
        meant = f"did you mean {group}={near[0]}?\n" if near else ""
        return f"{group}={option}: there is no such option; {meant}{group} is one of {', '.join(there)}"
    return "\n".join(
        line for line in text.splitlines() if not re.match(r"\s+(full_key|object_type|reference_type)[:=]", line)
    )


def _unreadable(wrong: str, text: str, root: str | None) -> str:
    if "=" not in wrong:
        if root in ("evaluate", "export"):
            return f"expected KEY=VALUE, got {wrong!r}; type run={wrong}"
        return f"expected KEY=VALUE, got {wrong!r}" + (f"; type experiment={wrong}" if wrong in presets() else "")
    key, _, value = wrong.partition("=")
    said = f"cannot read {wrong!r} ({text.splitlines()[0]})"
    parent, _, leaf = key.rpartition(".")
    if parent and leaf[:1].isdigit():
        return (
            f"{said}: a key that begins with a digit stands in a dict; type "
            f"{_in_shell(f'{parent}={{{leaf}: {value}}}')}"
        )
    if KEY_IN_QUOTES.search(value):
        plain = KEY_IN_QUOTES.sub(
            lambda match: match.group(1) + re.sub(r"[^\w.-]", lambda sign: f"\\{sign.group()}", match.group(3)) + ":",
            value,
        )
        return (
            f"{said}: keys of a dict have no quotes, their signs have backslashes; type {shlex.quote(f'{key}={plain}')}"
        )
    if value[:1] in "[{'\"" or "," in value:  # meant as a list, a dict, a sweep or a text, with a slip in it
        return (
            f"{said}: lists are KEY=[a,b], dicts KEY={{a: 1}}; text with spaces or signs has quotes within the "
            "shell's, 'KEY=\"a b(c\"'"
        )
    return (
        f"{said}: text with spaces or signs has quotes within the shell's; type {_in_shell(f'{key}={quoted(value)}')}"
    )


def _in_shell(word: str) -> str:
    """A word for the shell; Hydra's quotes are single, so double ones around it read best."""
    return shlex.quote(word) if re.search(r'["$`\\!]', word) else f'"{word}"'


def _unknown(path: str, root: str) -> str:
    """The message for a key that is not in the composed config: what is like it, or how to set it."""
    known = composed_keys(root, sys.argv[1:], path)
    if path in known:  # what was given is not: a key within it
        return f"{path} is a dict of settings: type +{path}.KEY=VALUE for one that it has not yet"
    open_parent = next((p for p, (empty, _) in known.items() if empty and path.startswith(f"{p}.")), None)
    if open_parent is not None:
        return f"{path!r} is not set yet, and {open_parent} takes any key: type +{path}=..."
    parent, _, leaf = path.rpartition(".")
    target = known.get(f"{parent}._target_", (False, None))[1]
    now = today(schema_of(target)).get(leaf) if isinstance(target, str) else None
    if now is not None:
        return f"{path!r} is called {parent}.{now} now: type {parent}.{now}=..."
    arguments = [
        name
        for name in (signature_keys(target) or () if isinstance(target, str) else ())
        if not (parent == "trainer" and name in OURS)
    ]
    if leaf in arguments:
        return f"{path!r} is not set yet, but {target} takes it: type +{path}=..."
    if parent == "trainer" and leaf in OURS:
        return f"{path!r}: visagent sets it itself; {OURS[leaf]}"
    near = difflib.get_close_matches(path, [*groups(), *(key for key in known if "." not in key)], 1, cutoff=NEAR)
    if near and near[0] in groups() and near[0] not in known:
        return f"unknown config key {path!r}; did you mean {near[0]}=...?"
    return (
        f"unknown config key {path!r}; "
        f"{_like(path, {key: key in known for key in [*known, *(f'{parent}.{name}' for name in arguments)]})}"
    )


def _like(path: str, known: Mapping[str, bool]) -> str:
    """A hint at keys that are like one, with the plus that those need which are not set yet; else what there is in its
    place.
    """
    parent, _, leaf = path.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == parent}
    near = [siblings[name] for name in difflib.get_close_matches(leaf, siblings, 1, cutoff=NEAR)]
    if not near and parent not in known:  # a key of its own group may be called alike and be another thing
        same = [key for key in known if key.rpartition(".")[2] == leaf]
        near = (
            same[:3]
            if not parent
            else [key for key in same if difflib.SequenceMatcher(None, key.rpartition(".")[0], parent).ratio() >= NEAR][
                :1
            ]
        )
    if near:
        return f"did you mean {' or '.join(key if known[key] else f'+{key}' for key in near)}?"
    there = ", ".join(sorted(name for name in siblings if not name.startswith("_")))
    if parent and not there:
        return f"there is no {parent} in this config; --cfg job shows all of it"
    return f"known {f'in {parent}' if parent else 'here'}: {there}"


def own_folders(arguments: Sequence[str]) -> list[str]:
    """The user's own config folders on a command line."""
    folders = [value for name, value in pairwise(arguments) if name in ("--config-dir", "-cd")]
    return folders + [argument.partition("=")[2] for argument in arguments if argument.startswith("--config-dir=")]


def undecodable(arguments: Iterable[str], error: UnicodeDecodeError) -> str:
    """The message for a file of the user's config folder that is not UTF-8; it names the file."""
    for path in sorted(path for folder in own_folders(list(arguments)) for path in Path(folder).rglob("*.yaml")):
        try:
            path.read_bytes().decode()
        except UnicodeDecodeError as found:
            return f"{path}: expected UTF-8, got byte {found.object[found.start]:#x} at {found.start}; save it as UTF-8"
    return f"a file is not UTF-8 ({error})"
