"""A learner whose actors are on all nodes of its job, one of which fails."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from cluster_tests import TOOL, environment_of, processes

from chromium import wait_for
from processes import Command, record, records, run

pytestmark = [
    # not imported here: Ray reads the environment of its tests as it is imported
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
    pytest.mark.cluster,
    pytest.mark.process,
    pytest.mark.xdist_group("cluster"),
]


def of_ray() -> list[int]:
    """Processes of any Ray on this machine."""
    words = (b"raylet", b"gcs_server", b"ray::", b"ray start")
    return [number for number, command in processes() if any(word in command for word in words)]


def actors() -> dict[str, list[int]]:
    """Processes of actors, by node."""
    found: dict[str, list[int]] = {}
    for number, command in processes():
        if command.startswith(b"ray::_Worker"):
            found.setdefault(environment_of(number).get("SLURMD_NODENAME", "?"), []).append(number)
    return found


def test_a_node_that_fails_takes_no_run_with_it(slurm, tmp_path, monkeypatch):
    """On a cluster of its own, as one of its nodes does not come back."""
    folder = tmp_path / "slurm"
    assert subprocess.run([TOOL, "start", folder], capture_output=True).returncode == 0
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    before = of_ray()
    ask = ("experiment=ppo/cartpole", "debug=smoke", "progress=none", "logger=none", "trainer.max_epochs=150")
    try:
        with Command(
            "visagent-train",
            *ask,
            f"paths.outputs={tmp_path}",
            "actors=ray",
            "datamodule.actors=2",
            "launcher=slurm",
            "launcher.nodes=2",
        ) as command:
            wait_for(lambda: any(len(each["history"]) >= 3 for each in records(tmp_path)), "three epochs", 400)
            assert {node: len(there) for node, there in actors().items()} == {"n1": 1, "n2": 1}
            (daemon, _) = json.loads((folder / "started.json").read_text())["slurmd-n2"]
            os.kill(daemon, signal.SIGKILL)
            for number, _ in processes():
                if environment_of(number).get("SLURMD_NODENAME") == "n2":
                    os.kill(number, signal.SIGKILL)
            done = command.wait()
        assert done.returncode == 0, done.stderr
        ended = record(tmp_path)
        assert ended["status"] == "FINISHED" and ended["attempts"] == 1
        assert max(epoch["data/actor_restarts"] for epoch in ended["history"].values()) >= 1
        wait_for(lambda: set(of_ray()) <= set(before), "all of Ray to end", 60)
    finally:
        subprocess.run([TOOL, "stop", folder], capture_output=True)


def test_one_learner_is_all_that_ray_nodes_serve(slurm, tmp_path):
    ask = ("experiment=ppo/cartpole", "debug=smoke", "launcher=slurm", "launcher.nodes=2", f"paths.outputs={tmp_path}")
    done = run("visagent-train", *ask, "actors=ray", "trainer.num_nodes=2", check=False)
    assert done.returncode == 2 and "type trainer.num_nodes=1 trainer.devices=1" in done.stderr
    assert not Path(tmp_path / "runs").exists()
