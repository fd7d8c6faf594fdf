"""A row of a benchmark, the parts of an area, and how they are printed and kept."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        value: ours; against: the peer's or the limit, in the same unit.
        better: `max` (ratio = value / against) or `min` (ratio = against / value): a ratio above the goal is always
            good.
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

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.ratio >= self.goal


@dataclass(frozen=True)
class Part:
    """Rows that are measured together.

    Attributes:
        seconds: that it takes on two cores, about.
        measure: gives the rows, each as soon as it is there.
    """

    name: str
    seconds: float
    measure: Callable[[], Iterable[Row]]


def median_seconds(
    function: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Median duration of several calls after one call to warm up."""
    function()
    durations = []
    for _ in range(repeats):
        began = clock()
        function()
        durations.append(clock() - began)
    return statistics.median(durations)


def alternating_medians(
    functions: Mapping[str, Callable[[], object]], repeats: int, device: str = "cpu"
) -> dict[str, float]:
    """Median durations in seconds, the functions called in turn, so that what else the machine does falls on all of
    them.
    """
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


def publish(area: str, parts: Sequence[Part], folder: Path = Path("outputs/bench")) -> bool:
    """Measure the parts, print each row as it is there and all of them at the end, write `<folder>/<area>.json`; True
    when every goal is met.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console = console if console.is_terminal else Console(width=140)
    rows: list[Row] = []
    for number, part in enumerate(parts):
        left = sum(each.seconds for each in parts[number:])
        console.print(
            f"{area}: {part.name}, about {part.seconds:.0f} of the {left:.0f} s that are left", highlight=False
        )
        for row in part.measure():
            rows.append(row)
            console.print(
                f"  {row.name}: {row.value:,.4g} {row.unit} against {row.against:,.4g}, "
                f"[{_colour(row)}]{row.ratio:.2f}[/]",
                highlight=False,
            )
    table = Table(title=f"benchmark: {area}", title_justify="left")
    for column in ("name", "ours", "against", "ratio", "goal", "unit", "peer or limit"):
        table.add_column(
            column, justify="right" if column in ("ours", "against", "ratio", "goal") else "left", overflow="fold"
        )
    for row in rows:
        ratio = f"[{_colour(row)}]{row.ratio:.2f}[/]"
        table.add_row(row.name, f"{row.value:,.4g}", f"{row.against:,.4g}", ratio, f"{row.goal:g}", row.unit, row.peer)
    console.print(table)
    folder.mkdir(parents=True, exist_ok=True)
    keys = ("name", "value", "against", "ratio", "goal", "better", "unit")
    content = [{key: {**asdict(row), "ratio": row.ratio}[key] for key in keys} for row in rows]
    (folder / f"{area}.json").write_text(json.dumps(content, indent=1) + "\n")
    return all(row.met for row in rows)


def _colour(row: Row) -> str:
    return "green" if row.met else "red"
