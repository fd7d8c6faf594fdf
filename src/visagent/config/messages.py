"""What to say when a command line does not compose."""

from __future__ import annotations

import difflib
import re
import sys

from hydra.errors import OverrideParseException

from visagent.config.keys import composed_keys
from visagent.config.presets import presets


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
        wrong = error.override
        if "=" not in wrong:
            return f"expected KEY=VALUE, got {wrong!r}" + (f"; type run={wrong}" if root == "evaluate" else "")
        return f"cannot read {wrong!r} ({text.splitlines()[0]}): put quotes within the shell's quotes around a value with spaces or signs, 'KEY=\"a b(c\"'"
    if (found := re.search(r"Could not override '([^']+)'", text)) and root is not None:
        path = found.group(1)
        known = composed_keys(root, sys.argv[1:], path)
        open_parent = next((p for p in known if known[p] and path.startswith(f"{p}.")), None)
        if open_parent is not None:
            return f"{path!r} is not set yet, and {open_parent} takes any key: type +{path}=..."
        near = difflib.get_close_matches(path, known, 1, cutoff=0.6)
        text = f"unknown config key {path!r}" + (f"; did you mean {near[0]}?" if near else f"\n{text}")
    elif found := re.search(r"Could not find 'experiment/([^']+)'", text):
        near = difflib.get_close_matches(found.group(1), presets(), 1, cutoff=0.4)
        text = f"unknown preset experiment={found.group(1)}" + (f"; did you mean experiment={near[0]}?" if near else "")
        text += f"\npresets: {', '.join(presets())}"
    elif found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        near = difflib.get_close_matches(found.group(2), options, 1, cutoff=0.4)
        text += f"\ndid you mean {near[0]}?" if near else ""
    return text
