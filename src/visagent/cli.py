"""The commands. Hydra and argparse parse; torch and lightning are imported only once there is something to do."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from omegaconf import DictConfig


def train() -> None:
    """Entry point of `visagent-train`."""
    _hydra("train", _train_task)


def evaluate() -> None:
    """Entry point of `visagent-evaluate`."""
    # The run has these settings, the root that Hydra composes has none: to Hydra they are new ones.
    sys.argv = [sys.argv[0], *(f"++{argument}" if re.match(r"(datamodule|trainer)\.[\w.]+=", argument) else argument for argument in sys.argv[1:])]
    _hydra("evaluate", _evaluate_task)


def export() -> None:
    """Entry point of `visagent-export`."""
    _hydra("export", _export_task)


def table() -> None:
    """Entry point of `visagent-table`."""
    sys.exit(_guarded(_table, "train"))


def info() -> None:
    """Entry point of `visagent-info`."""
    from visagent.runtime.info import main

    sys.exit(_guarded(main))


def scenes() -> None:
    """Entry point of `visagent-scenes`."""
    from visagent.scenes.command import main

    sys.exit(_guarded(main))


def videos() -> None:
    """Entry point of `visagent-videos`."""
    from visagent.video.command import main

    sys.exit(_guarded(main))


def demos() -> None:
    """Entry point of `visagent-demos`."""
    from visagent.runtime.demonstrations import main

    sys.exit(_guarded(main))


def _train_task(config: DictConfig) -> None:
    from visagent.runtime.multirun import refuse_local_ddp, settle_in_worker
    from visagent.runtime.train import train as run

    refuse_local_ddp(config)
    settle_in_worker()
    run(config)


def _evaluate_task(config: DictConfig) -> None:
    from visagent.runtime.evaluate import evaluate as run

    run(config)


def _export_task(config: DictConfig) -> None:
    from visagent.runtime.export import export as run

    run(config)


def _table() -> int:
    from visagent.tables.command import launching, look, parse, render, sweep_arguments

    asked = parse(sys.argv[1:])
    if asked is None:
        return 0
    results = look(asked)
    if asked.run and results.to_launch:
        with launching(results):
            sys.argv = [sys.argv[0], *sweep_arguments(asked, results)]
            _hydra("train", _train_task)
        results = look(asked)
    return render(asked, results)


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

    from visagent.errors import UserError, machine_message

    try:
        return main() or 0
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        from visagent.config.messages import composition_message

        _fail(f"error: {error}" if isinstance(error, UserError) else f"error: {composition_message(error, root)}")
    except OSError as error:
        message = machine_message(error)
        if wants_traceback or message is None:
            raise
        _fail(f"error: {message}")
    except KeyboardInterrupt as stop:
        print("stopped; the same command resumes at the last finished epoch", file=sys.stderr)
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))


def _fail(message: str) -> NoReturn:
    from visagent.runtime.credentials import without_credentials

    print(without_credentials(message), file=sys.stderr)
    sys.exit(2)
