"""Can any task be sped up by actors of their own? Speed-up against communication / computation (the
distributed-learning slides' question).

`python -m benchmarks.separation` lets actors sleep instead of computing and hand over arrays of several sizes, in
shared memory or pickled, and compares four of them with the same work done in the learner's own process.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from visagent.actors.pool import ActorPool, SerialActors
from visagent.actors.process import ProcessActors
from visagent.actors.roles import Report, Task
from visagent.experience.rollouts import Field
from visagent.runtime.provenance import commit, hardware
from visagent.tables.figures import COLOURS

COMPUTING_MS = (1.0, 3.0, 10.0, 30.0, 100.0)
MEGABYTES = (0.01, 1.0, 16.0)
ACTORS, ROUNDS = 4, 15


@dataclass(frozen=True)
class Sleepers:
    """Makes actors that sleep and then write an array.

    Args:
        seconds: of a task.
        size: of the array, bytes.
    """

    seconds: float
    size: int

    def fields(self) -> dict[str, Field]:
        return {"made": Field((self.size,), "uint8", 0)}

    def __call__(self, worker: int) -> Sleeper:
        return Sleeper(self)


class Sleeper:
    """See `Sleepers`."""

    policy: Any = None

    def __init__(self, factory: Sleepers) -> None:
        self.factory = factory

    def run(self, task: Task, out: Mapping[str, NDArray[Any]], version: int) -> Report:
        time.sleep(self.factory.seconds)
        out["made"][:] = task.iteration % 256
        return Report(version)

    def close(self) -> None:
        """Nothing to give back."""


@dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes:
        transport: of the arrays.
        megabytes: of one task.
        computing_ms: of one task.
        communication_ms: what one actor of its own adds to a task.
        speed_up: tasks a second of all actors, as a multiple of the learner's process alone.
    """

    transport: str
    megabytes: float
    computing_ms: float
    communication_ms: float
    speed_up: float

    @property
    def ratio(self) -> float:
        """Communication to computation."""
        return self.communication_ms / self.computing_ms


def _seconds(actors: ActorPool) -> float:
    """Median of a round: collect, and look at all that came."""
    actors.collect(Task(0, 0, True))
    found = []
    for number in range(ROUNDS):
        began = time.perf_counter()
        int(actors.collect(Task(0, number + 1, False)).arrays["made"][::64].max())
        found.append(time.perf_counter() - began)
    actors.close()
    return statistics.median(found)


def points() -> list[Point]:
    """All measurements."""
    found = []
    settings = [(size, ms) for size in MEGABYTES for ms in COMPUTING_MS]
    for megabytes, milliseconds in track(settings, "separation"):
        make = Sleepers(milliseconds / 1e3, int(megabytes * 1e6))
        alone = _seconds(SerialActors(make, 1))
        for shared in (True, False):
            one, many = (_seconds(ProcessActors(make, count, {}, shared_memory=shared)) for count in (1, ACTORS))
            transport = "shared memory" if shared else "pickled"
            found.append(Point(transport, megabytes, milliseconds, max(0.0, one - alone) * 1e3, ACTORS * alone / many))
    return found


def show(found: list[Point], folder: Path) -> None:
    """Write separation.png, .csv and .md."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for index, transport in enumerate(("shared memory", "pickled")):
        chosen = [point for point in found if point.transport == transport]
        axes.scatter(
            [max(p.ratio, 1e-4) for p in chosen],
            [p.speed_up for p in chosen],
            color=COLOURS[index],
            marker="os"[index],
            label=transport,
        )
    ratios = np.logspace(-4, 1.5, 100)
    axes.plot(
        ratios,
        ACTORS / (1 + ratios),
        color="#222222",
        linewidth=1,
        label="communication beside each other: N / (1 + r)",
    )
    axes.plot(
        ratios,
        1 / np.maximum(ratios, (1 + ratios) / ACTORS),
        color="#222222",
        linewidth=1,
        linestyle=":",
        label="one after the other: at most 1 / r",
    )
    axes.axhline(1.0, color="#888888", linewidth=0.8)
    axes.set(xscale="log", yscale="log", xlabel="communication / computation, r", ylabel=f"speed-up by {ACTORS} actors")
    axes.set_title("Separating actors from the learner (laptop scale)")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "separation.png", dpi=110)
    with (folder / "separation.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["transport", "megabytes", "computing_ms", "communication_ms", "speed_up"])
        writer.writerows(
            [f"{value:.4g}" if isinstance(value, float) else value for value in astuple(point)] for point in found
        )
    by_ratio = sorted(found, key=lambda point: point.ratio)
    worth = [point.ratio for point in takewhile(lambda point: point.speed_up >= ACTORS / 2, by_ratio)]
    slower = [point.ratio for point in takewhile(lambda point: point.speed_up < 1, reversed(by_ratio))]
    machine = hardware()
    lines = [
        "# Can any task be sped up by actors of their own? (laptop scale)",
        "",
        f"{ACTORS} actors that sleep instead of computing, then hand over an array; medians of {ROUNDS} rounds. "
        "Speed-up is that over the same work in the",
        "learner's process; communication is what one actor of its own adds to a task.",
        "",
        "By the ratio of communication to computation: "
        + (
            f"all points up to {worth[-1]:.2g} reach at least half of the {ACTORS} times; "
            if worth
            else f"the smallest does not reach half of the {ACTORS} times; "
        )
        + (
            f"all points from {slower[-1]:.2g} on are slower than one process."
            if slower
            else "the largest is not slower than one process."
        ),
        "",
        "| transport | MB | computing (ms) | communication (ms) | ratio | speed-up |",
        "|---|---|---|---|---|---|",
        *(
            f"| {p.transport} | {p.megabytes:g} | {p.computing_ms:g} | {p.communication_ms:.2f} | {p.ratio:.3f} | "
            f"{p.speed_up:.2f} |"
            for p in sorted(found, key=lambda point: (point.transport, point.megabytes, point.computing_ms))
        ),
        "",
        f"{machine['cpu']}, {machine['cores']} cores; commit {commit()}; `python -m benchmarks.separation`.",
        "",
        "![speed-up](separation.png)",
    ]
    (folder / "separation.md").write_text("\n".join(lines) + "\n")
    print(folder / "separation.md")


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser("python -m benchmarks.separation", description=__doc__)
    parser.add_argument("--to", type=Path, default=Path("docs/results/surreal/laptop"))
    show(points(), parser.parse_args().to)


if __name__ == "__main__":
    main()
