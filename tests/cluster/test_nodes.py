"""One run on two nodes."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
import torch

from processes import BIN, checkpoint, record, run

pytestmark = [pytest.mark.cluster, pytest.mark.process, pytest.mark.xdist_group("cluster")]
SMALL = ("network.embedding=64", "network.fusion=64", "network.scene_layer=64", "network.projection=32")
FAMILIES = {
    "supervised": ("experiment=navigation/behaviour_cloning", *SMALL),
    "reinforcement": ("experiment=ppo/cartpole", "datamodule.actors=2"),
}
DDP = "trainer.strategy=ddp_find_unused_parameters_true"


def arguments(family, dumps, outputs):
    scenes = (f"datamodule.scenes={dumps}", "datamodule.scene_names=[]") if family == "supervised" else ()
    shared = ("debug=smoke", "progress=none", "logger=none", "trainer.accelerator=cpu", f"paths.outputs={outputs}")
    return (*FAMILIES[family], *scenes, *shared)


@pytest.mark.parametrize("family", FAMILIES)
def test_two_nodes_learn_what_one_process_learns(family, slurm, dumps, tmp_path):
    """Nobody names an address: the nodes' names resolve nowhere, and Slurm knows better."""
    assert "MASTER_ADDR" not in os.environ
    run("visagent-train", *arguments(family, dumps, tmp_path / "one"))
    run("visagent-train", *arguments(family, dumps, tmp_path / "two"), "launcher=slurm", "trainer.num_nodes=2", DDP)
    ended = record(tmp_path / "two")
    assert ended["status"] == "FINISHED" and ended["hardware"]["nodes"] == "n1, n2"
    assert ended["signature"] == record(tmp_path / "one")["signature"]
    one, two = (checkpoint(tmp_path / name)["state_dict"] for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-4, msg=name)


def test_learners_on_two_nodes_gossip(slurm, tmp_path):
    """Three of them: the first and the third on the first task's node, the second on the other."""
    words = ("experiment=distributed/digits", "learners=gossip", "learners.count=3", "trainer.max_epochs=6")
    quiet = ("progress=none", "logger=none", "trainer.accelerator=cpu", f"paths.outputs={tmp_path}")
    run("visagent-train", *words, *quiet, "launcher=slurm", "launcher.nodes=2")
    first = record(tmp_path)
    assert first["status"] == "FINISHED" and len(first["history"]) == 6
    assert all(values["learners/alive"] == 3.0 for values in first["history"].values())
    assert first["history"]["5"]["learners/samples"] > first["history"]["5"]["step"]
    nodes = {0: first["hardware"]["nodes"]}
    for number in (1, 2):
        (path,) = tmp_path.glob(f"runs/*/learners/{number}/record.json")
        other = json.loads(path.read_text())
        assert other["status"] == "FINISHED" and len(other["history"]) == 6
        nodes[number] = other["hardware"]["nodes"]
    assert nodes[0] == nodes[2] != nodes[1] and set(nodes.values()) == {"n1", "n2"}
    assert not list(tmp_path.glob("runs/*/learners-*.json")), "where they met is nobody's to know"


def test_tasks_that_the_trainer_does_not_know_are_refused(slurm, dumps, tmp_path):
    """Started by hand: each task would train the whole run."""
    command = [BIN / "visagent-train", *arguments("reinforcement", dumps, tmp_path)]
    done = subprocess.run(
        ["srun", "--nodes=2", "--ntasks-per-node=1", *command], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2 and "type trainer.num_nodes=2 trainer.devices=1" in done.stderr
    assert not (tmp_path / "runs").exists()
