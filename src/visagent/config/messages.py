"""What to say when a command line does not compose."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from hydra.errors import OverrideParseException

from visagent.config.keys import composed_keys
from visagent.config.presets import presets
from visagent.config.settings import OURS, signature_keys

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
    text = "\n".join(line for line in text.splitlines() if not line.startswith("To append to your config")).split("\nConfig search path")[0].rstrip()
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, text, root)
    if (found := re.search(r"Could not override '([^']+)'", text)) and root is not None:
        return _unknown(found.group(1), text, root)
    if found := re.search(r"An item is already at '([^']+)'", text):
        return f"{found.group(1)} is set already: type {found.group(1)}=VALUE, without a plus"
    if found := re.search(r"Error merging override (~\S+)\n.*does not support deletion", text):
        return f"{found.group(1)}: this setting cannot be left out; expected {found.group(1)[1:]}=VALUE"
    if found := re.search(r"In '([^']+)/([^'/]+)': ConfigKeyError raised while composing config:\s*Key '([^']+)' not in '(\w+)'", text):
        group, option, key, schema = found.groups()
        there = group.removeprefix("schema/")
        return (
            f"{there}={option} sets {key}, for which there is no place in {schema}: these groups do not go together; "
            "leave one of them out, or start from a preset that has both (experiment=NAME; --help lists them)"
        )
    if found := re.search(r"Could not find 'experiment/([^']*)'", text):
        own = [f"{folder}/{name}" for folder in re.findall(r"Available options in 'experiment/([^']+)'", text) for name in _listed(text)]
        near = difflib.get_close_matches(found.group(1), [*presets(), *own], 1, cutoff=0.4)
        text = f"unknown preset experiment={found.group(1)}" + (f"; did you mean experiment={near[0]}?" if near else "")
        return f"{text}\npresets: {', '.join([*presets(), *own])}; those of your own need --config-dir DIR"
    if found := re.search(r"Could not find '([^']+)/([^'/]*)'", text):
        near = difflib.get_close_matches(found.group(2), _listed(text), 1, cutoff=0.4)
        return text + (f"\ndid you mean {near[0]}?" if near else "")
    return "\n".join(line for line in text.splitlines() if not re.match(r"\s+(full_key|object_type|reference_type)[:=]", line))


def _listed(text: str) -> list[str]:
    return re.findall(r"^\t(\S+)$", text, re.MULTILINE)


def _unreadable(wrong: str, text: str, root: str | None) -> str:
    if "=" not in wrong:
        return f"expected KEY=VALUE, got {wrong!r}" + (f"; type run={wrong}" if root in ("evaluate", "export") else "")
    return f"cannot read {wrong!r} ({text.splitlines()[0]}): put quotes within the shell's quotes around a value with spaces or signs, 'KEY=\"a b(c\"'"


def _unknown(path: str, text: str, root: str) -> str:
    """For a key that is not in the composed config: what is like it, or how it is set where it may be."""
    known = composed_keys(root, sys.argv[1:], path)
    open_parent = next((p for p, (empty, _) in known.items() if empty and path.startswith(f"{p}.")), None)
    if open_parent is not None:
        return f"{path!r} is not set yet, and {open_parent} takes any key: type +{path}=..."
    parent, _, leaf = path.rpartition(".")
    target = known.get(f"{parent}._target_", (False, None))[1]
    arguments = [name for name in (signature_keys(target) or () if isinstance(target, str) else ()) if not (parent == "trainer" and name in OURS)]
    if leaf in arguments:
        return f"{path!r} is not set yet, but {target} takes it: type +{path}=..."
    if parent == "trainer" and leaf in OURS:
        return f"{path!r}: visagent sets it itself; {OURS[leaf]}"
    return f"unknown config key {path!r}" + (_like(path, {key: key in known for key in [*known, *(f"{parent}.{name}" for name in arguments)]}) or f"\n{text}")


def _like(path: str, known: Mapping[str, bool]) -> str | None:
    """A hint at keys that are like one, with the plus that those need which are not set yet."""
    parent, _, leaf = path.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == parent}
    if near := difflib.get_close_matches(leaf, siblings, 1, cutoff=NEAR):
        found = [siblings[near[0]]]
    elif elsewhere := [key for key in known if key.rpartition(".")[2] == leaf]:
        found = elsewhere[:3]
    else:
        found = difflib.get_close_matches(path, [key for key in known if "." in key], 1, cutoff=0.85)
    if found:
        return f"; did you mean {' or '.join(key if known[key] else f'+{key}' for key in found)}?"
    there = _names(siblings)
    return f"; known in {parent}: {there}" if there and parent else None


def _names(found: Iterable[str]) -> str:
    return ", ".join(sorted(name for name in found if not name.startswith("_")))


def undecodable(arguments: Iterable[str], error: UnicodeDecodeError) -> str:
    """For a file of the user's config folder that is not UTF-8: which."""
    given = list(arguments)
    folders = [value for name, value in pairwise(given) if name in ("--config-dir", "-cd")]
    folders += [argument.partition("=")[2] for argument in given if argument.startswith("--config-dir=")]
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*.yaml")):
        try:
            path.read_bytes().decode()
        except UnicodeDecodeError as found:
            return f"{path}: expected UTF-8, got byte {found.object[found.start]:#x} at {found.start}; save it as UTF-8"
    return f"a file is not UTF-8 ({error})"
