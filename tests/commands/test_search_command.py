"""A search as a user runs it."""

from __future__ import annotations

import json

import pytest

from processes import records, run

pytestmark = pytest.mark.process


def test_a_search_of_the_installed_command(tmp_path):
    arguments = [
        "-m", "hydra/sweeper=visagent_search", "hydra.sweeper.sampler=grid", "objective=test/return",
        "experiment=baseline/random", "env=cartpole", "debug=smoke", "progress=none", "logger=none",
        "datamodule.film_episodes=0",
        "trainer.accelerator=cpu", f"paths.outputs={tmp_path}", "seed=1,2",
    ]  # fmt: skip
    done = run("visagent-train", *arguments, "hydra.sweeper.trials=1")
    assert done.returncode == 0 and "best of 1 run (1 finished): test/return" in done.stdout, done.stderr
    done = run("visagent-train", *arguments, "hydra.sweeper.trials=5")
    assert "best of 2 runs (2 finished): test/return" in done.stdout, done.stderr
    (found,) = tmp_path.glob("searches/*/search.json")
    best = json.loads(found.read_text())["best"]
    assert {entry["params"]["seed"] for entry in best} == {"1", "2"}
    assert {record["attempts"] for record in records(tmp_path)} == {1} and len(records(tmp_path)) == 2
    done = run("visagent-train", *arguments[:3], *arguments[4:], check=False)
    assert done.returncode == 2 and "objective: expected the metric that is searched by" in done.stderr
