"""Runs whose jobs have to make way: for others, or because their time is up."""

from __future__ import annotations

import subprocess

import pytest
import torch
from mlflow import MlflowClient

from chromium import wait_for
from processes import Command, checkpoint, record, records, run

pytestmark = [pytest.mark.cluster, pytest.mark.process, pytest.mark.xdist_group("cluster")]
EPOCHS = 60
RUN = ("experiment=ppo/cartpole", "debug=smoke", "progress=none", f"trainer.max_epochs={EPOCHS}")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The same run at a desk."""
    outputs = tmp_path_factory.mktemp("unbroken")
    run("visagent-train", *RUN, "logger=none", f"paths.outputs={outputs}")
    return checkpoint(outputs)


@pytest.fixture
def ask(empty_tracking, tmp_path):
    (tmp_path / "mlflow.db").write_bytes(empty_tracking.read_bytes())
    return (*RUN, "launcher=slurm", f"paths.outputs={tmp_path}")


def take_all_nodes(seconds):
    """A job of the partition before which others make way."""
    wrapped = ("--wrap", f"sleep {seconds}", "--output", "/dev/null", "--partition", "urgent")
    subprocess.run(["sbatch", "--nodes=2", "--exclusive", *wrapped], check=True, capture_output=True)


def as_if_unbroken(outputs, unbroken):
    """Whether the only run has the weights and the optimizer of the unbroken one, and MLflow each epoch once."""
    ended, saved = record(outputs), checkpoint(outputs)
    assert ended["status"] == "FINISHED" and len(ended["history"]) == EPOCHS
    for name, value in unbroken["state_dict"].items():
        assert torch.equal(value, saved["state_dict"][name]), name
    for one, other in zip(unbroken["optimizer_states"], saved["optimizer_states"], strict=True):
        assert str(one) == str(other)
    client = MlflowClient(ended["tracking_uri"])
    assert client.get_run(ended["mlflow_run_id"]).info.status == "FINISHED"
    assert len(client.get_metric_history(ended["mlflow_run_id"], "val/return")) == EPOCHS
    experiment = client.get_experiment_by_name("visagent").experiment_id
    assert len(client.search_runs([experiment], "tags.`visagent.kind` = 'run'")) == 1


def test_a_job_makes_way_for_an_urgent_one_and_goes_on(slurm, ask, unbroken, tmp_path):
    with Command("visagent-train", *ask) as command:
        wait_for(lambda: any(len(each["history"]) >= 5 for each in records(tmp_path)), "five epochs", 300)
        take_all_nodes(8)
        wait_for(lambda: record(tmp_path)["status"] == "KILLED", "the run to make way", 120)
        assert "WAITING (job " in run("visagent-info", "--outputs", str(tmp_path)).stdout
        done = command.wait()
    assert done.returncode == 0, done.stderr
    assert record(tmp_path)["attempts"] == 2
    as_if_unbroken(tmp_path, unbroken)


def test_a_job_makes_way_within_seconds_of_its_start(slurm, ask, unbroken, tmp_path):
    with Command("visagent-train", *ask) as command:
        wait_for(slurm.running, "the job to start", 120)
        take_all_nodes(8)
        done = command.wait()
    assert done.returncode == 0, done.stderr
    as_if_unbroken(tmp_path, unbroken)


def test_a_job_whose_time_is_up_goes_on_in_another(slurm, ask, unbroken, tmp_path):
    """It has a minute, Slurm's shortest, and more to do: epochs are long for all the episodes of their evaluation."""
    longer = ("launcher.timeout_min=1", "launcher.signal_delay_s=40", "datamodule.eval_episodes=1000")
    done = run("visagent-train", *ask, *longer)
    assert record(tmp_path)["attempts"] >= 2, done.stderr
    as_if_unbroken(tmp_path, unbroken)
