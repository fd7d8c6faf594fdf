"""A Slurm of the tests' own: two nodes on this machine, started once."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_tests import TOOL, environment_of, processes

from chromium import wait_for


class Slurm:
    """The cluster, and what its client commands say."""

    def __init__(self, folder: Path) -> None:
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def say(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip()

    def running(self) -> list[str]:
        """Jobs that a node works on."""
        return self.say("squeue", "-h", "-r", "-t", "running", "-o", "%i").split()

    def wait_for_nobody(self) -> None:
        """Until no job is there."""
        wait_for(lambda: not self.say("squeue", "-h"), "the queue to empty", 120)

    def tasks(self, job: str) -> list[int]:
        """Processes that a job's tasks run in, as Slurm has started them."""
        found = []
        for number, _ in processes():
            variables = environment_of(number)
            array = variables.get("SLURM_ARRAY_JOB_ID")
            this = f"{array}_{variables['SLURM_ARRAY_TASK_ID']}" if array else variables.get("SLURM_JOB_ID")
            if this == job and "SLURM_STEP_NUM_TASKS" in variables:
                found.append(number)
        return sorted(found)


@pytest.fixture(scope="session")
def _started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("slurm")
    done = subprocess.run([TOOL, "start", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no Slurm can be started here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([TOOL, "stop", folder], check=True, capture_output=True)


@pytest.fixture
def slurm(_started: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """A cluster whose queue is empty, before and afterwards."""
    monkeypatch.setenv("SLURM_CONF", str(_started / "slurm.conf"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster = Slurm(_started)
    yield cluster
    cluster.say("scancel", "--user", str(os.getuid()))
    cluster.wait_for_nobody()
