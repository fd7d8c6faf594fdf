"""Table specs expand to the right runs, metrics and paper numbers, and bad specs are refused by name."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml
from tiny_table import make_spec

from slow import only
from visagent.config.extensions import conf_folder
from visagent.config.presets import tables
from visagent.config.scales import SCALES
from visagent.config.table_schemas import ClaimConfig, ColumnConfig, FigureConfig, MeasureConfig, RowConfig, ScaleConfig
from visagent.errors import ConfigError
from visagent.tables.grid import expand, load_grid
from visagent.tables.runs import Known, plan

PAPER = Path(__file__).resolve().parents[3] / "shared" / "papers" / "imitation_navigation.txt"


ONE_SEED = {f"rubiksnet/table6_{number}" for number in (1, 2, 3, 6)}
"""Counts, latencies, and accuracies that take days of a GPU each."""


def scales_of(name: str) -> list[str]:
    """Scales that a table has, its own and those of what it begins from."""
    spec = yaml.safe_load((conf_folder() / "table" / f"{name}.yaml").read_text())
    above = [part.removeprefix("/table/") for part in spec.get("defaults", []) if str(part).startswith("/table/")]
    there = {*spec.get("scales", ()), *(scale for part in above for scale in scales_of(part))}
    return [scale for scale in SCALES if scale in there]


TABLES_AT = [(name, scale) for name in tables() for scale in scales_of(name)]


@pytest.fixture
def composed_once(monkeypatch, known):
    monkeypatch.setattr("visagent.tables.runs.Known", lambda _, experts: Known(known, experts))


@pytest.mark.xdist_group("specs")  # which choose the same groups, so that one worker composes them once
@pytest.mark.usefixtures("composed_once")
@pytest.mark.parametrize("name, scale", only(lambda pair: pair[1] == "laptop", TABLES_AT))
def test_every_spec_expands_and_its_runs_compose(name, scale):
    grid = load_grid(name, scale)
    # every row and every column once: what a cell between them runs is both, and other seeds are no news
    row, column = grid.spec.rows[0].name, grid.columns[0]
    both = any if scale == "laptop" else all  # of others the presets alone are news, which have a test of their own
    cells = {key: cell for key, cell in grid.cells.items() if both((cell.row == row, cell.column == column))}
    runs = plan(dataclasses.replace(grid, seeds=grid.seeds[:1], cells=cells), ["logger=none"])
    two = dataclasses.replace(grid, seeds=grid.seeds[:2], cells=dict(list(grid.cells.items())[:1]))
    assert len({run.signature for run in plan(two, ["logger=none"]).values()}) == len(two.seeds)
    assert len(grid.cells) == len(grid.panels) * sum(len(grid.columns) for _ in grid.lines)
    assert {run.config["scale"] for run in runs.values()} == {scale}
    assert len({run.signature for run in runs.values()}) == len(runs)
    assert len(grid.seeds) >= 3 or scale == "smoke" or name in ONE_SEED


def test_table_1_is_the_papers():
    grid = load_grid("navigation/table1", "laptop")
    assert grid.panels == ("sampled actions", "argmax actions") and grid.columns == (
        "Bed.",
        "Bath.",
        "Living",
        "Kitchen",
    )
    cell = grid.cells[("argmax actions", "DAgger (1)", "successful", "Living")]
    assert cell.overrides == ("experiment=navigation/dagger", "trainer.max_epochs=2")
    assert cell.metrics == ("test/argmax/living_room/average_successful_length",)
    assert cell.paper == 18.16 and cell.place == "Table 1"
    assert load_grid("navigation/table1", "paper").cells[cell.key].overrides[0] == "experiment=navigation/dagger_paper"


def test_variables_may_name_others_and_metrics_may_be_added():
    grid = load_grid("navigation/table3", "laptop")
    plain, with_safe = (f"total queries {how} D_safe" for how in ("without", "with"))
    assert grid.cells[("", plain, "queries", "sDA 2")].metrics == ("data/expert_queries",)
    assert grid.cells[("", with_safe, "queries", "sDA 2")].metrics == ("data/expert_queries", "data/safety_queries")
    assert grid.cells[("", with_safe, "queries", "DA 2")].metrics == ("data/expert_queries",)


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not beside the repository")
def test_the_papers_numbers_are_those_in_its_text():
    text = PAPER.read_text()
    starts = [
        text.index("\tBed.\tBath."),
        text.index("Table 1. Navigation"),
        text.rindex("\tBed.\tBath."),
        text.index("Table 2. Navigation"),
    ]
    parts = {
        "table1": text[starts[0] : starts[1]],
        "table2": text[starts[2] : starts[3]],
        "table4": text[text.index("Distance\t1") : text.index("Table 4. ")],
    }
    names = {
        "shortest": "avg. shortest length",
        "predicted": "avg. predicted length",
        "successful": "avg. successful length",
        "success_rate": "success rate",
    }
    for table, part in parts.items():
        grid = load_grid(f"navigation/{table}", "laptop")
        printed = {
            name: [tuple(map(float, line.split("\t")[1:])) for line in part.splitlines() if line.startswith(name)]
            for name in names.values()
        }
        for measure, name in names.items():
            ours = [
                tuple(grid.cells[(grid.panels[0], row.name, measure, column)].paper for column in grid.columns)
                for row in grid.spec.rows
            ]
            assert ours == printed[name], (table, name)
    queries = re.search(r"Total queries\t(\d+)\t(\d+)\t(\d+)\t(\d+)", text)
    assert queries is not None
    grid = load_grid("navigation/table3", "laptop")
    assert [grid.cells[("", grid.lines[0][0], "queries", column)].paper for column in grid.columns] == [
        float(n) for n in queries.groups()
    ]


def test_columns_may_be_measures():
    measures = {
        "rate": MeasureConfig("rate", "test/sampled/all/success_rate", "max", 0.1),
        "steps": MeasureConfig("steps", "data/env_steps", "same", 1),
    }
    root = make_spec(
        measures=measures,
        panels=[],
        columns=[ColumnConfig("success", measure="rate"), ColumnConfig("env steps", measure="steps")],
        rows=[RowConfig("cloning", {"preset": "behaviour_cloning"}, paper=[0.5, None])],
        claims=[],
        figures=[FigureConfig("bars", "b", "b", measure="rate")],
    )
    grid = expand("nobody/columns", root, "smoke")
    assert grid.measure_columns and grid.lines == (("cloning", ""),)
    assert grid.cell("", ("cloning", ""), "success").paper == 0.5
    assert grid.cell("", ("cloning", ""), "env steps").metrics == ("data/env_steps",)


ROW = RowConfig("cloning", {"preset": "behaviour_cloning"})
BAD = {
    "unknown table": (lambda: load_grid("navigation/tabel1", "smoke"), "did you mean navigation/table1"),
    "unknown scale": (
        lambda: expand("t", make_spec(scales={"smoke": ScaleConfig(seeds=[0])}), "paper"),
        "--scale smoke",
    ),
    "no seeds": (lambda: expand("t", make_spec(), "smoke", []), "at least one seed"),
    "same seed twice": (lambda: expand("t", make_spec(), "smoke", [1, 1]), "each once"),
    "unknown variable": (lambda: expand("t", make_spec(rows=[RowConfig("r")], claims=[]), "smoke"), "'preset'"),
    "same row twice": (lambda: expand("t", make_spec(rows=[ROW, ROW], claims=[]), "smoke"), "rows once"),
    "too few paper numbers": (
        lambda: expand("t", make_spec(rows=[dataclasses.replace(ROW, paper={"rate": [0.5]})], claims=[]), "smoke"),
        "expected 2 numbers",
    ),
    "paper number that is none": (
        lambda: expand("t", make_spec(rows=[dataclasses.replace(ROW, paper={"rate": [0.5, "?"]})], claims=[]), "smoke"),
        "expected 2 numbers",
    ),
    "paper of an unknown measure": (
        lambda: expand("t", make_spec(rows=[dataclasses.replace(ROW, paper={"x": [1, 2]})], claims=[]), "smoke"),
        "lists under",
    ),
    "unknown better": (
        lambda: expand(
            "t", make_spec(measures={"rate": MeasureConfig("r", "m", "up", 0)}, claims=[], figures=[]), "smoke"
        ),
        "max, min, same",
    ),
    "a level that is never asked for": (
        lambda: expand(
            "t",
            make_spec(measures={"rate": MeasureConfig("r", "m", "max", 0, level="0.5")}, claims=[], figures=[]),
            "smoke",
        ),
        "a level with reached alone",
    ),
    "a level that is no number": (
        lambda: expand(
            "t",
            make_spec(
                measures={"rate": MeasureConfig("r", "m", "min", 0, "reached", "high")},
                claims=[],
                figures=[],
                rows=[ROW],
            ),
            "smoke",
        ),
        "expected level to be a number, got 'high'",
    ),
    "some columns with a measure": (
        lambda: expand(
            "t", make_spec(columns=[ColumnConfig("a", measure="rate"), ColumnConfig("b", {"room": "x"})]), "smoke"
        ),
        "all columns to name",
    ),
    "unknown measure in a figure": (
        lambda: expand("t", make_spec(figures=[FigureConfig("bars", "f", "f", measure="x")]), "smoke"),
        "unknown measure 'x'",
    ),
    "figure without its number": (
        lambda: expand("t", make_spec(figures=[FigureConfig("curves", "f", "f")]), "smoke"),
        "curves with a metric",
    ),
    "unknown row in a claim": (
        lambda: expand("t", make_spec(claims=[ClaimConfig("c", "p", {"row": "x"}, ">", {"value": 0})]), "smoke"),
        "expected row",
    ),
    "unknown relation": (
        lambda: expand("t", make_spec(claims=[ClaimConfig("c", "p", {}, "=", {"value": 0})]), "smoke"),
        "expected relation",
    ),
    "trend with a right side": (
        lambda: expand("t", make_spec(claims=[ClaimConfig("c", "p", {}, "trend<", {"value": 0})]), "smoke"),
        "no right side",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_specs_are_refused(case):
    make, message = BAD[case]
    with pytest.raises(ConfigError) as error:
        make()
    assert message in str(error.value)


def test_a_cell_that_composes_to_another_scale_is_refused():
    root = make_spec(scales={"laptop": ScaleConfig({}, ["debug=smoke"], [0])})
    with pytest.raises(ConfigError, match="composes to scale smoke"):
        plan(expand("t", root, "laptop"), ["logger=none"])
