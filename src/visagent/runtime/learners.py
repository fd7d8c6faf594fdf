"""The learners of a run: the command's own process is the first, the others are processes of this machine.

Each has a run folder of its own, `learners/NUMBER` in the run's, with its record, log and checkpoints. MLflow, tests
and pictures are the first one's.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any

from visagent.errors import ConfigError, UserError
from visagent.runtime.building import make
from visagent.runtime.record import RunFolder
from visagent.seeding import derive_seed

log = logging.getLogger(__name__)
PRELOADED = [
    "visagent.runtime.fitting",
    "visagent.runtime.callbacks",
    "visagent.learning.learners",
    "pytorch_lightning",
]
"""What all learners import: once, by the process that they are forked from."""
STOP_SECONDS, WORDS_SECONDS, LOOK_SECONDS = 3.0, 5.0, 1.0
"""For a learner to end when it is told to; to say why it failed; between two looks at those that still learn."""
HERE = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where the learners of a run find each other.

    Attributes:
        host, port: of the first one's store.
        key: that they know and nobody else.
    """

    host: str
    port: int
    key: str


@dataclass
class Learner:
    """This process's part in a run of several learners.

    Attributes:
        number: 0 of the first.
        learners: how they keep together; see `visagent.learning.learners`.
        store: where they leave word for each other, a `torch.distributed.TCPStore`.
        host: this one's address.
        key: see `Place`.
        check: raises when it is no use to wait for the others.
        check_errors: raises when one of them failed by an error.
        fresh: whether it begins, rather than goes on.
    """

    number: int
    learners: Any
    store: Any
    host: str
    key: str
    check: Callable[[], None]
    check_errors: Callable[[], None]
    fresh: bool = True

    def meet(self, folder: RunFolder) -> Path | None:
        """Find the others, and where this learner goes on from; None at the beginning.

        Those in step begin at the latest epoch at which all can: one may have been ended just before it had saved.
        """
        from visagent.runtime.checkpoints import checkpoint_to_resume, finished_epochs

        self.learners.meet(self.number, self.store, self.check, self.host, self.key)
        chosen = checkpoint_to_resume(folder)
        if self.learners.in_step and self.learners.others:
            mine = finished_epochs(folder)
            chosen = mine.get(self.learners.common_epoch(self.number, self.store, mine, self.check))
        self.fresh = chosen is None
        return chosen


@contextmanager
def learner_of(config: Mapping[str, Any], folder: RunFolder, learn: Callable[..., None]) -> Iterator[Learner | None]:
    """The first learner of a run, with the others at work; None where the run has but one, as usual.

    Args:
        config: resolved.
        folder: of the run.
        learn: what another learner does: `learn(config, number, place, end)`, in a process of its own.

    Raises:
        UserError: when another one failed, and this one's error may come of that.
    """
    if config["learners"] is None:
        yield None
        return
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    learners = make("learners", config["learners"])
    store = TCPStore(HERE, 0, None, True, wait_for_workers=False)
    place = Place(HERE, store.port, secrets.token_hex(32))
    others = Others(config, folder, learn, place, range(1, learners.settings.count))
    try:
        yield Learner(0, learners, store, HERE, place.key, others.check, others.check_errors)
        others.wait(learners)
    except UserError as error:
        if (cause := others.cause()) is not None:
            raise UserError(cause) from error
        raise
    finally:
        others.stop()
        learners.leave()


def another_learner(config: Mapping[str, Any], number: int, place: Place) -> Learner:
    """A learner of a run other than the first, in its own process."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    store = TCPStore(place.host, place.port, None, False, timeout=timedelta(seconds=60))
    return Learner(number, make("learners", config["learners"]), store, HERE, place.key, _nothing, _nothing)


def _nothing() -> None:
    """For those that do not look after the others."""


def config_of(config: Mapping[str, Any], folder: RunFolder, number: int) -> dict[str, Any]:
    """What another learner runs: data of its own, no test, nothing on the console, its own folder.

    Args:
        config: resolved, of the run.
        folder: of the run.
        number: of the learner.

    Raises:
        ConfigError: where its data cannot be others.
    """
    if "seed" not in config["datamodule"]:
        raise ConfigError(
            "learners: expected a DataModule with a seed, by which each learner has data of its own, got "
            f"{config['datamodule']['_target_']}; leave learners out"
        )
    seed = derive_seed(config["seed"], "learner", number) % 2**32
    return {
        **config,
        "seed": seed,
        "evaluate_after_training": False,
        "datamodule": {**config["datamodule"], "seed": seed},
        "trainer": {**config["trainer"], **_device(config["trainer"], number)},
        "logger": {**config["logger"], "enabled": False},
        "progress": {**config["progress"], "bar": False, "summary": False},
        "paths": {**config["paths"], "run": str(folder.path / "learners" / str(number))},
    }


def _device(trainer: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One of this machine's GPUs, in turn, where the run has one."""
    if trainer.get("accelerator") not in ("auto", "gpu", "cuda"):
        return {}
    import torch

    there = torch.cuda.device_count()
    return {"devices": [number % there]} if there > 1 else {}


