"""`launcher=submitit_local`: runs as jobs of this machine."""

from __future__ import annotations

import pytest

from processes import record, run

pytestmark = [pytest.mark.process, pytest.mark.cluster]


def test_two_tasks_of_one_job_train_together(tmp_path):
    ask = ("experiment=ppo/cartpole", "debug=smoke", "progress=none", "logger=none", "trainer.accelerator=cpu")
    two = ("trainer.devices=2", "datamodule.actors=2", "launcher=submitit_local", f"paths.outputs={tmp_path}")
    done = run("visagent-train", *ask, *two)
    assert record(tmp_path)["status"] == "FINISHED" and record(tmp_path)["hardware"]["device"] == "2 x cpu"
    assert "log: " in done.stderr
    assert "finished before" in run("visagent-train", *ask, *two).stderr


def test_a_run_that_fails_is_named_and_ends_with_one(tmp_path):
    ask = ("experiment=ppo/cartpole", "debug=smoke", "progress=none", "logger=none", f"paths.outputs={tmp_path}")
    done = run("visagent-train", *ask, "launcher=submitit_local", "datamodule.env.id=Nowhere-v0", "seed=0", check=False)
    assert done.returncode == 1, done.stderr
    assert "failed: " in done.stderr and "Nowhere" in done.stderr and "error: 1 of 1 runs failed" in done.stderr
