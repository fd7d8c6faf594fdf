"""The installed commands in processes of their own, and what the only run of an outputs folder left.

A command's cold start imports torch, Lightning and MLflow: ten seconds of a processor. Here it is forked from a server
that has imported them; in all else it is a process as a user starts it: its own session, signals, environment, folder
and end. `cold=True` starts the installed script itself.
"""

from __future__ import annotations

import atexit
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

import torch

from chromium import wait_for

BIN = Path(sys.executable).parent
PRELOADED = [
    "visagent.cli",
    "visagent.runtime.fitting",
    "visagent.runtime.train",
    "visagent.runtime.evaluate",
    "visagent.runtime.mlflow_logger",
    "visagent.tables.command",
    "hydra._internal.hydra",
    "pytorch_lightning",
    "mlflow.tracking",
    "matplotlib.pyplot",
    "lightning_modules.behaviour_cloning",
    "lightning_modules.ppo",
    "lightning_modules.ddpg",
    "lightning_modules.option_mappo",
    "lightning_modules.action_recognition",
]
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(PRELOADED)
_numbers = itertools.count()


@cache
def _shown() -> tempfile.TemporaryDirectory:
    """Where what commands say is kept, until the tests end."""
    return tempfile.TemporaryDirectory(prefix="visagent-commands-")


def _become(
    command: str, arguments: tuple[str, ...], folder: str, environment: Mapping[str, str], shown: tuple[Path, Path]
) -> None:
    """Be the command: what the installed script does, in a session of its own."""
    os.setsid()
    for number, path in enumerate(shown, start=1):
        with path.open("a") as file:
            os.dup2(file.fileno(), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    multiprocessing.process._parent_process = None  # a command has none
    sys.argv = [str(BIN / command), *arguments]
    (entry,) = entry_points(group="console_scripts", name=command)
    try:
        entry.load()()
    finally:
        # What an interpreter does at its end; multiprocessing waits for workers before that, and skips the rest.
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()


class Command:
    """A command that has been started.

    Args:
        command: its name.
        arguments: of it.
        cwd: its working directory; None for the tests' own.
        cold: start the installed script, which imports everything itself.
    """

    def __init__(self, command: str, *arguments: str, cwd: Path | None = None, cold: bool = False) -> None:
        self._out, self._err = (Path(_shown().name, f"{next(_numbers)}.{ending}") for ending in ("out", "err"))
        folder, environment = str(cwd or Path.cwd()), dict(os.environ)
        self._cold = self._forked = None
        if cold:
            script = [str(BIN / command), *arguments]
            with self._out.open("w") as out, self._err.open("w") as err:
                self._cold = subprocess.Popen(
                    script, cwd=folder, env=environment, stdout=out, stderr=err, start_new_session=True
                )
        else:
            self._forked = _server.Process(
                target=_become, args=(command, arguments, folder, environment, (self._out, self._err))
            )
            self._forked.start()

    @property
    def pid(self) -> int:
        return (self._cold or self._forked).pid

    def wait(self, timeout: float = 600) -> SimpleNamespace:
        """Its `returncode`, `stdout` and `stderr`, once it has ended."""
        if self._cold is not None:
            code: int | None = self._cold.wait(timeout)
        else:
            self._forked.join(timeout)
            code = self._forked.exitcode
        assert code is not None, f"the command goes on after {timeout} s"
        # one that was killed at once has said nothing
        out, err = (path.read_text() if path.exists() else "" for path in (self._out, self._err))
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *error: object) -> None:
        """A command whose test has failed does not go on."""
        if (self._cold.poll() if self._cold is not None else self._forked.exitcode) is None:
            self.end()

    def end(self, number: signal.Signals = signal.SIGKILL, all_of_it: bool = True) -> SimpleNamespace:
        """Send a signal to its session, or to itself alone, and wait."""
        (os.killpg if all_of_it else os.kill)(self.pid, number)
        return self.wait()


def run(
    command: str, *arguments: str, check: bool = True, cwd: Path | None = None, cold: bool = False
) -> SimpleNamespace:
    """A command's `returncode`, `stdout` and `stderr`.

    Raises:
        AssertionError: with all that it said, when `check` and it fails.
    """
    done = Command(command, *arguments, cwd=cwd, cold=cold).wait()
    if check and done.returncode != 0:
        raise AssertionError(
            f"{command} {arguments} exited with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    return done


def kill_when(is_so: Callable[[], bool], command: str, *arguments: str, cold: bool = False) -> None:
    """Start a command, and kill all of it, once something is so, outright."""
    started = Command(command, *arguments, cold=cold)
    try:
        wait_for(is_so, f"{command} to come so far", 240, every=0.005)
    finally:
        started.end()


def records(outputs: Path) -> list[dict]:
    """The records of an outputs folder's runs."""
    return [json.loads(path.read_text()) for path in sorted(Path(outputs).glob("runs/*/record.json"))]


def record(outputs: Path) -> dict:
    """That of the only run."""
    (only,) = records(outputs)
    return only


def checkpoint(outputs: Path) -> dict:
    """The last checkpoint of the only run."""
    (path,) = Path(outputs).glob("runs/*/checkpoints/last.ckpt")
    return torch.load(path, weights_only=True)
