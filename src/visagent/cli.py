"""The commands. Hydra and argparse parse; torch and lightning are imported only once there is something to do."""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from omegaconf import DictConfig


def train() -> None:
    """Entry point of `visagent-train`."""
    short = {"--watch": "progress=watch"}
    given = [short.get(argument, argument) for argument in _allowing(sys.argv[1:])]
    sys.argv[1:] = [re.sub(r"^init_from=", "network.weights=run:", argument) for argument in given]
    _hydra("train", _train_task)


def evaluate() -> None:
    """Entry point of `visagent-evaluate`: of runs, or of weights from elsewhere, which a run without training tests."""
    given = sys.argv[1:]
    if any(argument.startswith("weights=") for argument in given):
        if any(argument.startswith("run=") for argument in given):
            _fail("error: got both run= and weights=; expected weights=run:SIGNATURE experiment=..., or run=SIGNATURE")
        command, *arguments = sys.argv  # recorded is the command that does the same
        sys.argv = [command.replace("visagent-evaluate", "visagent-train"), "training=false"]
        sys.argv += [f"network.{argument}" if argument.startswith("weights=") else argument for argument in arguments]
        train()
        return
    given = [re.sub(r"^run=([^\[\]{}'\"]+,.*)$", r"run=[\1]", argument) for argument in given]
    # The run has these settings, the root that Hydra composes has none: to Hydra they are new ones.
    settings = re.compile(r"(algorithm|network|datamodule|trainer)\.[\w.]+=")
    sys.argv[1:] = [f"++{argument}" if settings.match(argument) else argument for argument in _allowing(given)]
    _hydra("evaluate", _evaluate_task)


def export() -> None:
    """Entry point of `visagent-export`."""
    sys.argv[1:] = _allowing(sys.argv[1:])
    _hydra("export", _export_task)


def _allowing(arguments: Sequence[str]) -> list[str]:
    """`--allow-targets PREFIX` as the override that Hydra reads."""
    given, rest, waiting = [], [], iter(arguments)
    for argument in waiting:
        name, equals, value = argument.partition("=")
        if name != "--allow-targets":
            rest.append(argument)
            continue
        given.append(value if equals else next(waiting, ""))
        if re.fullmatch(r"[\w.]+", given[-1]) is None:
            _fail(
                "error: --allow-targets: expected the dotted name of a package, module or class, such as my_worlds, "
                f"got {given[-1] or 'nothing'!r}"
            )
    return [*rest, f"allow_targets=[{','.join(given)}]"] if given else rest


def table() -> None:
    """Entry point of `visagent-table`."""
    sys.exit(_guarded(_table, "train"))


def info() -> None:
    """Entry point of `visagent-info`."""
    sys.exit(_guarded(partial(_main_of, "visagent.runtime.info")))


def scenes() -> None:
    """Entry point of `visagent-scenes`."""
    sys.exit(_guarded(partial(_main_of, "visagent.scenes.command")))


def videos() -> None:
    """Entry point of `visagent-videos`."""
    sys.exit(_guarded(partial(_main_of, "visagent.video.command")))


def looks() -> None:
    """Entry point of `visagent-looks`."""
    sys.exit(_guarded(partial(_main_of, "visagent.runtime.looks")))


def analyse() -> None:
    """Entry point of `visagent-analyse`."""
    sys.exit(_guarded(partial(_main_of, "visagent.analyses.command")))


def compare() -> None:
    """Entry point of `visagent-compare`."""
    sys.exit(_guarded(partial(_main_of, "visagent.runtime.compare")))


def predict() -> None:
    """Entry point of `visagent-predict`."""
    sys.exit(_guarded(partial(_main_of, "visagent.runtime.predict")))


def mlflow_server() -> None:
    """Entry point of `visagent-mlflow-server`."""
    sys.exit(_guarded(partial(_main_of, "visagent.runtime.mlflow_server")))


def demos() -> None:
    """Entry point of `visagent-demos`."""
    sys.exit(_guarded(partial(_main_of, "visagent.runtime.demonstrations")))


def _main_of(module: str) -> int | None:
    """Imported where what goes wrong is told: extensions are loaded with it."""
    return importlib.import_module(module).main()  # type: ignore[no-any-return]


def _train_task(config: DictConfig) -> float | None:
    from hydra.core.hydra_config import HydraConfig

    from visagent.runtime.extending import extended
    from visagent.runtime.multirun import refuse_local_ddp, settle_in_worker
    from visagent.runtime.objective import objective_of
    from visagent.runtime.train import train as run

    refuse_local_ddp(config)
    settle_in_worker()
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    config = extended(config, list(given))
    return objective_of(run(config), config)  # type: ignore[arg-type]


def _evaluate_task(config: DictConfig) -> None:
    from visagent.runtime.evaluate import evaluate as run

    run(config)


def _export_task(config: DictConfig) -> None:
    from visagent.runtime.export import export as run

    run(config)


