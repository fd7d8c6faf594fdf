"""A table's numbers: cells with their statistics, marks, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from visagent.config.signature import changes_identity
from visagent.config.table_schemas import MeasureConfig
from visagent.tables.grid import Cell, Grid
from visagent.tables.runs import RunKey, TableRun
from visagent.tables.statistics import STATISTICS, interquartile_mean, standard_deviation, stratified_bootstrap

BETTER, CLOSE, WORSE = "✓", "≈", "✗"
"""At least as good as the paper's; worse by no more than the tolerance; worse by more. Of `better: same`: close, or ✗.
"""
NO_METRIC = "the run has no such metric"
ANALYSIS = "analysis/"
"""How names of numbers begin that `visagent-analyse` finds, `analysis/KIND/NAME`."""


@dataclass(frozen=True)
class CellResult:
    """What a cell shows.

    Attributes:
        values: seed -> number, of the runs that have one.
        missing: seed -> why it has none.
        value: the table's statistic over the seeds, None without any.
        std: over the seeds (n - 1), None of one.
        iqm: interquartile mean over the seeds.
        interval: bootstrap interval of `value`, None below three seeds.
        paper: the paper's number.
        difference: ours less the paper's.
        mark: see `BETTER`, `CLOSE`, `WORSE`; empty where there is nothing to compare.
    """

    spec: MeasureConfig
    values: Mapping[int, float]
    missing: Mapping[int, str]
    value: float | None
    std: float | None
    iqm: float | None
    interval: tuple[float, float] | None
    paper: float | None
    difference: float | None
    mark: str
    place: str = ""

    @property
    def wanted(self) -> int:
        """How many seeds there should be."""
        return len(self.values) + len(self.missing)


@dataclass(frozen=True)
class Results:
    """A table, filled as far as its runs are finished.

    Attributes:
        cells: by (panel, row, measure, column).
        aggregates: by (panel, row, measure), over all columns; empty where the spec has no aggregate.
    """

    grid: Grid
    extra: tuple[str, ...]
    runs: Mapping[RunKey, TableRun]
    cells: Mapping[tuple[str, str, str, str], CellResult]
    aggregates: Mapping[tuple[str, str, str], CellResult] = field(default_factory=dict)

    @property
    def variant(self) -> tuple[str, ...]:
        """The user's overrides that make another table: other runs, or other intervals."""
        return tuple(override for override in self.extra if changes_identity(override))

    @property
    def finished(self) -> list[TableRun]:
        """Runs that gave the numbers."""
        return [run for run in self.runs.values() if run.state == "finished"]

    @property
    def unfinished(self) -> list[TableRun]:
        """Runs whose numbers are missing."""
        return [run for run in self.runs.values() if run.state != "finished"]

    @property
    def waves(self) -> list[list[TableRun]]:
        """Runs that `--run` starts, or waits for where they are jobs: all that are neither finished nor being worked on
        elsewhere, and the experts that they need, each once; a wave needs those before.
        """
        wanted = {run.signature: run for run in self.unfinished}
        for needed in self.unfinished:
            run = needed.expert
            while run is not None and run.state != "finished":
                wanted.setdefault(run.signature, run)
                run = run.expert
        levels = sorted({run.level for run in wanted.values()})
        waves = [[run for run in wanted.values() if run.level == level and not run.elsewhere] for level in levels]
        return [wave for wave in waves if wave]

    @property
    def to_launch(self) -> list[TableRun]:
        """All runs of all waves."""
        return [run for wave in self.waves for run in wave]

    @property
    def to_analyse(self) -> list[tuple[str, TableRun]]:
        """Analyses whose numbers are missing: kind and run, each once."""
        wanted: dict[tuple[str, str], tuple[str, TableRun]] = {}
        for cell in self.grid.cells.values():
            for seed in self.grid.seeds:
                run = self.runs[(cell.overrides, seed)]
                for metric in cell.metrics:
                    if metric.startswith(ANALYSIS) and run.state == "finished" and metric not in run.analysed:
                        kind = metric.split("/")[1]
                        wanted[kind, run.signature] = kind, run
        return list(wanted.values())


def collect(grid: Grid, runs: Mapping[RunKey, TableRun], extra: tuple[str, ...] = ()) -> Results:
    """Read the numbers of all cells from the finished runs."""
    cells = {key: _result(grid, *_values(grid, cell, runs), cell) for key, cell in grid.cells.items()}
    aggregates = {}
    if grid.spec.aggregate is not None and not grid.measure_columns:
        for panel in grid.panels:
            for row, measure in grid.lines:
                across = [
                    (grid.cells[(panel, row, measure, column)], cells[(panel, row, measure, column)])
                    for column in grid.columns
                ]
                aggregates[(panel, row, measure)] = _aggregate(grid, across)
    return Results(grid, extra, runs, cells, aggregates)


