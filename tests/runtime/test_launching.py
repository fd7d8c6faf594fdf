"""Processes that the first one starts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from pytorch_lightning.strategies.launchers import subprocess_script

from chromium import free_port
from visagent.errors import ConfigError
from visagent.runtime import launching
from visagent.runtime.allocation import Task


def test_a_process_has_time_to_write_down_why_another_one_failed(monkeypatch):
    done = []
    monkeypatch.setattr(launching.time, "sleep", lambda seconds: done.append(("waits", seconds)))
    monkeypatch.setattr(launching.os, "kill", lambda number, _: done.append(("kills", number)))
    failed = SimpleNamespace(pid=7, returncode=1, poll=lambda: 1, send_signal=lambda _: done.append(("kills", 7)))
    launching.PatientObserver(main_pid=5, child_processes=[failed])._run()
    assert done == [("waits", launching.PATIENCE), ("kills", 7), ("kills", 5)]
    monkeypatch.setattr(subprocess_script, "_launch_process_observer", None)
    launching.leave_time_for_last_words()
    started = []
    monkeypatch.setattr(launching.PatientObserver, "start", lambda self: started.append(self._main_pid))
    subprocess_script._launch_process_observer([])
    assert started == [launching.os.getpid()]


def meet_as(monkeypatch, numbers, within_s):
    """What three tasks make of it when those of `numbers` come: nothing, or an error each."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port() - 1))
    with ThreadPoolExecutor() as tasks:
        coming = [tasks.submit(launching._wait, Task("7", n, 3, 3), within_s) for n in numbers]
        return [each.exception() for each in coming]


def test_tasks_wait_for_each_other_and_no_longer(monkeypatch):
    assert meet_as(monkeypatch, [2, 0, 1], 60) == [None, None, None]
    (error,) = meet_as(monkeypatch, [0], 0.2)
    assert "task 0 waited in vain for 1, 2" in str(error) and "type launcher.meeting_s=0.8" in str(error)
    first, second = meet_as(monkeypatch, [0, 1], 0.5)
    assert "task 0 waited in vain for 2" in str(first) and second is None
    (error,) = meet_as(monkeypatch, [1], 0.2)
    assert isinstance(error, ConfigError) and "task 1 waited in vain for 0" in str(error)
