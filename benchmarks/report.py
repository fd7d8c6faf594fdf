"""One row of a benchmark, and how an area is printed and kept."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        value: ours; against: the peer's or the limit, in the same unit.
        better: `max` (ratio = value / against) or `min` (ratio = against / value): a ratio above the goal is always good.
        peer: what `against` is, in words (printed only).
    """

    name: str
    value: float
    against: float
    goal: float
    better: Literal["max", "min"]
    unit: str
    peer: str

    @property
    def ratio(self) -> float:
        return self.value / self.against if self.better == "max" else self.against / self.value


def median_seconds(function: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Median duration of several calls after one call to warm up."""
    function()
    durations = []
    for _ in range(repeats):
        began = clock()
        function()
        durations.append(clock() - began)
    return statistics.median(durations)


def alternating_medians(functions: Mapping[str, Callable[[], object]], repeats: int, device: str = "cpu") -> dict[str, float]:
    """Median durations in seconds, the functions called in turn, so that what else the machine does falls on all of them."""
    import torch

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    durations: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            wait()
            began = time.perf_counter()
            function()
            wait()
            if repeat:  # the first one warms up
                durations[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in durations.items()}


def publish(area: str, rows: list[Row], folder: Path = Path("outputs/bench")) -> bool:
    """Print the rows and write `<folder>/<area>.json`; True when every goal is met."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"benchmark: {area}", title_justify="left")
    for column in ("name", "ours", "against", "ratio", "goal", "unit", "peer or limit"):
        table.add_column(column, justify="right" if column in ("ours", "against", "ratio", "goal") else "left", overflow="fold")
    for row in rows:
        met = "green" if row.ratio >= row.goal else "red"
        table.add_row(row.name, f"{row.value:,.4g}", f"{row.against:,.4g}", f"[{met}]{row.ratio:.2f}[/{met}]", f"{row.goal:g}", row.unit, row.peer)
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)
    folder.mkdir(parents=True, exist_ok=True)
    keys = ("name", "value", "against", "ratio", "goal", "better", "unit")
    content = [{key: {**asdict(row), "ratio": row.ratio}[key] for key in keys} for row in rows]
    (folder / f"{area}.json").write_text(json.dumps(content, indent=1) + "\n")
    return all(row.ratio >= row.goal for row in rows)
