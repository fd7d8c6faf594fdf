"""A table spec, expanded: which cell needs which runs, which of their numbers, and what the paper has there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import OmegaConf

from visagent.config.composition import compose_root, config_folder
from visagent.config.presets import tables
from visagent.config.table_schemas import (
    ClaimConfig,
    ColumnConfig,
    FigureConfig,
    MeasureConfig,
    PanelConfig,
    RowConfig,
    ScaleConfig,
    TableConfig,
    TableRootConfig,
)
from visagent.config.validation import validate
from visagent.errors import ConfigError

BETTER = ("max", "min", "same")
OVER = ("end", "peak", "reached")
RELATIONS = ("<", ">", "<=", ">=", "trend<", "trend>")
Key = tuple[str, str, str, str]
"""(panel, row, measure, column), all by name."""


@dataclass(frozen=True)
class Reading:
    """How a number is read from a run's epochs; see `visagent.config.table_schemas.MeasureConfig`.

    Attributes:
        over: `end`, `peak` or `reached`.
        level: of `reached`.
        x: of `reached`, a key of the history.
    """

    over: str
    level: float
    x: str


AT_THE_END = Reading("end", 0.0, "step")


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        overrides: of `visagent-train`, without the seed.
        metrics: keys of the record; several are added.
        reading: of these metrics.
        paper: the paper's number, or None where it has none.
        place: where the paper has it.
    """

    panel: str
    row: str
    measure: str
    column: str
    overrides: tuple[str, ...]
    metrics: tuple[str, ...]
    reading: Reading
    spec: MeasureConfig
    paper: float | None
    place: str

    @property
    def key(self) -> Key:
        """(panel, row, measure, column)."""
        return (self.panel, self.row, self.measure, self.column)


@dataclass(frozen=True)
class Grid:
    """A table at one scale.

    Attributes:
        name: `<paper>/<table>`.
        panels, columns: headings in order; one panel named `""` where the spec has none.
        lines: (row, measure) in order; with `measure_columns` the measure is `""`.
        cells: by key; a column that names its measure has that one in its keys.
    """

    name: str
    scale: str
    spec: TableConfig
    root: TableRootConfig
    seeds: tuple[int, ...]
    panels: tuple[str, ...]
    columns: tuple[str, ...]
    lines: tuple[tuple[str, str], ...]
    cells: Mapping[Key, Cell]

    @property
    def measure_columns(self) -> bool:
        """Whether each column is a measure of its own."""
        return self.lines[0][1] == ""

    def cell(self, panel: str, line: tuple[str, str], column: str) -> Cell:
        """The cell of a line and a column."""
        row, measure = line
        return self.cells[(panel, row, measure or str(self.measure_of(column)), column)]

    def measure_of(self, column: str) -> str | None:
        """The measure that a column names, if it names one."""
        return next(c.measure for c in self.spec.columns if c.name == column)


def load_spec(name: str, overrides: Sequence[str] = ()) -> TableRootConfig:
    """Read `conf/table/<name>.yaml`, within `config_folder()`.

    Raises:
        ConfigError: when there is no such table, or its spec is not one.
    """
    if name not in tables():
        near = difflib.get_close_matches(name, tables(), 1, cutoff=0.4)
        raise ConfigError(
            f"unknown table {name!r}"
            + (f"; did you mean {near[0]}?" if near else "")
            + f"\ntables: {', '.join(tables())}"
        )
    config = compose_root("table", [f"table={name}", *overrides])
    validate(config, TableRootConfig)
    root = OmegaConf.to_object(config)
    assert isinstance(root, TableRootConfig)
    root.table.check()
    return root


def load_grid(name: str, scale: str, seeds: Sequence[int] | None = None, overrides: Sequence[str] = ()) -> Grid:
    """Read and expand a table spec.

    Args:
        name: `<paper>/<table>`.
        scale: `smoke`, `laptop` or `paper`, as far as the spec has it.
        seeds: instead of the scale's.
        overrides: of the table root, for example `confidence=0.9`.

    Raises:
        ConfigError: naming the table and what is wrong in it.
    """
    with config_folder():
        root = load_spec(name, overrides)
    return expand(name, root, scale, seeds)


