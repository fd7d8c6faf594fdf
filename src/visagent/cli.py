"""The commands. Hydra and argparse parse; torch and lightning are imported only once there is something to do."""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from omegaconf import DictConfig


def train() -> None:
    """Entry point of `visagent-train`."""
    _hydra("train", _train_task)


def evaluate() -> None:
    """Entry point of `visagent-evaluate`."""
    _hydra("evaluate", _evaluate_task)


def info() -> None:
    """Entry point of `visagent-info`."""
    from visagent.runtime.info import main

    sys.exit(_guarded(main))


def scenes() -> None:
    """Entry point of `visagent-scenes`."""
    from visagent.scenes.command import main

    sys.exit(_guarded(main))


def _train_task(config: DictConfig) -> None:
    from visagent.runtime.multirun import refuse_local_ddp
    from visagent.runtime.train import train as run

    refuse_local_ddp(config)
    run(config)


def _evaluate_task(config: DictConfig) -> None:
    from visagent.runtime.evaluate import evaluate as run

    run(config)


def _hydra(root: str, task: Callable[[DictConfig], None]) -> None:
    if {"--help", "-h"} & set(sys.argv[1:]):
        from visagent.config.help import help_text

        print(help_text(root))
        return
    for argument in sys.argv[1:]:
        if (dashed := re.match(r"--(experiment|debug|seed|run|[a-z_]+\.[a-z_.]+)(=|$)", argument)) is not None:
            _fail(f"error: got {argument!r}; overrides have no dashes: type {dashed.group(1)}=VALUE")
    import hydra

    from visagent.config.schemas import register

    register()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Hydra would print its own message and exit: ours name the nearest key. A user's own HYDRA_FULL_ERROR keeps the traceback.
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    main = hydra.main(version_base="1.3", config_path="pkg://visagent.conf", config_name=root)(task)
    _guarded(main, root, wants_traceback)


def _guarded(main: Callable[[], int | None], root: str | None = None, wants_traceback: bool = False) -> int:
    """Run; print what a user can mend as one message and exit with 2."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from visagent.errors import UserError

    try:
        return main() or 0
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        _fail(f"error: {error}" if isinstance(error, UserError) else _composition_message(error, root))
    except KeyboardInterrupt as stop:
        print("stopped; the same command resumes at the last finished epoch", file=sys.stderr)
        sys.exit(143 if stop.args else 130)


def _fail(message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(2)


def _composition_message(error: Exception, root: str | None) -> str:
    """Hydra's message, and the nearest known key or option."""
    from hydra.errors import OverrideParseException

    text = str(error).strip()
    if isinstance(error.__cause__, Exception) and str(error.__cause__) not in text:
        text += f"\n{error.__cause__}"
    text = "\n".join(line for line in text.splitlines() if not line.startswith("To append to your config")).split("\nConfig search path")[0].rstrip()
    bare = [argument for argument in sys.argv[1:] if "=" not in argument and not argument.startswith(("-", "~"))]
    if isinstance(error, OverrideParseException) and bare:
        return f"error: expected KEY=VALUE, got {bare[0]!r}" + (f"; type run={bare[0]}" if root == "evaluate" else "")
    if (found := re.search(r"Could not override '([^']+)'", text)) and root is not None:
        from visagent.config.keys import composed_keys

        path = found.group(1)
        known = composed_keys(root, sys.argv[1:], path)
        open_parent = next((p for p in known if known[p] and path.startswith(f"{p}.")), None)
        if open_parent is not None:
            return f"error: {path!r} is not set yet, and {open_parent} takes any key: type +{path}=..."
        near = difflib.get_close_matches(path, known, 1, cutoff=0.6)
        text = f"unknown config key {path!r}" + (f"; did you mean {near[0]}?" if near else f"\n{text}")
    elif found := re.search(r"Could not find 'experiment/([^']+)'", text):
        from visagent.config.presets import presets

        near = difflib.get_close_matches(found.group(1), presets(), 1, cutoff=0.4)
        text = f"unknown preset experiment={found.group(1)}" + (f"; did you mean experiment={near[0]}?" if near else "")
        text += f"\npresets: {', '.join(presets())}"
    elif found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        options = re.findall(r"^\t(\S+)$", text, re.MULTILINE)
        near = difflib.get_close_matches(found.group(2), options, 1, cutoff=0.4)
        text += f"\ndid you mean {near[0]}?" if near else ""
    return f"error: {text}"