def _table() -> int:
    from visagent.tables.command import launching, look, parse, render, sweep_arguments

    asked = parse([_at_home(argument) for argument in sys.argv[1:]])
    if asked is None:
        return 0
    results = look(asked)
    if asked.run and results.to_launch:
        with launching(results):
            sys.argv = [sys.argv[0], *sweep_arguments(asked, results)]
            _hydra("train", _train_task)
        results = look(asked)
    if asked.run and results.to_analyse:
        from visagent.analyses.command import analyse_by_default

        for kind, run in results.to_analyse:
            analyse_by_default(kind, run.folder)
        results = look(asked)
    return render(asked, results)


def _hydra(root: str, task: Callable[[DictConfig], Any]) -> None:
    if {"--help", "-h"} & set(sys.argv[1:]):
        _guarded(partial(_help, root))
        return
    for argument in sys.argv[1:]:
        if (dashed := re.match(r"--(experiment|debug|seed|run|[a-z_]+\.[a-z_.]+)(=|$)", argument)) is not None:
            _fail(f"error: got {argument!r}; overrides have no dashes: type {dashed.group(1)}=VALUE")
        if any("\ud800" <= sign <= "\udfff" for sign in argument):
            _fail(f"error: got {argument!r}, which is not UTF-8; expected text that is")
    sys.argv[1:] = _flags_first([_at_home(argument) for argument in sys.argv[1:]])
    import hydra

    _guarded(_prepare)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Hydra would print its own message and exit: ours name the nearest key. A user's own HYDRA_FULL_ERROR keeps the
    # traceback.
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    main = hydra.main(version_base="1.3", config_path="pkg://visagent.conf", config_name=root)(task)
    _guarded(main, root, wants_traceback)


def _help(root: str) -> None:
    from visagent.config.help import help_text

    print(help_text(root))


def _prepare() -> None:
    from visagent.config.composition import refuse_empty_groups
    from visagent.config.schemas import register

    refuse_empty_groups(sys.argv[1:])
    register()


VALUED = {
    "--config-dir",
    "-cd",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--package",
    "-p",
    "--cfg",
    "-c",
    "--experimental-rerun",
}


def _flags_first(arguments: Sequence[str]) -> list[str]:
    """Flags before overrides: argparse, which Hydra uses, takes overrides that stand together alone."""
    flags, overrides, waiting = [], [], iter(arguments)
    for argument in waiting:
        if not argument.startswith("-"):
            overrides.append(argument)
            continue
        flags.append(argument)
        if argument in VALUED:
            flags += [value for value in [next(waiting, None)] if value is not None]
    return [*flags, *overrides]


PATHS = re.compile(
    r"\+{0,2}(paths\.\w+|run|output|checkpoint|[\w.]+\.(scenes|root|cache|demonstrations|initialize_from|extractor_weights|weights|dir))"
)


def _at_home(argument: str) -> str:
    """An override of a path with the home folder for `~`: the shell puts it there at the beginning of a word alone, and
    Hydra makes folders before we look.
    """
    key, equals, value = argument.partition("=")
    plain = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value
    if not equals or PATHS.fullmatch(key) is None or re.match(r"~(/|$)", plain) is None:
        return argument
    from visagent.config.quoting import quoted

    return f"{key}={quoted(os.path.expanduser(plain))}"  # noqa: PTH111 (a Path would lose a slash at the end)


def _guarded(main: Callable[[], int | None], root: str | None = None, wants_traceback: bool = False) -> int:
    """Run; print what a user can mend as one message and exit with 2."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from visagent.errors import UserError, machine_message

    try:
        try:
            status = main() or 0
        except SystemExit:
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read has read enough: head, or a pager that was left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        if wants_traceback:
            raise
        if isinstance(error, UserError):
            _fail(f"error: {error}", error.status)
        from visagent.config.messages import composition_message

        _fail(f"error: {composition_message(error, root)}")
    except YAMLError as error:
        if wants_traceback or root is None:
            raise
        _fail(f"error: a config file is no YAML: {error}")
    except UnicodeDecodeError as error:
        if wants_traceback or root is None:
            raise
        from visagent.config.messages import undecodable

        _fail(f"error: {undecodable(sys.argv[1:], error)}")
    except MemoryError as error:
        if wants_traceback:
            raise
        _fail(f"error: not enough memory for these settings ({error or 'no more was to be had'}): choose smaller ones")
    except OSError as error:
        message = machine_message(error)
        if wants_traceback or message is None:
            raise
        _fail(f"error: {message}")
    except KeyboardInterrupt as stop:
        print("stopped; the same command goes on, from the last finished epoch if there is one", file=sys.stderr)
        sys.exit(128 + (stop.args[0] if stop.args else signal.SIGINT))


def _fail(message: str, status: int = 2) -> NoReturn:
    from visagent.runtime.credentials import without_credentials

    print(without_credentials(message), file=sys.stderr)
    sys.exit(status)
