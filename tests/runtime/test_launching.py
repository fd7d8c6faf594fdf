"""Processes that the first one starts."""

from __future__ import annotations

from types import SimpleNamespace

from pytorch_lightning.strategies.launchers import subprocess_script

from visagent.runtime import launching


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
