"""A run that is told to make way, in a process of its own and without a scheduler."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from visagent.errors import UserError
from visagent.runtime import preemption
from visagent.runtime.preemption import SIGNAL, MakeWay, listen
from visagent.runtime.record import RunFolder
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
    wish = listen(lambda: requeued.append(time.monotonic()))
    yield wish, granted, requeued
    wish.asked, wish.until = time.monotonic(), 0.0  # ends the thread
    while not requeued:
        time.sleep(0.01)
    signal.signal(SIGNAL, before)


def after_epochs(count, monkeypatch):
    """Have the signal come in the middle of the run's next epoch."""
    begun = MakeWay.on_train_epoch_start
    epochs = []

    def start(self, trainer, module):
        begun(self, trainer, module)
        epochs.append(trainer.current_epoch)
        if len(epochs) == count:
            signal.raise_signal(SIGNAL)

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
    config = compose(PRESET, "trainer.max_epochs=6", "logger=none")
    after_epochs(1, monkeypatch)
    with pytest.raises(Preempted):
        train(config)
    assert only_record(config).idle_attempts == 1 and IDLE_ATTEMPTS == 2
    with pytest.raises(UserError, match=r"launcher\.timeout_min"):
        train(config)
    record = only_record(config)
    assert record.status == "FAILED" and "before they had finished an epoch" in record.error


def test_a_training_that_does_not_look_goes_back_at_the_last_moment(listening):
    _, granted, requeued = listening
    granted[0] = preemption.CLOSING_SECONDS
    signal.raise_signal(SIGNAL)
    deadline = time.monotonic() + 60
    while not requeued:
        assert time.monotonic() < deadline
        time.sleep(0.01)
