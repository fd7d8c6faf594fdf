"""Which runs a table needs, and what is there of them: the run folder of the very same signature, or nothing."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from visagent.config.composition import Composed, compose_run, config_folder, expert_config, expert_overrides, is_shared
from visagent.config.signature import difference, signature
from visagent.errors import ConfigError
from visagent.runtime.queue import waiting
from visagent.runtime.record import Record
from visagent.runtime.run_folder import RunFolder
from visagent.tables.grid import AT_THE_END, Grid, Reading

State = Literal["finished", "running", "failed", "cut off", "not started"]
OWN_KEYS = ("seed", "scale", "name", "paths.run", "experiment", "debug")
"""Every table sets these: given by hand they would mix up its rows, seeds or scales."""
RunKey = tuple[tuple[str, ...], int]
"""(overrides of the cell, seed)."""


@dataclass(frozen=True)
class TableRun:
    """One (cell, seed) run; cells with the same overrides share it.

    Attributes:
        label: short, for people: the cell's overrides and the seed.
        overrides: of `visagent-train`, seed and the user's own included.
        config: resolved.
        state: `finished` alone gives numbers.
        reason: why a failed run failed.
        record: what the folder holds, where the state is `finished`.
        expert: the run that it needs, whose policy it imitates; None where it needs none.
        analysed: what `visagent-analyse` found of it, where the state is `finished`.
    """

    label: str
    overrides: tuple[str, ...]
    seed: int
    signature: str
    config: Mapping[str, Any]
    folder: RunFolder
    state: State
    reason: str | None
    record: Record | None
    expert: TableRun | None = None
    analysed: Mapping[str, float] = field(default_factory=dict)

    @property
    def level(self) -> int:
        """How many runs in turn are to be finished before this one can begin."""
        return 0 if self.expert is None or self.expert.state == "finished" else 1 + self.expert.level

    @property
    def elsewhere(self) -> bool:
        """Whether another process works on it, for which no launcher waits: one of Slurm's jobs is waited for."""
        if self.state != "running":
            return False
        return self.config["launcher"]["kind"] != "slurm" or waiting(self.folder) is None

    @property
    def command(self) -> str:
        """What starts or resumes it by hand."""
        return shlex.join(["visagent-train", *self.overrides])

    def value(self, metrics: Sequence[str], reading: Reading = AT_THE_END) -> float | None:
        """The sum of the record's metrics of these names, or of analyses', or None where one of them is missing.

        At the end, final metrics come first, then those of the last epoch. A level that was never reached is infinitely
        far.
        """
        if self.record is None:
            return None
        epochs = [self.record.history[epoch] for epoch in sorted(self.record.history, key=int)]
        if reading.over == "end":
            epochs = [{**(epochs[-1] if epochs else {}), **self.record.metrics, **self.analysed}]
        needed = [*metrics, reading.x] if reading.over == "reached" else metrics
        points = [
            (sum(epoch[name] for name in metrics), epoch) for epoch in epochs if all(name in epoch for name in needed)
        ]
        # an epoch in which it is undefined is no peak
        points = [point for point in points if math.isfinite(point[0])] or points
        if not points:
            return None
        if reading.over == "reached":
            return next((epoch[reading.x] for value, epoch in points if value >= reading.level), math.inf)
        return max(value for value, _ in points)


@dataclass(frozen=True)
class Known:
    """What planning a table has found.

    Attributes:
        composed: configs; see `visagent.config.composition.compose_run`.
        experts: by signature, runs that others need.
    """

    composed: Composed
    experts: dict[str, TableRun]


def _key(override: str) -> str:
    return override.lstrip("+~").split("=", 1)[0]


def check_overrides(overrides: Iterable[str], grid: Grid) -> None:
    """Refuse overrides that are the table's own to set, in its rows, columns, panels or scales or for every table.

    Raises:
        ConfigError: naming the option to use instead.
    """
    own = {*OWN_KEYS, *(_key(override) for cell in grid.cells.values() for override in cell.overrides)}
    for override in overrides:
        key = _key(override)
        if "=" not in override and not override.startswith("~"):
            raise ConfigError(f"expected NAME, options or KEY=VALUE, got {override!r}")
        if key in own:
            instead = {
                "seed": ": type --seeds 0,1,2",
                "scale": ": type --scale smoke, laptop or paper",
                "debug": ": type --scale smoke",
            }.get(key, "")
            raise ConfigError(f"{override!r}: a table sets {key} itself{instead}")


