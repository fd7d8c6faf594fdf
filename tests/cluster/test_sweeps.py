"""Sweeps whose runs are jobs: what is submitted, what is waited for, and what is said of a job that is lost."""

from __future__ import annotations

import os
import signal

import pytest
from mlflow import MlflowClient

from chromium import wait_for
from processes import Command, records, run

pytestmark = [pytest.mark.cluster, pytest.mark.process, pytest.mark.xdist_group("cluster")]


@pytest.fixture
def ask(empty_tracking, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(empty_tracking.read_bytes())
    return (
        "experiment=ppo/cartpole",
        "debug=smoke",
        "launcher=slurm",
        "launcher.timeout_min=30",
        f"paths.outputs={tmp_path}",
    )


def parents(outputs):
    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    (experiment,) = [each for each in client.search_experiments() if each.name == "visagent"]
    return client.search_runs([experiment.experiment_id], "tags.`visagent.kind` = 'multirun'")


SEEDS = range(3)


def test_a_sweep_runs_as_jobs_and_only_what_is_missing_runs_again(slurm, ask, tmp_path):
    """One job is lost: it is named, the others go on, and the same command runs it alone; a third time it runs none."""
    words = (*ask, "trainer.max_epochs=40", f"seed={','.join(map(str, SEEDS))}")
    with Command("visagent-train", *words) as command:
        wait_for(lambda: 1 in {each["seed"] for each in records(tmp_path)}, "the run to begin", 300)
        (victim,) = [each for each in records(tmp_path) if each["seed"] == 1]
        folder = tmp_path / "runs" / victim["signature"]
        for process in slurm.tasks(job_of(folder)):
            os.kill(process, signal.SIGKILL)
        done = command.wait()
    assert done.returncode == 1, done.stderr
    ended = {each["seed"]: each["status"] for each in records(tmp_path)}
    assert ended == {seed: "RUNNING" if seed == 1 else "FINISHED" for seed in SEEDS}
    assert done.stderr.count("log: ") == 3 and done.stderr.count("ended, done") == 2
    said = next(part for part in done.stderr.split("\nfailed: ")[1:])
    assert "seed=1" in said and job_of(folder) in said and "FAILED" in said and "the end of" in said
    assert "error: 1 of 3 runs failed" in done.stderr
    assert parents(tmp_path)[0].info.status == "FAILED"
    again = run("visagent-train", *words)
    assert again.stderr.count("finished before") == 2 and again.stderr.count("log: ") == 1
    assert [each["status"] for each in records(tmp_path)] == ["FINISHED"] * 3
    (parent,) = parents(tmp_path)
    assert parent.info.status == "FINISHED"
    before = slurm.say("sacct", "-X", "-n", "-o", "JobID")
    assert run("visagent-train", *words).stderr.count("finished before") == 3
    assert slurm.say("sacct", "-X", "-n", "-o", "JobID") == before, "nothing is submitted twice"


def job_of(folder):
    from visagent.runtime.queue import remembered
    from visagent.runtime.run_folder import RunFolder

    return remembered(RunFolder(folder)).job


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("launcher.nodes=2",), "type trainer.num_nodes=2"),
        (("trainer.devices=3", "machine.gpus_per_node=2", "trainer.accelerator=gpu"), "type trainer.devices=2"),
        (("trainer.devices=auto",), "type trainer.devices=1"),
    ],
)
def test_a_contradiction_is_refused_before_anything_is_submitted(slurm, ask, overrides, said, tmp_path):
    before = slurm.say("sacct", "-X", "-n", "-o", "JobID")
    done = run("visagent-train", *ask, *overrides, "seed=0,1", check=False)
    assert done.returncode == 2 and said in done.stderr
    assert slurm.say("sacct", "-X", "-n", "-o", "JobID") == before and not (tmp_path / "runs").exists()


def test_a_table_is_built_from_one_array(slurm, empty_tracking, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(empty_tracking.read_bytes())
    before = set(slurm.say("sacct", "-X", "-n", "-P", "-o", "JobID").split())
    done = run(
        "visagent-table",
        "navigation/table1",
        "--run",
        "--scale",
        "smoke",
        "launcher=slurm",
        f"paths.outputs={tmp_path}",
    )
    jobs = set(slurm.say("sacct", "-X", "-n", "-P", "-o", "JobID").split()) - before
    assert {each["status"] for each in records(tmp_path)} == {"FINISHED"}
    assert len({job.split("_")[0] for job in jobs}) == 1 and len(jobs) == len(records(tmp_path)) > 1
    (page,) = (tmp_path / "tables").rglob("table1.md")
    count = len(records(tmp_path))
    assert f"- runs: {count} of {count} finished" in page.read_text(), done.stdout
