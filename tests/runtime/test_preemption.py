"""A run that is told to make way, in a process of its own and without a scheduler."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from visagent.errors import UserError
from visagent.runtime import preemption
from visagent.runtime.preemption import SIGNAL, MakeWay, listen
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.stopping import Preempted
from visagent.runtime.train import IDLE_ATTEMPTS, train

PRESET = "ppo/cartpole"


@pytest.fixture
def listening(monkeypatch):
    """A process that listens to the scheduler, which grants what `grant` says: seconds, and whether for another job."""
    before = signal.getsignal(SIGNAL)
    granted = [3600.0, True]
    monkeypatch.setattr(preemption, "_granted", lambda: tuple(granted))
    monkeypatch.setattr(preemption, "_wish", None)
    requeued = []

    def requeue():
        requeued.append(time.monotonic())
        raise SystemExit(3)

    ended = []

    def end(status):
        ended.append(status)
        threading.Event().wait()  # the process is gone

    monkeypatch.setattr(preemption.os, "_exit", end)
    wish = listen(requeue)
    yield wish, granted, requeued
    wish.asked, wish.until = time.monotonic(), 0.0  # ends the thread
    while not ended:
        time.sleep(0.01)
    assert ended == [3]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {SIGNAL})
    signal.signal(SIGNAL, before)


def send():
    """As Slurm does: to the process, of which one thread receives it."""
    os.kill(os.getpid(), SIGNAL)
    deadline = time.monotonic() + 60
    while preemption.wished() is None:
        assert time.monotonic() < deadline, "the signal did not come"
        time.sleep(0.001)


def after_epochs(count, monkeypatch):
    """Have the signal come in the middle of the run's next epoch."""
    begun = MakeWay.on_train_epoch_start
    epochs = []

    def start(self, trainer, module):
        begun(self, trainer, module)
        epochs.append(trainer.current_epoch)
        if len(epochs) == count:
            send()

    monkeypatch.setattr(MakeWay, "on_train_epoch_start", start)
    return epochs


def only_record(config):
    (path,) = Path(config.paths.outputs).glob("runs/*/record.json")
    return RunFolder(path.parent).load()


def test_it_stops_for_another_job_where_the_epoch_ends(listening, compose, monkeypatch):
    config = compose(PRESET, "trainer.max_epochs=6", "logger=none")
    epochs = after_epochs(2, monkeypatch)
    with pytest.raises(Preempted):
        train(config)
    record = only_record(config)
    assert record.status == "KILLED" and len(record.history) == 2 and epochs == [0, 1]
    listening[0].asked = listening[0].until = None
    assert train(config).status == "FINISHED"


def test_it_uses_the_time_that_is_left_of_its_own(listening, compose, monkeypatch):
    _, granted, _ = listening
    granted[1] = False
    config = compose(PRESET, "trainer.max_epochs=4", "logger=none")
    after_epochs(2, monkeypatch)
    assert train(config).status == "FINISHED"


def test_it_stops_after_a_batch_where_there_is_no_time_for_the_epoch(listening, compose, monkeypatch):
    _, granted, _ = listening
    granted[0] = preemption.CLOSING_SECONDS
    config = compose(PRESET, "trainer.max_epochs=6", "logger=none")
    after_epochs(2, monkeypatch)
    with pytest.raises(Preempted):
        train(config)
    assert len(only_record(config).history) == 1


def test_attempts_that_finish_no_epoch_end_the_run(listening, compose, monkeypatch):
    _, granted, _ = listening
    granted[0] = preemption.CLOSING_SECONDS
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    config = compose(PRESET, "trainer.max_epochs=6", "logger=none")
    after_epochs(1, monkeypatch)
    with pytest.raises(Preempted):
        train(config)
    assert only_record(config).idle_attempts == 1 and IDLE_ATTEMPTS == 2
    with pytest.raises(UserError, match=r"launcher\.timeout_min"):
        train(config)
    record = only_record(config)
    assert record.status == "FAILED" and "before they had finished an epoch" in record.error


def test_attempts_that_end_without_a_word_count_too(compose, monkeypatch):
    """A job that was killed twice before its first epoch was done, and begins again."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    config = compose(PRESET, "trainer.max_epochs=2", "logger=none")
    train(config)
    record = only_record(config)
    assert record.idle_attempts == 0
    record.status, record.idle_attempts = "RUNNING", IDLE_ATTEMPTS
    (folder,) = Path(config.paths.outputs).glob("runs/*")
    RunFolder(folder).save(record)
    with pytest.raises(UserError, match="2 attempts in a row"):
        train(config)
    assert only_record(config).status == "FAILED" and only_record(config).idle_attempts == 0
    assert train(config).status == "FINISHED"


def test_a_training_that_does_not_look_goes_back_at_the_last_moment(listening):
    _, granted, requeued = listening
    granted[0] = preemption.CLOSING_SECONDS
    send()
    deadline = time.monotonic() + 60
    while not requeued:
        assert time.monotonic() < deadline
        time.sleep(0.01)