def _generator(grid: Grid) -> np.random.Generator:
    """The same generator for every cell, so that a cell's interval depends on its own numbers alone."""
    return np.random.default_rng(grid.root.bootstrap_seed)


def _values(grid: Grid, cell: Cell, runs: Mapping[RunKey, TableRun]) -> tuple[dict[int, float], dict[int, str]]:
    values: dict[int, float] = {}
    missing: dict[int, str] = {}
    for seed in grid.seeds:
        run = runs[(cell.overrides, seed)]
        value = run.value(cell.metrics, cell.reading)
        if run.state != "finished":
            missing[seed] = run.state + (f": {run.reason}" if run.reason else "")
        elif value is None:
            missing[seed] = _absent(cell.metrics, run)
        elif not math.isfinite(value):
            missing[seed] = cell.spec.reason
        else:
            values[seed] = cell.spec.factor * value
    return values, missing


def _absent(metrics: Sequence[str], run: TableRun) -> str:
    for metric in metrics:
        if metric.startswith(ANALYSIS) and metric not in run.analysed:
            return f"not analysed yet: visagent-analyse {metric.split('/')[1]} run={run.signature}"
    return f"{NO_METRIC} ({' + '.join(metrics)})"


def _interval(grid: Grid, strata: list[NDArray[np.float64]]) -> tuple[float, float] | None:
    return stratified_bootstrap(
        strata, STATISTICS[grid.spec.statistic], _generator(grid), grid.root.bootstrap_samples, grid.root.confidence
    )


def _result(grid: Grid, values: dict[int, float], missing: dict[int, str], cell: Cell) -> CellResult:
    if not values:
        return CellResult(cell.spec, values, missing, None, None, None, None, cell.paper, None, "", cell.place)
    array = np.array([values[seed] for seed in sorted(values)])
    value = float(STATISTICS[grid.spec.statistic](array))
    difference = None if cell.paper is None else value - cell.paper
    return CellResult(
        cell.spec,
        values,
        missing,
        value,
        standard_deviation(array),
        float(interquartile_mean(array)),
        _interval(grid, [array]),
        cell.paper,
        difference,
        mark(cell.spec, value, cell.paper),
        cell.place,
    )


def _aggregate(grid: Grid, across: list[tuple[Cell, CellResult]]) -> CellResult:
    """One number over the seeds and columns; the columns are the strata of its interval.

    Seeds that lack a column are left out.
    """
    first = across[0][0]
    numbers = [cell.paper for cell, _ in across]
    statistic = STATISTICS[grid.spec.statistic]
    paper = float(statistic(np.array(numbers, np.float64))) if all(number is not None for number in numbers) else None
    seeds = [seed for seed in grid.seeds if all(seed in result.values for _, result in across)]
    missing = {
        seed: next(f"{cell.column}: {result.missing[seed]}" for cell, result in across if seed in result.missing)
        for seed in grid.seeds
        if seed not in seeds
    }
    if not seeds:
        return CellResult(first.spec, {}, missing, None, None, None, None, paper, None, "", first.place)
    strata = [np.array([result.values[seed] for seed in seeds]) for _, result in across]
    everything = np.concatenate(strata)
    per_seed = {seed: float(statistic(np.array([result.values[seed] for _, result in across]))) for seed in seeds}
    value = float(statistic(everything))
    difference = None if paper is None else value - paper
    return CellResult(
        first.spec,
        per_seed,
        missing,
        value,
        standard_deviation(np.array(list(per_seed.values()))),
        float(interquartile_mean(everything)),
        _interval(grid, strata),
        paper,
        difference,
        mark(first.spec, value, paper),
        first.place,
    )


def mark(spec: MeasureConfig, value: float | None, paper: float | None) -> str:
    """How ours stands to the paper's."""
    if value is None or paper is None:
        return ""
    slack = rounding(value, paper)  # 0.75 is not worse than 0.80 by more than 0.05
    if spec.better == "same":
        return CLOSE if abs(value - paper) <= spec.tolerance + slack else WORSE
    gain = value - paper if spec.better == "max" else paper - value
    return BETTER if gain >= -slack else CLOSE if gain >= -spec.tolerance - slack else WORSE


def rounding(*values: float | NDArray[np.float64]) -> float:
    """How far numbers may lie apart that are equal but for rounding: metrics are single precision."""
    return 1e-6 * max(1.0, *(float(np.max(np.abs(value))) for value in values))
