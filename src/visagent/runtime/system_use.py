"""What a run takes of its machine over time, in a table, `system.csv`."""

from __future__ import annotations

import csv
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

import psutil

SECONDS = 10.0
"""Between two samples."""
COLUMNS = ("time", "cores", "memory_gib", "machine_cores", "gpu_share", "gpu_memory_gib")
GIB = 2**30


class SystemUse:
    """Samples this process and those that it started, from a thread of its own; a resumed run goes on with the table.

    Columns: Unix time; cores that the run kept busy, and all of the machine together, since the sample before; resident
    memory of its processes (what they share counts for each); the first GPU's busy share and this process's memory
    there, empty without one.

    Args:
        path: of the table.
        seconds: between two samples.
    """

    def __init__(self, path: Path, seconds: float = SECONDS) -> None:
        self.path, self.seconds = path, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="system-use", daemon=True)
        self._before = (time.monotonic(), 0.0, 0.0)
        self._spent: dict[tuple[int, float], float] = {}

    def __enter__(self) -> SystemUse:
        self._before = (time.monotonic(), self._used()[0], _busy())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self.seconds)
        self._sample()

    def _watch(self) -> None:
        while not self._stop.wait(self.seconds):
            self._sample()

    def _used(self) -> tuple[float, float]:
        """Processor seconds of all processes so far, those that have ended included, and their memory now."""
        own = psutil.Process()
        memory = 0
        for process in [own, *own.children(recursive=True)]:
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    self._spent[process.pid, process.create_time()] = times.user + times.system
                    memory += process.memory_info().rss
            except psutil.Error:  # it has just ended
                continue
        return sum(self._spent.values()), memory / GIB

    def _sample(self) -> None:
        spent, memory = self._used()
        now, all_spent = time.monotonic(), _busy()
        (then, before, all_before), self._before = self._before, (now, spent, all_spent)
        cores, machine = (max(0.0, more) / max(now - then, 1e-6) for more in (spent - before, all_spent - all_before))
        row = (int(time.time()), f"{cores:.2f}", f"{memory:.3f}", f"{machine:.2f}", *_gpu())
        try:
            fresh = not self.path.is_file()
            with self.path.open("a", newline="") as file:
                table = csv.writer(file)
                if fresh:
                    table.writerow(COLUMNS)
                table.writerow(row)
        except OSError:  # a full disk is said where it matters
            return


def _busy() -> float:
    """Processor seconds that the whole machine has spent on anything."""
    times = psutil.cpu_times()._asdict()
    guests = times.get("guest", 0.0) + times.get("guest_nice", 0.0)  # they are part of user and nice
    return float(sum(times.values()) - times["idle"] - times.get("iowait", 0.0) - guests)


def _gpu() -> tuple[str, str]:
    """The first GPU's busy share, where NVML's Python package is there to say it, and this process's memory on it."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return "", ""
    try:
        share = f"{torch.cuda.utilization() / 100:.2f}"
    except (ModuleNotFoundError, RuntimeError, OSError):
        share = ""
    return share, f"{torch.cuda.memory_reserved() / GIB:.3f}"


def read_use(path: Path) -> dict[str, list[float]]:
    """The table's columns, with seconds since its first sample for times; what is not there is left out."""
    if not path.is_file():
        return {}
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if None not in row.values()]
    columns = {name: [float(row[name]) for row in rows if row.get(name)] for name in COLUMNS}
    whole = {name: values for name, values in columns.items() if len(values) == len(rows) and rows}
    if "time" in whole:
        whole["time"] = [value - whole["time"][0] for value in whole["time"]]
    return whole
