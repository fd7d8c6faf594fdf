"""The learners of a run: the command's own process is the first, the others are processes of this machine, or of the
other tasks of its Slurm step.

Each has a run folder of its own, `learners/NUMBER` in the run's, with its record, log and checkpoints. MLflow, tests
and pictures are the first one's.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from visagent.errors import ConfigError, UserError
from visagent.runtime.allocation import node_address, this_task
from visagent.runtime.building import make
from visagent.runtime.run_folder import RunFolder

log = logging.getLogger(__name__)
PRELOADED = [
    "visagent.runtime.train",
    "visagent.runtime.keep_together",
    "visagent.runtime.mlflow_logger",
    "pytorch_lightning",
]
"""What all learners import: once, by the process that they are forked from."""
STOP_SECONDS, LOOK_SECONDS = 3.0, 0.5
"""For a learner to end when it is told to; between two looks at the others."""
FIRST_SECONDS = 300.0
"""How long another task waits for the first one to say where it is."""
HERE = "127.0.0.1"
Learn = Callable[..., None]
"""What another learner does, in a process of its own: `learn(config, number, place)`."""


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
        learners: how they keep together; see `visagent.learning.learners`.
        meeting: where they find each other, a `visagent.learning.meeting.Meeting`.
        check_errors: raises when one of the others failed by an error.
        fresh: whether it begins, rather than goes on.
    """

    learners: Any
    meeting: Any
    check_errors: Callable[[], None]
    fresh: bool = True

    def meet(self, folder: RunFolder) -> Path | None:
        """Find the others, and where this learner goes on from; None at the beginning.

        Those in step begin at the latest epoch at which all can: one may have been ended just before it had saved.
        """
        from visagent.runtime.checkpoints import checkpoint_to_resume, finished_epochs

        self.learners.meet(self.meeting)
        chosen = checkpoint_to_resume(folder)
        if self.learners.in_step and self.learners.others:
            mine = finished_epochs(folder)
            chosen = mine.get(self.meeting.common_epoch(mine))
            if chosen == folder.previous_checkpoint:  # or the next epoch's would push it out for one of this epoch
                os.replace(chosen, folder.checkpoint)
                chosen = folder.checkpoint
        self.fresh = chosen is None
        return chosen

    def stay(self) -> None:
        """Say that this learner is done, and answer the others until the first one is done, too."""
        try:
            self.meeting.store.set(f"done/{self.meeting.number}", "")
            while not self.meeting.store.check(["over"]):
                time.sleep(LOOK_SECONDS)
        except RuntimeError:  # the first one's store is gone with it
            return

    def failed(self, cause: str) -> None:
        """Say why this learner has failed."""
        try:
            self.meeting.store.set(f"failed/{self.meeting.number}", cause)
        except RuntimeError:
            return


@contextmanager
def learner_of(config: Mapping[str, Any], folder: RunFolder, learn: Learn) -> Iterator[Learner | None]:
    """The first learner of a run, with the others at work; None where the run has but one, as usual.

    Args:
        config: resolved.
        folder: of the run.
        learn: what another learner does.

    Raises:
        UserError: when another one failed, and this one's error may come of that.
    """
    if config["learners"] is None:
        yield None
        return
    learners = make("learners", config["learners"])
    task = this_task()
    tasks = 1 if task is None else task.count
    host = _here(tasks)
    store = _store(Place(host, 0, ""), first=True)
    place = Place(host, store.port, secrets.token_hex(32))
    said = _place_file(folder)
    others = Others(config, folder, learn, place, range(tasks, learners.settings.count, tasks), store)
    try:
        if tasks > 1:
            _say(said, place)
        yield Learner(learners, _meeting(0, learners, store, host, place, others.check), others.check_errors)
        others.wait(learners)
    except UserError as error:
        if (cause := others.cause()) is not None:
            raise UserError(cause) from error
        raise
    finally:
        store.set("over", "")
        said.unlink(missing_ok=True)
        if learners.in_step:  # one that waits for this one hears no signal
            learners.leave()
        others.stop()
        learners.leave()


def serve_learners(config: Mapping[str, Any], folder: RunFolder, learn: Learn, rank: int) -> None:
    """Run this task's share of a run's learners, as long as the first one, in another task, works.

    Args:
        config: resolved, of the run.
        folder: of the run.
        learn: see `learner_of`.
        rank: of this task.

    Raises:
        UserError: when the first one is not there.
    """
    task, said = this_task(), _place_file(folder)
    deadline = time.monotonic() + FIRST_SECONDS
    while (place := _read(said)) is None:
        if time.monotonic() > deadline:
            raise UserError(
                f"the run's first learner is not there after {FIRST_SECONDS:.0f} seconds: see {folder.log()}"
            )
        time.sleep(LOOK_SECONDS)
    store = _store(place)
    numbers = range(rank, config["learners"]["count"], 1 if task is None else task.count)
    try:
        others = Others(config, folder, learn, place, numbers, store)
    except Exception as error:
        store.set(f"failed/{rank}", str(error))
        raise
    try:
        while not store.check(["over"]):
            time.sleep(LOOK_SECONDS)
    except RuntimeError:  # the first one has ended, and its store with it
        log.warning("the first learner has ended")
    finally:
        others.stop()


def another_learner(config: Mapping[str, Any], number: int, place: Place) -> Learner:
    """A learner of a run other than the first, in its own process; it does not look after the others."""
    task, learners = this_task(), make("learners", config["learners"])
    host = _here(1 if task is None else task.count)
    return Learner(learners, _meeting(number, learners, _store(place), host, place, _nothing), _nothing)


def _meeting(number: int, learners: Any, store: Any, host: str, place: Place, check: Callable[[], None]) -> Any:
    from visagent.learning.meeting import Meeting

    return Meeting(number, learners.settings.count, store, host, place.key, check)


