"""A student's expert: trained first, or waited for while another process does so."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import pytest

from visagent.config.composition import expert_config, with_expert
from visagent.config.schemas import TrainConfig
from visagent.config.signature import signature
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime import experts
from visagent.runtime.experts import have_expert
from visagent.runtime.record import Record
from visagent.runtime.run_folder import RunFolder


@pytest.fixture
def student(compose):
    return with_expert(validate(compose("secant/student_from_states"), TrainConfig))


@pytest.fixture
def folder(student):
    return RunFolder(Path(student["paths"]["outputs"]) / "runs" / student["algorithm"]["expert"]["signature"])


def finished(folder):
    record = Record(signature=folder.path.name, name="expert", command="visagent-train", seed=0, scale="smoke")
    record.status = "FINISHED"
    folder.save(record)


def test_it_is_waited_for(student, folder, monkeypatch, caplog):
    """Another process has its lock, and finishes it only once this one has said that it waits."""
    monkeypatch.setattr(experts, "WAIT_SECONDS", 0.01)
    waits = threading.Event()

    class Heard(logging.Handler):
        def emit(self, record):
            if "waiting for it" in record.getMessage():
                waits.set()

    def works(begun):
        with folder.locked():
            begun.set()
            waits.wait()
            finished(folder)

    begun = threading.Event()
    other = threading.Thread(target=works, args=(begun,), daemon=True)
    other.start()
    begun.wait()
    heard = Heard(logging.INFO)
    experts.log.addHandler(heard)
    try:
        with caplog.at_level(logging.INFO):
            have_expert(student, True, lambda _: pytest.fail("it is being trained"))
    finally:
        experts.log.removeHandler(heard)
        waits.set()
    other.join()
    assert str(folder.path) in caplog.text


def test_who_comes_second_to_the_lock_waits(student, folder):
    """Between a look at the lock and its own training another process has begun, and finished."""
    asked = []

    def train(config):
        asked.append(config)
        with folder.locked():
            finished(folder)
            with RunFolder(folder.path).locked():
                pytest.fail("two have the lock")

    have_expert(student, True, train)
    assert [signature(config) for config in asked] == [folder.path.name]  # it has tried once, and was refused
    assert folder.load().status == "FINISHED"


@pytest.mark.parametrize(
    ("alone", "told", "said"),
    [(True, False, "or algorithm.expert.train=true"), (False, True, "where several processes train a run")],
)
def test_it_is_not_trained_unasked(alone, told, said, student):
    student["algorithm"]["expert"]["train"] = told
    with pytest.raises(ConfigError, match=said):
        have_expert(student, alone, lambda _: pytest.fail("nobody asked"))


def test_it_is_trained_where_the_other_one_is(compose):
    told = ("trainer.accelerator=gpu", "threads=3", "progress.bar=false", "logger=none", "trainer.max_epochs=4")
    student = with_expert(validate(compose("secant/student_from_states", *told), TrainConfig))
    needed = expert_config(student)
    assert needed["trainer"]["accelerator"] == "gpu" and needed["threads"] == 3 and not needed["logger"]["enabled"]
    assert needed["trainer"]["max_epochs"] == 2  # its own
    assert signature(needed) == student["algorithm"]["expert"]["signature"]  # which that does not change