def plan(grid: Grid, extra: Sequence[str] = ()) -> dict[RunKey, TableRun]:
    """All runs of a table, each once, with their states.

    Args:
        grid: the expanded table.
        extra: the user's overrides of every run; they enter the signatures like any other.

    Raises:
        ConfigError: when a cell composes to another scale, or does not compose.
    """
    check_overrides(extra, grid)
    runs: dict[RunKey, TableRun] = {}
    known = Known({}, {})
    with config_folder():
        for cell in grid.cells.values():
            for seed in grid.seeds:
                if (cell.overrides, seed) not in runs:
                    runs[(cell.overrides, seed)] = look_up(grid, cell.overrides, tuple(extra), seed, known)
    return runs


def look_up(grid: Grid, own: tuple[str, ...], extra: tuple[str, ...], seed: int, known: Known) -> TableRun:
    """Compose one run, within `config_folder()`, and look for its folder.

    Args:
        grid: the expanded table.
        own: overrides of the cell.
        extra: those of the user.
        seed: of the run.
        known: filled.
    """
    overrides = (*own, *extra, f"seed={seed}")
    label = " ".join([*(override.removeprefix("experiment=") for override in own), f"seed={seed}"])
    config = compose_run(overrides, known.composed)
    if config["scale"] != grid.scale or config["seed"] != seed:
        got = f"scale {config['scale']}, seed {config['seed']}"
        raise ConfigError(
            f"table {grid.name}: {shlex.join(overrides)} composes to {got}, expected scale {grid.scale}, seed {seed}"
        )
    return _table_run(label, overrides, config, known)


def _table_run(label: str, overrides: tuple[str, ...], config: Mapping[str, Any], known: Known) -> TableRun:
    name = signature(config)
    folder = RunFolder(Path(config["paths"]["outputs"]) / "runs" / name)
    state, reason, record = _state(folder, name, config)
    expert = None if state == "finished" else _expert(config, overrides, known)
    analysed = folder.analysed() if state == "finished" else {}
    return TableRun(
        label, overrides, int(config["seed"]), name, config, folder, state, reason, record, expert, analysed
    )


def _expert(config: Mapping[str, Any], told: tuple[str, ...], known: Known) -> TableRun | None:
    """The run that one needs, started with the same folders and tracking as that."""
    asked = config["algorithm"].get("expert")
    if asked is None:
        return None
    if asked["signature"] not in known.experts:
        needed = expert_config(config, known.composed)
        assert needed is not None
        own = expert_overrides(config)
        shared = [override for override in told if is_shared(_key(override))]
        label = "expert: " + " ".join(override.removeprefix("experiment=") for override in own)
        known.experts[asked["signature"]] = _table_run(label, (*own, *shared), needed, known)
    return known.experts[asked["signature"]]


def _state(folder: RunFolder, name: str, config: Mapping[str, Any]) -> tuple[State, str | None, Record | None]:
    try:
        record = folder.load()
        if record is None:
            return ("running" if folder.is_locked() or waiting(folder) is not None else "not started"), None, None
        stored = folder.config()
    except ConfigError as error:
        return "failed", str(error), None
    if (
        record.signature != name
        or record.scale != config["scale"]
        or record.seed != config["seed"]
        or difference(stored, config)
    ):
        return "failed", f"{folder.path} holds another run than its name says: move it away", None
    if record.status == "FINISHED":
        return "finished", None, record
    if folder.is_locked() or (record.status in ("KILLED", "RUNNING") and waiting(folder) is not None):
        return "running", None, None
    if record.status == "FAILED":
        return "failed", _last_line(record.error), None
    return "cut off", None, None


def _last_line(error: str | None) -> str:
    lines = [line for line in (error or "").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no message"