class Others:
    """The other learners' processes.

    Args:
        config: resolved, of the run.
        folder: of the run.
        learn: see `learner_of`.
        place: where they find the first.
        numbers: which they are.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        folder: RunFolder,
        learn: Callable[..., None],
        place: Place,
        numbers: range,
    ) -> None:
        context = get_context("forkserver")  # each import takes seconds of a processor
        context.set_forkserver_preload(PRELOADED)
        self._ends: dict[int, connection.Connection] = {}
        self._processes: dict[int, Any] = {}
        self._folders = {number: RunFolder(folder.path / "learners" / str(number)) for number in numbers}
        self._before = {number: _attempts(each) for number, each in self._folders.items()}
        self._done: set[int] = set()
        try:
            for number in numbers:
                ours, theirs = context.Pipe()
                given = (config_of(config, folder, number), number, place, theirs)
                process = context.Process(target=learn, args=given, name=f"visagent-learner-{number}")
                process.start()
                theirs.close()
                self._ends[number], self._processes[number] = ours, process
        except BaseException:  # Ctrl-C, or no memory for another one
            self.stop()
            raise

    def check(self) -> None:
        """Look whether all are there.

        Raises:
            UserError: when one is not.
        """
        for number, process in self._processes.items():
            if not process.is_alive():
                raise UserError(self.cause() or f"learner {number} ended with exit code {process.exitcode}")

    def check_errors(self) -> None:
        """Look whether one failed by an error, which it will again; one that was killed is another matter.

        Raises:
            UserError: with the error.
        """
        if any(process.exitcode == 1 for process in self._processes.values()) and (cause := self.cause()) is not None:
            raise UserError(cause)

    def cause(self) -> str | None:
        """Why one of them failed in this attempt, in its own words; None where none has said so."""
        deadline = time.monotonic() + WORDS_SECONDS
        while True:
            for number, folder in self._folders.items():
                record = folder.load()
                if record is None or record.attempts <= self._before[number] or record.status != "FAILED":
                    continue
                if "waited in vain" not in (record.error or ""):  # for the one that failed
                    return f"learner {number} failed: {record.error}"
            if time.monotonic() > deadline or all(process.is_alive() for process in self._processes.values()):
                return None
            time.sleep(0.1)

    def wait(self, learners: Any) -> None:
        """Until those have finished that still answer."""
        busy = {number for number, process in self._processes.items() if process.is_alive()}
        said = False
        while busy:
            ready = connection.wait([self._ends[number] for number in busy], LOOK_SECONDS)
            self._done |= {number for number in busy if self._ends[number] in ready}  # or its process has ended
            busy -= self._done
            answering = learners.answering()
            busy &= busy if answering is None else answering
            if busy and not said:
                log.info("this learner is done, and waits for learners %s", ", ".join(map(str, sorted(busy))))
            said = True

    def stop(self) -> None:
        """End those that still run."""
        for number, process in self._processes.items():
            self._ends[number].close()
            if number not in self._done:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


def _attempts(folder: RunFolder) -> int:
    record = folder.load()
    return 0 if record is None else record.attempts


@contextmanager
def in_the_background(end: connection.Connection, say: Path) -> Iterator[None]:
    """Within, a learner works whose process is not the command's own: what it says goes to a file, and once it is done
    it stays until the first one is, so that it answers the others.

    Args:
        end: closed by the first learner when that is done, or has ended.
        say: the file.
    """
    say.parent.mkdir(parents=True, exist_ok=True)
    with say.open("ab") as file:
        for stream in (1, 2):  # of libraries that print by themselves
            os.dup2(file.fileno(), stream)
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (to the end: what Python says, the log writes)
    logging.getLogger("visagent").setLevel(logging.INFO)
    yield
    with suppress(OSError, EOFError):
        end.send("done")
        end.recv()
