"""No metric is lost, and none is said twice, however often a run is killed."""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest
from mlflow import MlflowClient

from chromium import wait_for
from processes import Command, record, records
from visagent.runtime.journal import FILE, Journal

EPOCHS = 60
ARGUMENTS = ("experiment=ppo/cartpole", "debug=smoke", "progress=none", f"trainer.max_epochs={EPOCHS}")


def begun(outputs):
    return sum(each["attempts"] for each in records(outputs))


def item(name, value, moment, step):
    return [name, value, moment, step]


def test_what_was_told_before_is_no_news(tmp_path):
    journal = Journal(tmp_path)
    first = [item("a", 1.0, 10, 0), item("b", 2.0, 10, 0)]
    journal.write(first)
    again = Journal(tmp_path)
    assert again.before == first
    second_try = [item("a", 1.0, 99, 0), item("b", 2.0, 99, 0), item("a", 3.0, 99, 1)]
    assert again.fresh(second_try) == [item("a", 3.0, 99, 1)]
    assert again.fresh(second_try) == second_try, "once only: a metric may be logged twice at one step"


def test_a_line_that_was_cut_off_is_dropped_and_what_follows_reads(tmp_path):
    Journal(tmp_path).write([item("a", 1.0, 10, 0)])
    with (tmp_path / FILE).open("a") as file:
        file.write('["b", 2.')
    journal = Journal(tmp_path)
    journal.write([item("c", 3.0, 11, 1)])
    assert [each[0] for each in Journal(tmp_path).before] == ["a", "c"]


def test_an_epoch_is_forgotten_once_its_metrics_are_safe_and_the_next_one_stays(tmp_path):
    journal = Journal(tmp_path)
    journal.write([item("a", 1.0, 10, 0)])
    journal.mark()
    journal.write([item("a", 2.0, 11, 1)])
    journal.forget_marked()
    assert Journal(tmp_path).before == [item("a", 2.0, 11, 1)]
    journal.mark()
    journal.forget_marked()
    assert not (tmp_path / FILE).exists()


@pytest.mark.cluster  # what happens to runs there; it needs no Slurm
@pytest.mark.process
def test_twenty_kills_lose_no_metric_and_double_none(empty_tracking, tmp_path):
    drawn = random.Random(0)
    (tmp_path / "mlflow.db").write_bytes(empty_tracking.read_bytes())
    arguments = (*ARGUMENTS, f"paths.outputs={tmp_path}")
    kills = 0
    while kills < 20:
        started = Command("visagent-train", *arguments)
        try:
            wait_for(lambda so_far=kills: begun(tmp_path) > so_far, "the run to begin", 240)
            time.sleep(drawn.uniform(0.0, 3.0))
        finally:
            started.end()
        kills += 1
        if record(tmp_path)["status"] == "FINISHED":
            break
    assert kills == 20, f"the run ended after {kills} kills: it is too short"
    Command("visagent-train", *arguments).wait()
    ended = record(tmp_path)
    assert ended["status"] == "FINISHED" and ended["attempts"] == 21
    assert sorted(map(int, ended["history"])) == list(range(EPOCHS))
    client = MlflowClient(ended["tracking_uri"])
    steps = [values["step"] for values in ended["history"].values()]
    told = client.get_run(ended["mlflow_run_id"]).data.metrics
    assert {"val/return", "train/kl", "data/episode_return"} <= set(told)
    for name in told:
        found = Counter(metric.step for metric in client.get_metric_history(ended["mlflow_run_id"], name))
        assert max(found.values()) == 1, f"{name} stands there twice"
        if not name.startswith("test/"):
            assert {int(step) for step in steps} <= set(found), f"{name} lacks an epoch"
        if name.startswith("val/"):
            assert len(found) == EPOCHS
    assert not (tmp_path / "runs" / ended["signature"] / FILE).exists()