def expand(name: str, root: TableRootConfig, scale: str, seeds: Sequence[int] | None = None) -> Grid:
    """All cells of a table spec at one scale."""
    spec = root.table
    if scale not in spec.scales:
        raise ConfigError(f"table {name} has no scale {scale!r}: type --scale {' or --scale '.join(spec.scales)}")
    spec = _at_scale(name, spec, spec.scales[scale])
    chosen = tuple(spec.scales[scale].seeds if seeds is None else seeds)
    if not chosen or len(set(chosen)) != len(chosen) or min(chosen) < 0:
        raise ConfigError(
            f"table {name}: expected at least one seed, each once and not negative, got {list(chosen)}: type for "
            "example --seeds 0,1,2"
        )
    told = [row.name for row in spec.rows if row.paper is not None] + [claim.text for claim in spec.claims]
    if told and not spec.paper:
        raise ConfigError(f"table {name}: expected table.paper, whose {', '.join(told)} is, got none")
    panels = spec.panels or [PanelConfig(name="")]
    for what, entries in (("panels", panels), ("columns", spec.columns), ("rows", spec.rows)):
        _names_once(name, what, [entry.name for entry in entries])
    for key, measure in spec.measures.items():
        if measure.over not in OVER or (measure.over == "reached") != (measure.level is not None):
            got = f"over {measure.over!r} and level {measure.level!r}"
            raise ConfigError(
                f"table {name}, measure {key}: expected over to be {', '.join(OVER)}, and a level with reached alone, "
                f"got {got}"
            )
        if measure.better not in BETTER:
            raise ConfigError(
                f"table {name}, measure {key}: expected better to be {', '.join(BETTER)}, got {measure.better!r}"
            )
    by_column = [column.measure for column in spec.columns if column.measure is not None]
    if by_column and len(by_column) != len(spec.columns):
        raise ConfigError(
            f"table {name}: expected all columns to name a measure or none, got {len(by_column)} of {len(spec.columns)}"
        )
    for named in [*by_column, *(figure.measure for figure in spec.figures if figure.measure is not None)]:
        if named not in spec.measures:
            raise ConfigError(f"table {name}: unknown measure {named!r}; expected one of {', '.join(spec.measures)}")
    lines = [(row.name, measure) for row in spec.rows for measure in ([""] if by_column else spec.measures)]
    cells: dict[Key, Cell] = {}
    for row in spec.rows:
        numbers = _paper(name, spec, row, bool(by_column))
        for panel in panels:
            for index, column in enumerate(spec.columns):
                for wanted in [column.measure] if column.measure is not None else list(spec.measures):
                    cell = _cell(
                        name,
                        spec,
                        spec.scales[scale],
                        panel,
                        row,
                        column,
                        wanted,
                        numbers["" if by_column else wanted][index],
                    )
                    cells[cell.key] = cell
    grid = Grid(
        name,
        scale,
        spec,
        root,
        chosen,
        tuple(p.name for p in panels),
        tuple(c.name for c in spec.columns),
        tuple(lines),
        cells,
    )
    for claim in spec.claims:
        _check_claim(grid, claim)
    for figure in spec.figures:
        _check_figure(name, figure, grid.columns)
    return grid


def _at_scale(table: str, spec: TableConfig, scale: ScaleConfig) -> TableConfig:
    """The spec with the columns and rows that a scale has, and with the figures and claims that these allow."""
    columns, rows = [column.name for column in spec.columns], [row.name for row in spec.rows]
    for what, names, wanted in (("column", columns, scale.columns), ("row", rows, scale.rows)):
        if unknown := sorted(set(wanted) - set(names)):
            raise ConfigError(
                f"table {table}: unknown {what} {unknown[0]!r} of a scale; expected some of {', '.join(names)}"
            )
    there, there_rows = set(scale.columns or columns), set(scale.rows or rows)
    kept = [index for index, name in enumerate(columns) if name in there]

    def numbers(paper: Any) -> Any:
        if isinstance(paper, list) and len(paper) == len(columns):
            return [paper[index] for index in kept]
        return {key: numbers(values) for key, values in paper.items()} if isinstance(paper, dict) else paper

    def needs(*sides: Mapping[str, Any]) -> bool:
        """Whether claims or figures can be made of what there is; what is unknown is refused later."""
        gone = (set(columns) - there, set(rows) - there_rows)
        return all(side.get("column") not in gone[0] and side.get("row") not in gone[1] for side in sides)

    return replace(
        spec,
        columns=[spec.columns[index] for index in kept],
        rows=[replace(row, paper=numbers(row.paper)) for row in spec.rows if row.name in there_rows],
        figures=[
            figure
            for figure in spec.figures
            if figure.kind != "frontier" or needs(*({"column": name} for name in (figure.x, figure.y, figure.size)))
        ],
        claims=[claim for claim in spec.claims if needs(claim.left, claim.right)],
    )


