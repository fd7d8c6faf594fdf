"""The installed commands, as a user runs them: in processes of their own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import pytest
import torch
from mlflow import MlflowClient

from chromium import wait_for
from processes import Command, checkpoint, kill_when, records, run

pytestmark = pytest.mark.process
SMALL = ("network.embedding=64", "network.fusion=64", "network.scene_layer=64", "network.projection=32")
LONG = (*SMALL, "trainer.max_epochs=3", "datamodule.passes_per_epoch=60", "datamodule.collect_starts_per_target=20")


def arguments(dumps, outputs, preset="navigation/dagger"):
    return [
        f"experiment={preset}",
        "debug=smoke",
        f"datamodule.scenes={dumps}",
        "datamodule.scene_names=[]",
        "progress=none",
        f"paths.outputs={outputs}",
    ]


def weights(outputs):
    return checkpoint(outputs)["state_dict"]


@pytest.mark.parametrize(
    "call",
    [
        "from visagent.cli import train; sys.argv = ['visagent-train', '--help']; train()",
        "from visagent.cli import evaluate; sys.argv = ['visagent-evaluate', '--help']; evaluate()",
        "from visagent.cli import train; sys.argv = ['visagent-train', 'experiment=navigation/dagger', '--cfg', "
        "'job']; train()",
        "from visagent.cli import scenes; sys.argv = ['visagent-scenes', '--help']; scenes()",
        "from visagent.cli import info; sys.argv = ['visagent-info', '--help']; info()",
    ],
)
def test_help_and_cfg_import_neither_torch_nor_lightning(call):
    code = (
        "import sys, atexit\natexit.register(lambda: print('HEAVY', sorted(m for m in ('torch', 'pytorch_lightning', "
        f"'mlflow') if m in sys.modules)))\n{call}"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout and ("label_smoothing" in done.stdout or "visagent-" in done.stdout)


@pytest.mark.slow
def test_kill_and_resume_is_bitwise_under_the_same_mlflow_run(dumps, empty_tracking, tmp_path):
    """kill -9 in the middle of DAgger's round 2, the same command again."""
    unbroken, broken = tmp_path / "a", tmp_path / "b"
    unbroken.mkdir()
    shutil.copy(empty_tracking, unbroken)
    run("visagent-train", *arguments(dumps, unbroken), *LONG)
    shutil.copytree(unbroken, broken, ignore=shutil.ignore_patterns("runs"))
    kill_when(
        lambda: any(len(r["history"]) >= 2 for r in records(broken)), "visagent-train", *arguments(dumps, broken), *LONG
    )
    (killed,) = records(broken)
    assert killed["status"] == "RUNNING" and len(killed["history"]) == 2, "the kill came too late to interrupt round 2"
    assert "CUT OFF" in run("visagent-info", "--outputs", str(broken)).stdout
    done = run("visagent-train", *arguments(dumps, broken), *LONG)
    assert "resuming the run" in done.stdout
    (resumed,), (whole,) = records(broken), records(unbroken)
    assert (
        resumed["status"] == "FINISHED"
        and resumed["attempts"] == 2
        and resumed["mlflow_run_id"] == killed["mlflow_run_id"]
    )
    assert MlflowClient(resumed["tracking_uri"]).get_run(resumed["mlflow_run_id"]).info.status == "FINISHED"
    one, other = weights(unbroken), weights(broken)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    assert resumed["history"] == whole["history"]


def test_terminated_runs_are_killed_and_resume(dumps, tmp_path):
    started = Command("visagent-train", *arguments(dumps, tmp_path), *LONG, "trainer.max_epochs=50", "logger=none")
    wait_for(lambda: any(r["history"] for r in records(tmp_path)), "the first epoch", 240)
    done = started.end(signal.SIGTERM, all_of_it=False)
    (record,) = records(tmp_path)
    assert record["status"] == "KILLED" and done.returncode == 143
    assert "the same command goes on" in done.stderr


def test_a_sweep_has_one_parent(dumps, tmp_path):
    sweep = [*arguments(dumps, tmp_path, "navigation/behaviour_cloning"), "trainer.max_epochs=1", "seed=0,1,2", "-m"]
    run("visagent-train", *sweep)
    assert sorted(r["seed"] for r in records(tmp_path)) == [0, 1, 2] and all(
        r["status"] == "FINISHED" for r in records(tmp_path)
    )
    client = MlflowClient(records(tmp_path)[0]["tracking_uri"])
    found = client.search_runs([client.get_experiment_by_name("visagent").experiment_id])
    (parent,) = (r for r in found if r.data.tags["visagent.kind"] == "multirun")
    children = [r for r in found if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(found) == 4 and len(children) == 3 and parent.info.status == "FINISHED"
    again = run("visagent-train", *sweep)
    assert again.stdout.count("this run is finished") == 3
    # the same parent, no new children
    assert len(client.search_runs([client.get_experiment_by_name("visagent").experiment_id])) == 4


@pytest.mark.slow
def test_two_ranks_learn_what_one_learns(dumps, tmp_path):
    """DDP on gloo: global batches are divided, so the weights are those of one process up to summation order."""
    common = ("logger=none", "trainer.accelerator=cpu", "trainer.max_epochs=2")
    run("visagent-train", *arguments(dumps, tmp_path / "one"), *common)
    run(
        "visagent-train",
        *arguments(dumps, tmp_path / "two"),
        *common,
        "trainer.devices=2",
        "trainer.strategy=ddp_find_unused_parameters_true",
    )
    (one,), (two,) = records(tmp_path / "one"), records(tmp_path / "two")
    assert one["signature"] == two["signature"] and two["status"] == "FINISHED"
    assert one["history"]["1"]["data/samples"] == pytest.approx(two["history"]["1"]["data/samples"], rel=0.2)
    first, second = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert first.keys() == second.keys()
    difference = max(
        float((first[key].double() - second[key].double()).abs().max()) for key in first if key.startswith("network")
    )
    assert difference < 5e-3


def test_evaluate_and_info(dumps, tmp_path):
    """From cold, as the scripts start."""
    run("visagent-train", *arguments(dumps, tmp_path), "logger=none", cold=True)
    (record,) = records(tmp_path)
    done = run(
        "visagent-evaluate",
        f"run={record['signature'][:4]}",
        f"paths.outputs={tmp_path}",
        "+datamodule.seed=5",
        cold=True,
    )
    assert "evaluated again with datamodule.seed: 0 -> 5" in " ".join(done.stdout.split())
    assert run("visagent-evaluate", "run=none", f"paths.outputs={tmp_path}", check=False).returncode == 2
    shown = run("visagent-info", "--outputs", str(tmp_path), cold=True).stdout
    assert record["signature"] in shown and "FINISHED" in shown and "torch" in shown and "headless OpenGL" in shown
