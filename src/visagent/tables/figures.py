"""A table's pictures: bars with intervals, or curves over epochs, as matplotlib figures."""

from __future__ import annotations

import io
import math
import re
from textwrap import fill
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from visagent.config.table_schemas import FigureConfig
from visagent.pictures import plain
from visagent.tables.results import Results
from visagent.tables.runs import TableRun
from visagent.tables.statistics import MINIMUM_SEEDS, mean, stratified_bootstrap

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Okabe & Ito's, told apart by most eyes."""
HATCHES = ("", "//", "..", "xx")
"""Of bars, where there are more of them than colours."""


def draw(results: Results, narrow: bool = False) -> list[tuple[FigureConfig, Figure]]:
    """All figures of a table that have something to show; `narrow` ones stay readable on a phone, panels below each
    other.
    """
    drawn = []
    for spec in results.grid.spec.figures:
        figure = {"bars": bars, "curves": curves, "learning": learning, "frontier": frontier}[spec.kind](
            results, spec, narrow
        )
        if figure is not None:
            drawn.append((spec, figure))
    return drawn


def bars(results: Results, spec: FigureConfig, narrow: bool = False) -> Figure | None:
    """Rows beside each other over the columns, one axes per panel; whiskers are the bootstrap intervals, diamonds the
    paper's numbers.
    """
    grid = results.grid
    measure = str(spec.measure)
    columns = [column for column in grid.columns if grid.measure_of(column) in (None, measure)]
    rows = [row.name for row in grid.spec.rows]
    cells = {key: cell for key, cell in results.cells.items() if key[2] == measure}
    if not any(cell.value is not None for cell in cells.values()):
        return None
    whiskers = _intervals(results, "whiskers") if any(cell.interval is not None for cell in cells.values()) else ""
    figure = _figure(len(grid.panels), f"{spec.title} ({grid.scale} scale{whiskers})", narrow)
    width = 0.8 / len(rows)
    shared: Axes | None = None
    for index, panel in enumerate(grid.panels):
        rows_and_columns = (len(grid.panels), 1) if narrow else (1, len(grid.panels))
        axes = figure.add_subplot(*rows_and_columns, index + 1, sharey=shared)
        shared = axes
        for number, row in enumerate(rows):
            shown = [cells[(panel, row, measure, column)] for column in columns]
            place = np.arange(len(columns)) + (number - (len(rows) - 1) / 2) * width
            heights = np.array([np.nan if cell.value is None else cell.value for cell in shown])
            colour, hatch = COLOURS[number % len(COLOURS)], HATCHES[number // len(COLOURS) % len(HATCHES)]
            axes.bar(place, heights, width * 0.92, color=colour, hatch=hatch, edgecolor="white", linewidth=0, label=row)
            for x, cell in zip(place, shown, strict=True):
                if cell.interval is not None and cell.value is not None:
                    reach = [[max(0.0, cell.value - cell.interval[0])], [max(0.0, cell.interval[1] - cell.value)]]
                    axes.errorbar([x], [cell.value], reach, color="#222222", capsize=2.5, linewidth=1)
            theirs = [(x, cell.paper) for x, cell in zip(place, shown, strict=True) if cell.paper is not None]
            if theirs:
                axes.plot(
                    *zip(*theirs, strict=True),
                    "D",
                    markersize=4,
                    markerfacecolor="white",
                    markeredgecolor="black",
                    label=None if "the paper" in axes.get_legend_handles_labels()[1] else "the paper",
                )
        axes.set_xticks(range(len(columns)), columns)
        _dress(axes, spec, panel, spec.ylabel or grid.spec.measures[measure].name, index == 0 or narrow)
    _legend(figure)
    return figure


def curves(results: Results, spec: FigureConfig, narrow: bool = False) -> Figure | None:
    """A metric of the history over epochs: the mean over seeds of each kind of run, with its bootstrap interval as a
    band.
    """
    grid, root = results.grid, results.grid.root
    kinds: dict[tuple[str, ...], tuple[str, list[TableRun]]] = {}
    for cell in grid.cells.values():
        name = cell.row if len({c.overrides for c in grid.cells.values() if c.row == cell.row}) == 1 else cell.column
        runs = [results.runs[(cell.overrides, seed)] for seed in grid.seeds]
        kinds.setdefault(cell.overrides, (name, [run for run in runs if run.state == "finished"]))
    bands = _intervals(results, "bands") if len(grid.seeds) >= MINIMUM_SEEDS else ""
    figure = _figure(1, f"{spec.title} ({grid.scale} scale{bands})", narrow)
    axes = figure.add_subplot(1, 1, 1)
    drawn = False
    for number, (name, runs) in enumerate(kinds.values()):
        series = [_history(run, spec) for run in runs]
        epochs = sorted(set.intersection(*(set(points) for points in series))) if series else []
        if not epochs:
            continue
        drawn = True
        values = [np.array([points[epoch] for points in series]) for epoch in epochs]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(
            epochs,
            [float(v.mean()) for v in values],
            marker=("o", "s", "^", "v", "P", "X")[number % 6],
            color=colour,
            label=name,
        )
        ends = [
            stratified_bootstrap(
                [v], mean, np.random.default_rng(root.bootstrap_seed), root.bootstrap_samples, root.confidence
            )
            for v in values
        ]
        if all(end is not None for end in ends):
            axes.fill_between(
                epochs,
                [end[0] for end in ends if end],
                [end[1] for end in ends if end],
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
    if not drawn:
        return None
    axes.set_xlabel(spec.xlabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _dress(axes, spec, "", spec.ylabel or str(spec.metric), True)
    _legend(figure)
    return figure


def learning(results: Results, spec: FigureConfig, narrow: bool = False) -> Figure | None:
    """A metric, or what a measure reads, over another metric, an axes for each row: the mean over seeds with all of
    them as a band, and a level for a column without history.
    """
    grid = results.grid
    histories = {
        row.name: {column: _histories(results, spec, row.name, column) for column in grid.columns}
        for row in grid.spec.rows
    }
    rows = list(histories)
    if not any(points for curves in histories.values() for points in curves.values()):
        return None
    wide = 1 if narrow else min(3, len(rows))
    high = -(-len(rows) // wide)
    width = 4.6 if narrow else max(3.7 * wide, 5.5)
    figure = Figure(figsize=(width, 2.6 * high + 0.8), layout="constrained")
    figure.suptitle(
        fill(f"{spec.title} ({grid.scale} scale; bands: all seeds)", int(10 * width)), fontsize=10 if narrow else 12
    )
    for index, row in enumerate(rows):
        axes = figure.add_subplot(high, wide, index + 1)
        for number, (column, points) in enumerate(histories[row].items()):
            cell = next(cell for cell in grid.cells.values() if (cell.row, cell.column) == (row, column))
            colour, level = COLOURS[number % len(COLOURS)], results.cells[cell.key].value
            if points:
                x, y = np.array(points).transpose(2, 0, 1)
                axes.plot(x.mean(axis=1), y.mean(axis=1), color=colour, label=column)
                axes.fill_between(x.mean(axis=1), y.min(axis=1), y.max(axis=1), color=colour, alpha=0.2, linewidth=0)
            elif level is not None:
                axes.axhline(level, color=colour, linestyle="--", label=column)
        axes.set_title(row, fontsize=10)
        axes.set_xlabel(spec.xlabel, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        if index % wide == 0:
            axes.set_ylabel(spec.ylabel or spec.metric or grid.spec.measures[str(spec.measure)].name, fontsize=9)
    _legend(figure)
    return figure


def _histories(results: Results, spec: FigureConfig, row: str, column: str) -> list[list[tuple[float, float]]]:
    """Both metrics by epoch and seed, of the epochs that all finished runs of a cell have."""
    grid = results.grid
    cell = next(
        cell
        for cell in grid.cells.values()
        if (cell.row, cell.column) == (row, column) and spec.measure in (None, cell.measure)
    )
    metric = spec.metric or cell.metrics[0]
    runs = [run for run in (results.runs[(cell.overrides, seed)] for seed in grid.seeds) if run.state == "finished"]
    series = [_over(run, str(spec.x), metric) for run in runs]
    epochs = sorted(set.intersection(*(set(history) for history in series))) if series else []
    return [[history[epoch] for history in series] for epoch in epochs]


def _over(run: TableRun, x: str, metric: str) -> dict[int, tuple[float, float]]:
    """Two metrics by epoch, where it has both; steps of the worlds differ from seed to seed where episodes are counted
    whole.
    """
    assert run.record is not None
    points = {
        int(epoch): (values.get(x, math.nan), values.get(metric, math.nan))
        for epoch, values in run.record.history.items()
    }
    return {epoch: pair for epoch, pair in points.items() if all(map(math.isfinite, pair))}


def frontier(results: Results, spec: FigureConfig, narrow: bool = False) -> Figure | None:
    """A point for each row, one column's number over another's, its area a third one's; hollow where only the paper has
    the height.
    """
    grid = results.grid

    def number(panel: str, row: str, column: str | None, ours: bool) -> float | None:
        if column is None:
            return None
        cell = results.cells[(panel, row, str(grid.measure_of(column)), column)]
        return cell.value if ours else cell.paper

    figure = _figure(1, f"{spec.title} ({grid.scale} scale)", narrow)
    axes = figure.add_subplot(1, 1, 1)
    drawn = False
    panel = grid.panels[0]
    largest = max(
        (number(panel, row.name, spec.size, ours) or 0.0 for row in grid.spec.rows for ours in (True, False)),
        default=0.0,
    )
    for index, row in enumerate(grid.spec.rows):
        colour = COLOURS[index % len(COLOURS)]
        for ours in (True, False):
            y = number(panel, row.name, spec.y, ours)
            x = number(panel, row.name, spec.x, True)
            x = number(panel, row.name, spec.x, False) if x is None else x
            if x is None or y is None:
                continue
            drawn = True
            weight = number(panel, row.name, spec.size, True) or number(panel, row.name, spec.size, False)
            area = 60 + 400 * (weight or 0.0) / largest if largest else 120
            axes.scatter(
                [x], [y], s=area, facecolor=colour if ours else "none", edgecolor=colour, linewidth=1.5, alpha=0.9
            )
        axes.plot([], [], "o", color=colour, label=row.name)  # in the legend all of one size
    axes.plot([], [], "o", markerfacecolor="none", markeredgecolor="#222222", label="hollow: the paper's")
    if not drawn:
        return None
    axes.set_xlabel(f"{spec.x}; area: {spec.size}" if spec.size else str(spec.x))
    axes.set_ylabel(spec.ylabel or str(spec.y))
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    _legend(figure)
    return figure


def _intervals(results: Results, drawn: str) -> str:
    return f", {drawn}: {results.grid.root.confidence:.0%} intervals"


def _history(run: TableRun, spec: FigureConfig) -> dict[int, float]:
    """The metric by epoch; on a logarithmic axis only what can stand there."""
    assert run.record is not None
    history = {int(epoch): values.get(str(spec.metric), math.nan) for epoch, values in run.record.history.items()}
    return {
        epoch: value for epoch, value in history.items() if math.isfinite(value) and (value > 0 or not spec.logarithmic)
    }


def _figure(panels: int, title: str, narrow: bool) -> Figure:
    size = (4.6, 3.0 * panels + 0.9) if narrow else (5.6 * panels if panels > 1 else 7.0, 4.2)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(fill(title, int(11 * size[0])), fontsize=10 if narrow else 12)
    return figure


def _dress(axes: Axes, spec: FigureConfig, panel: str, ylabel: str, first: bool) -> None:
    axes.set_title(panel, fontsize=10)
    if first:
        axes.set_ylabel(ylabel)
    if spec.logarithmic:
        axes.set_yscale("log")
    elif axes.get_ylim()[0] >= 0:
        axes.set_ylim(bottom=0)
    elif axes.get_ylim()[1] <= 0:
        axes.set_ylim(top=0)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _legend(figure: Figure) -> None:
    known: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    labels, handles = list(known), list(known.values())
    order = [i for i, label in enumerate(labels) if label != "the paper"] + [
        i for i, label in enumerate(labels) if label == "the paper"
    ]
    letters = 13 * figure.get_figwidth() / (max(map(len, labels)) + 6)  # about 13 letters of this size fit into an inch
    columns = max(1, min(len(order), int(letters)))
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside lower center",
        ncols=columns,
        fontsize=9,
        frameon=False,
    )


def png(figure: Figure) -> bytes:
    """The picture's file, the same bytes for the same numbers."""
    out = io.BytesIO()
    plain(figure).savefig(out, format="png", dpi=120, metadata={"Software": None})
    return out.getvalue()


def svg(figure: Figure, name: str) -> str:
    """An `<svg>` element to stand within a page, the same text for the same numbers; its ids begin with `name`, so that
    no two pictures share one.
    """
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "visagent", "svg.fonttype": "none", "font.family": ["sans-serif"]}):
        plain(figure).savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    drawn = out.getvalue()
    return re.sub(r"""(\bid="|href="#|url\(#)""", rf"\g<1>{name}-", drawn[drawn.index("<svg") :])