def _names_once(table: str, what: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise ConfigError(f"table {table}: expected each of its {what} once, got {names}")


def _paper(table: str, spec: TableConfig, row: RowConfig, measure_columns: bool) -> dict[str, list[float | None]]:
    """Measure -> the paper's numbers by column."""
    given: Any = {} if row.paper is None else row.paper
    if measure_columns:
        given = {"": given or None} if isinstance(given, list) or not given else given
    expected = [""] if measure_columns else list(spec.measures)
    if not isinstance(given, dict) or set(given) - set(expected):
        shape = "a list, one number (or null) per column" if measure_columns else f"lists under {', '.join(expected)}"
        raise ConfigError(f"table {table}, row {row.name!r}: expected paper to be {shape}, got {given!r}")
    numbers: dict[str, list[float | None]] = {}
    for measure in expected:
        values = given.get(measure) or [None] * len(spec.columns)
        if len(values) != len(spec.columns) or not all(v is None or isinstance(v, (int, float)) for v in values):
            where = f"row {row.name!r}" + (f", {measure}" if measure else "")
            raise ConfigError(
                f"table {table}, {where}: expected {len(spec.columns)} numbers (null where the paper has none), got "
                f"{values}"
            )
        numbers[measure] = values
    return numbers


def _cell(
    table: str,
    spec: TableConfig,
    scale: ScaleConfig,
    panel: PanelConfig,
    row: RowConfig,
    column: ColumnConfig,
    measure: str,
    paper: float | None,
) -> Cell:
    parts = (row, column, panel, scale)
    variables = {name: value for part in parts for name, value in part.set.items()}

    def fill(text: str) -> str:
        try:
            for _ in range(3):  # a variable's text may name others
                text = text.format_map(variables)
            return text
        except (KeyError, ValueError, IndexError) as error:
            raise ConfigError(
                f"table {table}, row {row.name!r}: {text!r} asks for the variable {error}, which no 'set' gives; set "
                f"are {variables}"
            ) from error

    overrides = tuple(fill(text) for text in [*spec.overrides, *(o for part in parts for o in part.overrides)])
    measured = spec.measures[measure]
    metrics = tuple(part.strip() for part in fill(measured.metric).split(" + "))
    level = fill(measured.level or "0")
    try:
        reading = Reading(measured.over, float(level), measured.x)
    except ValueError as error:
        raise ConfigError(
            f"table {table}, row {row.name!r}, measure {measure}: expected level to be a number, got {level!r}"
        ) from error
    return Cell(
        panel.name,
        row.name,
        measure,
        column.name,
        overrides,
        metrics,
        reading,
        measured,
        paper,
        row.place or spec.place,
    )


def _check_claim(grid: Grid, claim: ClaimConfig) -> None:
    where = f"table {grid.name}, claim {claim.text!r}"
    if claim.relation not in RELATIONS:
        raise ConfigError(f"{where}: expected relation to be {', '.join(RELATIONS)}, got {claim.relation!r}")
    if claim.relation.startswith("trend") == bool(claim.right):
        raise ConfigError(f"{where}: a trend has no right side, any other relation needs one; got {claim.right}")
    known = {
        "row": [row.name for row in grid.spec.rows],
        "measure": list(grid.spec.measures),
        "column": list(grid.columns),
    }
    for side in (claim.left, claim.right):
        for key, value in side.items():
            if key == "value" and side is claim.right and isinstance(value, (int, float)):
                continue
            if value not in known.get(key, []):
                raise ConfigError(f"{where}: expected {key} to be one of {known.get(key, list(known))}, got {value!r}")


def _check_figure(table: str, figure: FigureConfig, columns: Sequence[str]) -> None:
    needs = {
        "bars": figure.measure,
        "curves": figure.metric,
        "learning": (figure.metric or figure.measure) and figure.x,
        "frontier": figure.x and figure.y,
    }
    if needs.get(figure.kind) is None:
        raise ConfigError(
            f"table {table}, figure {figure.name}: expected kind bars with a measure, curves with a metric, learning "
            "with a metric and x (or a measure and x), "
            f"or frontier with x and y, got {figure}"
        )
    for column in (figure.x, figure.y, figure.size):
        if figure.kind == "frontier" and column is not None and column not in columns:
            raise ConfigError(
                f"table {table}, figure {figure.name}: unknown column {column!r}; expected one of {', '.join(columns)}"
            )
