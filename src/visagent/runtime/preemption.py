"""A scheduler's wish that a run make way and go on later: the run stops where nothing is lost, if there is time.

The signal only leaves a note. The training looks at it after every batch; a thread looks at it, too, and puts the job
back into the queue at the last moment where the training does not come to look, as it would after any kill.

Slurm sends its signal to every process of a step. This one holds it back and has the thread receive it: what it starts
(actors, loaders, Ray) inherits that, and is not ended by it.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType
from typing import Any, NoReturn

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from visagent.runtime import slurm
from visagent.runtime.allocation import this_job
from visagent.runtime.stopping import Preempted

log = logging.getLogger(__name__)
SIGNAL = signal.SIGUSR2
"""Submitit's, at a time limit; sites that preempt with a warning send the one that the job has asked for, which is
this.
"""
USUAL_SECONDS = 30.0
"""How long a run may go on after the signal, where nobody says."""
CLOSING_SECONDS = 5.0
"""What is kept for writing the record, telling MLflow, and asking for the queue."""
LOOK_SECONDS = 0.2


@dataclass
class Wish:
    """The scheduler's, once it has come.

    Attributes:
        requeue: puts the job back into the queue, and does not return.
        asked: when the signal came, on the monotonic clock; None before.
        until: when the process will be ended; None as long as nobody was asked.
        for_another: whether a job waits for this one's place, rather than this one's time being up.
    """

    requeue: Callable[[], None]
    asked: float | None = None
    until: float | None = None
    for_another: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler."""
        if self.asked is None:
            self.asked = time.monotonic()

    def seconds_left(self) -> float:
        """Until the run has to begin to close."""
        if self.until is None:
            seconds, self.for_another = _granted()
            self.until = time.monotonic() + seconds
        return self.until - CLOSING_SECONDS - time.monotonic()

    def go(self) -> NoReturn:
        """Put the job back into the queue, and end the process as submitit does.

        Raises:
            SystemExit: afterwards.
        """
        with self._lock:  # the other one that asks may be at it; where it succeeds, it ends this process, too
            self.requeue()
        raise SystemExit(1)

    def watch(self) -> None:
        """The thread: wait for the signal, then for the last moment."""
        while self.asked is None or self.seconds_left() > -CLOSING_SECONDS / 2:
            if self.asked is not None:
                time.sleep(LOOK_SECONDS)
            elif signal.sigtimedwait({SIGNAL}, LOOK_SECONDS) is not None:
                self.note(SIGNAL, None)
        log.warning("the run did not come to a place to stop at: its job goes back into the queue as it is")
        while True:
            try:
                self.go()
            except SystemExit as end:  # of a thread, which would end that alone
                os._exit(end.code if isinstance(end.code, int) else 1)
            except (OSError, subprocess.SubprocessError) as error:
                log.warning("the job does not go back into the queue (%s): trying again", error)
            time.sleep(LOOK_SECONDS)


_wish: Wish | None = None


def listen(requeue: Callable[[], None]) -> Wish:
    """Take note of the scheduler's signal from now on, also of one that has come before and was held back.

    Args:
        requeue: puts the job back into the queue.
    """
    global _wish
    _wish = Wish(requeue)
    signal.signal(SIGNAL, _wish.note)  # threads that are older than this may still receive it
    signal.pthread_sigmask(signal.SIG_BLOCK, {SIGNAL})
    threading.Thread(target=_wish.watch, name="preemption", daemon=True).start()
    return _wish


def wished() -> Wish | None:
    """The scheduler's wish, where one has come."""
    return _wish if _wish is not None and _wish.asked is not None else None


class MakeWay(Callback):
    """Ends a run that is to make way: at the end of an epoch where there is time for that, else after a batch.

    For another job that is the first end of an epoch; where its own time is up, the run uses what is left of it.
    Several ranks stop together, as soon as one of them has to.
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._longest = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        moment, first = time.monotonic(), self._began is None
        if self._began is not None:
            self._longest = max(self._longest, moment - self._began)
        self._began = moment
        # The epoch before has its checkpoint: there is no better place. An attempt has to get on by an epoch, though.
        cannot = self._cannot_finish()
        self._stop_where(not first and (cannot or ((wish := wished()) is not None and wish.for_another)), trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, *others: Any) -> None:
        self._stop_where(self._cannot_finish(), trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *others: Any) -> None:
        if trainer.world_size == 1:  # ranks may evaluate different numbers of batches: they could not agree here
            self._stop_where(self._cannot_finish(), trainer)

    def on_test_batch_end(self, trainer: pl.Trainer, *others: Any) -> None:
        self.on_validation_batch_end(trainer)

    def _cannot_finish(self) -> bool:
        """Whether the run is to make way, and the epoch would take longer than there is time."""
        wish = wished()
        if wish is None:
            return False
        left = wish.seconds_left()
        needed = 0.0 if self._began is None else self._began + self._longest - time.monotonic()
        return left <= max(needed, 0.0)

    def _stop_where(self, wanted: bool, trainer: pl.Trainer) -> None:
        if _wish is None:  # no job that can go back into a queue
            return
        if trainer.world_size > 1:
            wanted = trainer.strategy.reduce_boolean_decision(wanted, all=False)
        if wanted:
            raise Preempted(SIGNAL)


def for_another() -> bool:
    """Whether Slurm is ending this process's job for another one; it may say so by SIGTERM alone."""
    return _wish is not None and "PreemptTime" in _said_of_job()


def _granted() -> tuple[float, bool]:
    """Seconds from now to the moment at which Slurm ends this job, and whether it does so for another one."""
    known = _said_of_job()
    if "EndTime" not in known:
        return USUAL_SECONDS, True
    return (datetime.fromisoformat(known["EndTime"]) - datetime.now()).total_seconds(), "PreemptTime" in known


def _said_of_job() -> dict[str, str]:
    """When this process's job ends, and since when it makes way, as far as Slurm says."""
    job = this_job()
    said = slurm.ask("scontrol", "show", "job", "-o", job) if job is not None else ""
    return dict(re.findall(r"\b(EndTime|PreemptTime)=(\d\S+)", said))
