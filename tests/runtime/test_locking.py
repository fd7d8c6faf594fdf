"""Locks of run folders: here, from another node whose locks do not reach here, and on file systems without any."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from visagent.errors import ConfigError
from visagent.runtime import locking
from visagent.runtime.locking import file_system, held, is_held
from visagent.runtime.run_folder import RunBusy, RunFolder
from visagent.runtime.slurm import QueueSilent


def test_a_lock_names_its_holder_and_forgets_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURMD_NODENAME", "n1")
    folder = RunFolder(tmp_path)
    with folder.locked():
        assert folder.is_locked()
        with pytest.raises(RunBusy, match=rf"process {os.getpid()} on n1 in job 7"), RunFolder(tmp_path).locked():
            pass
    assert not folder.is_locked() and (tmp_path / "lock").read_text() == ""


@pytest.mark.parametrize(
    ("jobs", "busy"),
    [
        ({"7": "RUNNING"}, True),
        ({"7": "PENDING"}, False),  # put back into the queue: it left the lock behind
        ({}, False),
        (QueueSilent("no Slurm"), False),
    ],
)
def test_a_lock_of_another_node_holds_as_long_as_its_job_runs(jobs, busy, tmp_path, monkeypatch):
    """On a file system whose locks stay on one node, what is written is all that there is."""

    def ask():
        if isinstance(jobs, Exception):
            raise jobs
        return jobs

    monkeypatch.setattr(locking, "live_jobs", ask)
    (tmp_path / "lock").write_text("123 n2 7")
    assert is_held(tmp_path / "lock") is busy
    if busy:
        with pytest.raises(BlockingIOError, match="process 123 on n2 in job 7"), held(tmp_path / "lock"):
            pass
        monkeypatch.setenv("SLURM_JOB_ID", "7")  # the same job, which began again here
    with held(tmp_path / "lock"):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(number, tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    kind = file_system(tmp_path)
    with pytest.raises(ConfigError, match=rf"got {kind} .*paths.outputs=DIR"), RunFolder(tmp_path).locked():
        pass


def test_what_a_path_lies_on():
    assert file_system(Path("/proc/self")) == "proc" and file_system(Path("/")) != "proc"
