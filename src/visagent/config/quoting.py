"""Text as a value on a command line: what is typed is read back by Hydra as that text, whatever signs are in it."""

from __future__ import annotations

import re

WORD = re.compile(r"[A-Za-z_./][\w./@%+-]*", re.ASCII)
SPECIAL = re.compile(r"null|true|false|inf|nan", re.IGNORECASE)


def quoted(text: str) -> str:
    """A value for an override or for an element of a list in one; quoted where Hydra would read anything but this text.

    The shell has quotes of its own: `shlex.join` puts those around.
    """
    if WORD.fullmatch(text) and not SPECIAL.fullmatch(text):
        return text
    literal = re.sub(r"(\\*)\$\{", lambda match: 2 * match.group(1) + r"\${", text)
    ended = re.sub(r"(\\*)('|\Z)", lambda match: 2 * match.group(1) + (r"\'" if match.group(2) else ""), literal)
    return f"'{ended}'"


def plain(value: object) -> str:
    """A value as YAML has it, for people to read."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
