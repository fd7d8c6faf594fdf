"""Typed schemas behind conf/table.yaml and conf/table/: what a paper's table shows and which runs it asks for.

Texts in `set` are variables; `{name}` in a metric or an override is replaced by them. Variables and overrides of a cell
come, in this order, from the row, the column, the panel and the scale; a later one wins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from visagent.config.scales import SCALES
from visagent.errors import ConfigError


def _require(condition: bool, key: str, value: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{key}: expected {expected}, got {value!r}")


@dataclass
class MeasureConfig:
    """What a number is.

    Attributes:
        name: as the paper prints it.
        metric: key in the run's record (final metrics, else the last epoch's history); keys joined by ` + ` are added.
        over: `end`, its value in the end; `peak`, its largest over the epochs' history; `reached`, what the history's
            `x` was when it was first at `level` or above it.
        level: of `reached`; a number, or a variable that is one.
        x: of `reached`, a key of the history.
        factor: ours are multiplied by it, for example 100 for per cent.
        better: `max`, `min`, or `same` for a quantity that describes the setting rather than the method.
        tolerance: how far ours may be on the worse side of the paper's and still count as close.
        digits: decimals of ours.
        paper_digits: decimals of the paper's numbers.
        reason: what it means where a finished run has no such number (for example no successful episode).
    """

    name: str = MISSING
    metric: str = MISSING
    better: str = MISSING
    tolerance: float = MISSING
    over: str = "end"
    level: str | None = None
    x: str = "step"
    factor: float = 1.0
    digits: int = 3
    paper_digits: int = 2
    reason: str = "undefined in this run"


@dataclass
class PanelConfig:
    """The same rows and columns once more, under other conditions."""

    name: str = MISSING
    set: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)


@dataclass
class ColumnConfig(PanelConfig):
    """A column; with `measure` it holds that measure alone (then a row is one line)."""

    measure: str | None = None


@dataclass
class RowConfig(PanelConfig):
    """A row: one line for each measure, or one line where the columns name measures.

    Attributes:
        paper: the paper's numbers: measure -> one number (or null) per column; a plain list where there is one line.
        place: where they stand, if elsewhere than the table's `place`.
        note: shown under the table.
    """

    paper: Any = None
    place: str | None = None
    note: str | None = None


@dataclass
class ScaleConfig:
    """How much is computed for a table.

    Attributes:
        seeds: one run per seed.
        note: how to read numbers of this scale.
        columns, rows: names of those that there are at this scale; empty for all. Figures and claims that need others
            are left out.
    """

    set: dict[str, str] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    seeds: list[int] = MISSING
    note: str | None = None
    columns: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)


@dataclass
class FigureConfig:
    """The table's picture: `bars` of a measure (rows beside each other, over the columns), `curves` of a metric over
    epochs, `learning`: a metric over another in axes of their own for each row, where columns that were not trained are
    levels, or the `frontier` of one column against another, a point for each row.

    Attributes:
        name: file name without ending.
        measure: of bars; of learning where the metric is not the same for all cells.
        metric: of curves and learning, a key of the history.
        x, y, size: of a frontier: columns, the last one for the points' areas; x of learning: a key of the history.
        xlabel: of curves and learning.
        logarithmic: the y-axis.
    """

    kind: str = MISSING
    name: str = MISSING
    title: str = MISSING
    measure: str | None = None
    metric: str | None = None
    x: str | None = None
    y: str | None = None
    size: str | None = None
    xlabel: str = "epoch"
    ylabel: str | None = None
    logarithmic: bool = False


@dataclass
class ClaimConfig:
    """A statement of the paper, checked against our numbers.

    Attributes:
        text: in our words.
        place: where the paper says it.
        left, right: which numbers: `row`, `measure`, `column`; what is left out runs over all and is the same on both
            sides. `right` may be `{value: 0.8}`.
        relation: `<`, `>`, `<=`, `>=`, or `trend<`, `trend>` (each column against the next one; no `right`).
        factor: the right side is multiplied by it.
    """

    text: str = MISSING
    place: str = MISSING
    left: dict[str, str] = field(default_factory=dict)
    relation: str = MISSING
    right: dict[str, Any] = field(default_factory=dict)
    factor: float = 1.0


@dataclass
class TableConfig:
    """A table: rows x columns -> runs, metric, the paper's value, where it is a paper's table.

    Attributes:
        title: what it shows.
        paper: whose it is; empty for one of our own, which has no numbers to stand beside.
        place: where in the paper.
        overrides: of every run.
        statistic: `mean` or `iqm`, what a cell shows.
        aggregate: heading of a last column over all columns, or null.
        deviations: known deviations from the paper, in words.
    """

    title: str = MISSING
    paper: str = ""
    place: str = ""
    overrides: list[str] = field(default_factory=list)
    statistic: str = "mean"
    measures: dict[str, MeasureConfig] = field(default_factory=dict)
    panels: list[PanelConfig] = field(default_factory=list)
    columns: list[ColumnConfig] = field(default_factory=list)
    aggregate: str | None = None
    rows: list[RowConfig] = field(default_factory=list)
    scales: dict[str, ScaleConfig] = field(default_factory=dict)
    figures: list[FigureConfig] = field(default_factory=list)
    claims: list[ClaimConfig] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)

    def check(self) -> None:
        _require(self.statistic in ("mean", "iqm"), "table.statistic", self.statistic, "mean or iqm")
        _require(bool(self.paper) or not self.place, "table.paper", self.paper, "whose it is, or no table.place")
        _require(bool(self.place) or not self.paper, "table.place", self.place, "where in the paper it is")
        for name, entries in (
            ("measures", self.measures),
            ("columns", self.columns),
            ("rows", self.rows),
            ("scales", self.scales),
        ):
            _require(len(entries) > 0, f"table.{name}", entries, "at least one")
        for scale in self.scales:
            _require(scale in SCALES, "table.scales", scale, " or ".join(SCALES))


@dataclass
class TableRootConfig:
    """The root of `visagent-table`.

    Attributes:
        confidence: of the bootstrap intervals.
        bootstrap_samples: resamplings.
        bootstrap_seed: of the generator that draws them.
    """

    confidence: float = MISSING
    bootstrap_samples: int = MISSING
    bootstrap_seed: int = MISSING
    table: TableConfig = field(default_factory=TableConfig)

    def check(self) -> None:
        _require(0 < self.confidence < 1, "confidence", self.confidence, "a number between 0 and 1, such as 0.95")
        _require(self.bootstrap_samples >= 100, "bootstrap_samples", self.bootstrap_samples, "at least 100")
        _require(self.bootstrap_seed >= 0, "bootstrap_seed", self.bootstrap_seed, "a whole number of at least 0")
