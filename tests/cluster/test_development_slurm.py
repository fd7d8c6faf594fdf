"""`tools/slurm-dev` starts a cluster, and ends it and nothing else."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from cluster_tests import TOOL

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
DAEMONS = {"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmstepd"}


def daemons() -> dict[int, str]:
    """Daemons of this machine, by process; those that have ended and were not waited for do not count."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = path.read_text().partition(" (")
        except OSError:
            continue
        name, _, state = rest.rpartition(") ")
        if name in DAEMONS and not state.startswith("Z"):
            found[int(number)] = name
    return found


def test_it_starts_with_idle_nodes_and_leaves_nothing_behind(slurm, tmp_path):
    """Beside another one, which is the tests' own."""
    before = daemons()
    began = time.monotonic()
    started = subprocess.run([TOOL, "start", tmp_path / "another"], capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    print(f"{time.monotonic() - began:.1f} s to two idle nodes")
    assert "export SLURM_CONF=" in started.stdout
    again = subprocess.run([TOOL, "start", tmp_path / "another"], capture_output=True, text=True)
    assert again.returncode == 1 and "running already" in again.stderr
    status = subprocess.run([TOOL, "status", tmp_path / "another"], capture_output=True, text=True)
    assert status.returncode == 0 and "n1 idle, n2 idle" in status.stdout
    assert sorted(daemons().values()) == sorted(
        [*before.values(), "munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmd"]
    )
    environment = {"SLURM_CONF": str(tmp_path / "another" / "slurm.conf"), "PATH": "/usr/bin:/bin"}
    job = subprocess.run(
        ["sbatch", "--wrap", "sleep 600", "--output", "/dev/null"], env=environment, capture_output=True, text=True
    )
    assert job.returncode == 0, job.stderr
    assert subprocess.run([TOOL, "stop", tmp_path / "another"]).returncode == 0
    assert daemons() == before
    assert subprocess.run([TOOL, "status", tmp_path / "another"], capture_output=True).returncode == 1