def _nothing() -> None:
    """What is looked at by those who do not look."""


def config_of(config: Mapping[str, Any], folder: RunFolder, number: int) -> dict[str, Any]:
    """What another learner runs: data of its own, no test, nothing on the console, its own folder.

    Args:
        config: resolved, of the run.
        folder: of the run.
        number: of the learner.

    Raises:
        ConfigError: where its data cannot be others.
    """
    from visagent.seeding import derive_seed

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


class Others:
    """Other learners in processes of this machine.

    Args:
        config: resolved, of the run.
        folder: of the run.
        learn: what they do.
        place: where they find the first.
        numbers: which they are.
        store: of the first.
    """

    def __init__(
        self, config: Mapping[str, Any], folder: RunFolder, learn: Learn, place: Place, numbers: range, store: Any
    ) -> None:
        context = get_context("forkserver")  # each import takes seconds of a processor
        context.set_forkserver_preload(PRELOADED)
        self._store, self._count = store, config["learners"]["count"]
        self._processes: dict[int, Any] = {}
        try:
            for number in numbers:
                given = (config_of(config, folder, number), number, place)
                process = context.Process(target=learn, args=given, name=f"visagent-learner-{number}")
                process.start()
                self._processes[number] = process
        except BaseException:  # Ctrl-C, or no memory for another one
            self.stop()
            raise

    def check(self) -> None:
        """Check that all learners are still there.

        Raises:
            UserError: when one is not.
        """
        self.check_errors()
        for number, process in self._processes.items():
            if not process.is_alive():
                raise UserError(self.cause() or f"learner {number} ended with exit code {process.exitcode}")

    def check_errors(self) -> None:
        """Look whether one failed by an error, which it will again; one that was killed is another matter.

        Raises:
            UserError: with the error.
        """
        if (cause := self.cause()) is not None:
            raise UserError(cause)

    def cause(self) -> str | None:
        """Why one of them failed, in its own words, which it leaves before it ends; None where none has."""
        failed = [number for number in range(self._count) if self._store.check([f"failed/{number}"])]
        return f"learner {failed[0]} failed: {self._store.get(f'failed/{failed[0]}').decode()}" if failed else None

    def wait(self, learners: Any) -> None:
        """Wait until all that are still there are done, on other machines too.

        Args:
            learners: how they keep together.

        Raises:
            UserError: when one has failed.
        """
        said, deadline = False, time.monotonic() + learners.settings.patience
        while True:
            self.check_errors()
            busy = {number for number in range(1, self._count) if not self._store.check([f"done/{number}"])}
            busy -= {number for number, process in self._processes.items() if not process.is_alive()}
            answering = learners.answering()
            busy &= busy if answering is None else answering
            if not busy:
                return
            names = ", ".join(map(str, sorted(busy)))
            if learners.in_step and time.monotonic() > deadline:
                log.warning("learners %s did not say that they are done: the run ends without them", names)
                return
            if not said:
                log.info("this learner is done, and waits for learners %s", names)
            said = True
            time.sleep(LOOK_SECONDS)

    def stop(self) -> None:
        """End those that still run; the store says before whether they may end by themselves."""
        deadline = time.monotonic() + STOP_SECONDS
        for number, process in self._processes.items():
            if process.is_alive() and not self._is_done(number):
                process.terminate()
        for process in self._processes.values():
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    def _is_done(self, number: int) -> bool:
        try:
            return bool(self._store.check([f"done/{number}"]))
        except RuntimeError:  # the first one's store is gone with it
            return False


def in_the_background(say: Path) -> None:
    """Have what libraries of this process print go to a file; what Python says, its log writes."""
    say.parent.mkdir(parents=True, exist_ok=True)
    with say.open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (to the end of the process)
    logging.getLogger("visagent").setLevel(logging.INFO)


def _here(tasks: int) -> str:
    """The address at which the other learners reach this process."""
    return HERE if tasks == 1 else node_address()


def _store(place: Place, first: bool = False) -> Any:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    limits: dict[str, Any] = {"timeout": timedelta(seconds=60), "wait_for_workers": False}
    if not first:
        return TCPStore(place.host, place.port, None, False, **limits)
    listening = socket.create_server((place.host, 0))  # a store's own would be at every address of this machine
    port = listening.getsockname()[1]
    return TCPStore(place.host, port, None, True, master_listen_fd=listening.detach(), **limits)


def _device(trainer: Mapping[str, Any], number: int) -> dict[str, Any]:
    """One of this machine's GPUs, in turn, where the run has one."""
    if trainer.get("accelerator") not in ("auto", "gpu", "cuda"):
        return {}
    import torch

    there = torch.cuda.device_count()
    return {"devices": [place_on_node(number) % there]} if there > 1 else {}


def place_on_node(number: int) -> int:
    """A learner's place among those of its machine; they are dealt out to the tasks of a step."""
    task = this_task()
    if task is None:
        return number
    local = int(os.environ.get("SLURM_LOCALID", "0"))
    return number // task.count * (task.count // task.nodes) + local


def _place_file(folder: RunFolder) -> Path:
    """Where the first task's learner says where it is: a file of this attempt."""
    step = [os.environ.get(f"SLURM_{name}", "0") for name in ("JOB_ID", "RESTART_COUNT", "STEP_ID")]
    return folder.path / f"learners-{'-'.join(step)}.json"


def _say(file: Path, place: Place) -> None:
    """Write what only the owner may read, and write it whole."""
    partial = file.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(asdict(place)))
    os.replace(partial, file)


def _read(file: Path) -> Place | None:
    try:
        return Place(**json.loads(file.read_text()))
    except FileNotFoundError:
        return None
