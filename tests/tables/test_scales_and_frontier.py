"""Columns that only some scales have, factors, the plot of one column against another, and learning beside what does
not learn.
"""

from __future__ import annotations

import math

import pytest

from visagent.config.table_schemas import (
    ClaimConfig,
    ColumnConfig,
    FigureConfig,
    MeasureConfig,
    RowConfig,
    ScaleConfig,
    TableConfig,
    TableRootConfig,
)
from visagent.errors import ConfigError
from visagent.runtime.record import Record
from visagent.tables.figures import frontier, learning
from visagent.tables.grid import expand
from visagent.tables.results import collect
from visagent.tables.runs import TableRun


def spec(**changes) -> TableRootConfig:
    measures = {
        "top1": MeasureConfig("top-1", "test/top1", "max", 1.0, factor=100.0, digits=1),
        "size": MeasureConfig("parameters", "test/size", "same", 0.5),
    }
    table = TableConfig(
        title="t",
        paper="p",
        place="Table 1",
        measures=measures,
        columns=[
            ColumnConfig("accuracy", measure="top1", overrides=["a=1"]),
            ColumnConfig("parameters", measure="size", overrides=["b=1"]),
        ],
        rows=[
            RowConfig("ours", overrides=["x=1"], paper=[60.0, 8.5]),
            RowConfig("theirs", overrides=["x=2"], paper=[55.0, 24.0]),
        ],
        scales={"laptop": ScaleConfig(seeds=[0], columns=["parameters"]), "paper": ScaleConfig(seeds=[0])},
        figures=[FigureConfig("frontier", "f", "title", x="parameters", y="accuracy", size="parameters")],
        claims=[
            ClaimConfig(
                "smaller", "", {"row": "ours", "column": "parameters"}, "<", {"row": "theirs", "column": "parameters"}
            ),
            ClaimConfig(
                "better", "", {"row": "ours", "column": "accuracy"}, ">", {"row": "theirs", "column": "accuracy"}
            ),
        ],
    )
    for name, value in changes.items():
        setattr(table, name, value)
    return TableRootConfig(0.95, 200, 0, table)


def results(grid, metrics):
    """Each run finished with these metrics by its row's override."""
    runs = {}
    for cell in grid.cells.values():
        found = metrics.get(cell.overrides)
        record = None if found is None else Record("s", "n", "c", 0, "paper", metrics=found)
        runs[(cell.overrides, 0)] = TableRun(
            "r", cell.overrides, 0, "s", {}, None, "finished" if found else "not started", None, record
        )
    return collect(grid, runs)


def test_a_scale_may_have_fewer_columns():
    grid = expand("t", spec(), "laptop")
    assert grid.columns == ("parameters",) and {cell.paper for cell in grid.cells.values()} == {8.5, 24.0}
    assert [claim.text for claim in grid.spec.claims] == ["smaller"] and grid.spec.figures == []
    whole = expand("t", spec(), "paper")
    assert whole.columns == ("accuracy", "parameters") and len(whole.spec.claims) == 2 and len(whole.spec.figures) == 1
    with pytest.raises(ConfigError, match="unknown column 'weight' of a scale"):
        expand("t", spec(scales={"paper": ScaleConfig(seeds=[0], columns=["weight"])}), "paper")


def test_a_factor_turns_shares_into_per_cent():
    found = results(expand("t", spec(), "paper"), {("x=1", "a=1"): {"test/top1": 0.612}})
    cell = found.cells[("", "ours", "top1", "accuracy")]
    assert cell.value == pytest.approx(61.2) and cell.difference == pytest.approx(1.2)


def test_the_frontier_shows_ours_and_the_papers():
    grid = expand("t", spec(), "paper")
    figure = frontier(
        results(grid, {("x=1", "a=1"): {"test/top1": 0.612}, ("x=1", "b=1"): {"test/size": 8.6}}), grid.spec.figures[0]
    )
    (axes,) = figure.axes
    points = [
        (*(float(number) for number in dots.get_offsets()[0]), len(dots.get_facecolor()) > 0)
        for dots in axes.collections
    ]
    assert points == [(8.6, pytest.approx(61.2), True), (8.6, 60.0, False), (24.0, 55.0, False)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ours", "theirs", "hollow: the paper's"]
    with pytest.raises(ConfigError, match="unknown column 'x'"):
        expand("t", spec(figures=[FigureConfig("frontier", "f", "t", x="x", y="accuracy")]), "paper")
    with pytest.raises(ConfigError, match="frontier with x and y"):
        expand("t", spec(figures=[FigureConfig("frontier", "f", "t", x="accuracy")]), "paper")


def test_learning_is_shown_beside_the_level_of_what_does_not_learn():
    """Seeds are put together by epoch: where episodes are counted whole, their steps differ."""
    measures = {"return": MeasureConfig("return", "test/return", "max", 0.0)}
    columns = [ColumnConfig("learned", overrides=["a=1"]), ColumnConfig("random", overrides=["a=2"])]
    figures = [FigureConfig("learning", "f", "title", metric="val/return", x="step")]
    rows = [RowConfig("not there", overrides=["x=1"]), RowConfig("there", overrides=["x=2"])]
    grid = expand(
        "t",
        spec(
            measures=measures,
            columns=columns,
            rows=rows,
            figures=figures,
            claims=[],
            scales={"paper": ScaleConfig(seeds=[0, 1])},
        ),
        "paper",
    )
    runs = {}
    for cell in grid.cells.values():
        for seed in (0, 1):
            row, column = cell.overrides
            learned = {
                "0": {"step": 10.0 + seed, "val/return": -1.0},
                "1": {"step": 20.0 + seed, "val/return": 8.0 - seed},
            }
            learned["2"] = {"step": 30.0, "val/return": math.nan}
            record = Record(
                "s", "n", "c", seed, "paper", metrics={"test/return": -3.0}, history=learned if column == "a=1" else {}
            )
            state = "finished" if row == "x=2" else "not started"
            runs[(cell.overrides, seed)] = TableRun(
                "r", cell.overrides, seed, "s", {}, None, state, None, record if row == "x=2" else None
            )
    figure = learning(collect(grid, runs), grid.spec.figures[0])
    first, second = figure.axes
    assert second.get_title() == "there" and not first.lines
    curve, level = second.lines
    assert curve.get_xydata().tolist() == [[10.5, -1.0], [20.5, 7.5]] and set(level.get_ydata()) == {-3.0}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["learned", "random"]
    with pytest.raises(ConfigError, match="learning with a metric and x"):
        expand("t", spec(figures=[FigureConfig("learning", "f", "t", metric="val/return")]), "paper")
