"""Actors on Ray: the batches of the serial backend, two local nodes of which one is killed, PPO end to end."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from chromium import free_port
from visagent.actors.pool import SerialActors
from visagent.actors.queued import ActorError
from visagent.actors.ray_actors import RayActors
from visagent.actors.roles import Task
from visagent.actors.segments import RolloutRoleFactory
from visagent.networks.actor_critic import ActorCritic
from visagent.runtime.train import train
from visagent.testing.worlds import CountingWorlds, ReusingWorlds

pytestmark = [
    pytest.mark.process,
    pytest.mark.xdist_group("ray"),
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray.*", "ignore::ResourceWarning"),
]


def segments(worlds):
    torch.manual_seed(0)
    policy = ActorCritic(worlds.spaces(), [8], [8], "tanh", False, -0.5, True, 16, 0, True)
    return RolloutRoleFactory(worlds, policy, 2, 6, 0), policy.state_dict()


class Nodes:
    """A Ray cluster of two nodes on this machine; what was started is ended by its process group."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        token = secrets.token_hex(32)
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
            "RAY_USAGE_STATS_ENABLED": "0",
            "OMP_NUM_THREADS": "1",
        }
        self.folder = folder
        head = ("--head", f"--port={self.port}", "--include-dashboard=false", f"--temp-dir={folder}")
        self.processes = [self._start("head", *head)]
        deadline = time.monotonic() + 90
        while "Ray runtime started" not in (folder / "head.log").read_text():
            assert time.monotonic() < deadline, (folder / "head.log").read_text()
            time.sleep(0.3)
        self.processes.append(self._start("other", f"--address={self.address}"))
        while "Ray runtime started" not in (folder / "other.log").read_text():
            assert time.monotonic() < deadline, (folder / "other.log").read_text()
            time.sleep(0.3)

    def _start(self, name: str, *options: str) -> subprocess.Popen:
        common = (
            "--num-cpus=4",
            "--object-store-memory=100000000",
            "--disable-usage-stats",
            "--node-ip-address=127.0.0.1",
            "--block",
        )
        command = [str(Path(sys.executable).parent / "ray"), "start", *options, *common]
        environment = {**os.environ, **self.environment, "PYTHONUNBUFFERED": "1"}
        with (self.folder / f"{name}.log").open("w") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)

    def kill(self, number: int) -> None:
        """A node as if its power had been cut."""
        os.killpg(self.processes[number].pid, signal.SIGKILL)
        self.processes[number].wait()

    def close(self) -> None:
        for number, process in enumerate(self.processes):
            if process.poll() is None:
                self.kill(number)


@pytest.fixture(scope="module")
def nodes():
    # a short path: Ray's sockets lie in it
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        started = Nodes(Path(folder))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in started.environment.items():
                patch.setenv(name, value)
            yield started
        started.close()


def test_two_nodes_collect_what_one_process_collects_and_one_may_die(nodes, compose, tmp_path):
    make, weights = segments(ReusingWorlds(4, truncates=True))  # what these worlds show changes in place
    serial, spread = SerialActors(make, 4), RayActors(make, 4, address=nodes.address)
    try:
        assert len(set(spread.nodes())) == 2
        for version, task in enumerate((Task(0, 0, True), Task(0, 1, False), Task(1, 0, True))):
            batches = []
            for actors in (serial, spread):
                actors.publish(
                    {name: value + version if value.is_floating_point() else value for name, value in weights.items()},
                    version,
                )
                batches.append({name: array.copy() for name, array in actors.collect(task).arrays.items()})
            assert all(np.array_equal(batches[0][name], batches[1][name]) for name in batches[0])
        home = spread.nodes()
        nodes.kill(1)
        found = spread.collect(Task(1, 1, False))
        now = spread.nodes()
        moved = [worker for worker in range(4) if home[worker] != now[worker]]
        assert len(set(now)) == 1 and moved and found.restarts >= len(moved)  # the dying node may be asked once more
        for worker, report in enumerate(found.reports):  # whole segments, from new episodes where an actor is new
            shown = found.arrays["observation.state"][:, 2 * worker, 0]
            assert (
                shown.tolist() == ([0, 1, 2, 3, 0, 1] if worker in moved else [2, 3, 0, 1, 2, 3])
                and report.version == 2
            )
    finally:
        spread.close()
    record = train(
        compose("ppo/cartpole", "actors=ray", f"datamodule.address={nodes.address}", f"paths.outputs={tmp_path}/ray")
    )
    one = train(compose("ppo/cartpole", "actors=serial", f"paths.outputs={tmp_path}/serial"))
    assert record.metrics == one.metrics and record.env_steps == one.env_steps


def test_a_broken_world_on_ray_stops_the_run_with_its_traceback(nodes):
    make, weights = segments(CountingWorlds(9, fails_at=3, learner=os.getpid()))
    actors = RayActors(make, 1, address=nodes.address)
    actors.publish(weights, 0)
    with pytest.raises(ActorError, match=r"(?s)actor 0 failed 3 times in a row.*RuntimeError: the world is broken"):
        actors.collect(Task(0, 0, True))
