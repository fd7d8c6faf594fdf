"""The paper's statements, checked against our numbers, seed by seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from visagent.config.table_schemas import ClaimConfig
from visagent.tables.results import Results, rounding
from visagent.tables.statistics import MINIMUM_SEEDS, mean, stratified_bootstrap

NAMED = 3
"""More places than these are counted, not named."""


@dataclass(frozen=True)
class Comparison:
    """One instance of a claim.

    Attributes:
        panel: where it is made.
        where: what else the claim leaves open (a row, a measure, a column).
        seeds: how many both sides have a number for.
        margin: mean over these of how far the numbers lie on the claimed side (negative: on the other), in the
            measure's unit.
        holds: whether the mean is as claimed.
        clear: whether the bootstrap interval of the margin says the same throughout; None below three seeds.
    """

    panel: str
    where: str
    seeds: int
    margin: float
    holds: bool
    clear: bool | None


@dataclass(frozen=True)
class Verdict:
    """What became of a claim: its comparisons, and how many more there would be if no number were missing."""

    claim: ClaimConfig
    wanted_seeds: int
    comparisons: tuple[Comparison, ...]
    missing: int

    def summary(self) -> str:
        """The verdict in words, panel by panel."""
        if not self.comparisons:
            return "not known: its numbers are missing"
        panels = list(dict.fromkeys(comparison.panel for comparison in self.comparisons))
        text = "; ".join(self._panel([c for c in self.comparisons if c.panel == panel], panel) for panel in panels)
        fewest = min(comparison.seeds for comparison in self.comparisons)
        remarks = [f"at least {fewest} of {self.wanted_seeds} seeds"] if fewest < self.wanted_seeds else []
        remarks += [f"fewer than {MINIMUM_SEEDS} seeds: noise not judged"] if fewest < MINIMUM_SEEDS else []
        remarks += [f"{self.missing} comparisons are missing"] if self.missing else []
        return text + (f" ({'; '.join(remarks)})" if remarks else "")

    def _panel(self, comparisons: list[Comparison], panel: str) -> str:
        failed = [c for c in comparisons if not c.holds]
        if not failed:
            text = "comes out" if len(comparisons) == 1 else f"comes out in all {len(comparisons)}"
        elif len(failed) == len(comparisons):
            text = "does not come out" if len(comparisons) == 1 else f"does not come out in any of {len(comparisons)}"
        else:
            text = f"comes out in {len(comparisons) - len(failed)} of {len(comparisons)}"
            text += f", not in {', '.join(c.where for c in failed)}" if len(failed) <= NAMED else ""
        unclear = [c.where for c in comparisons if c.clear is False]
        if unclear and len(unclear) == len(comparisons):
            text += ", within the noise"
        elif unclear:
            text += f" (within the noise: {', '.join(unclear) if len(unclear) <= NAMED else len(unclear)})"
        return f"{panel}: {text}" if panel else text


def check_claims(results: Results) -> list[Verdict]:
    """Every claim of the spec against the numbers that are there."""
    return [_verdict(results, claim) for claim in results.grid.spec.claims]


def _verdict(results: Results, claim: ClaimConfig) -> Verdict:
    comparisons, missing, root = [], 0, results.grid.root
    relation = claim.relation.removeprefix("trend")
    for panel, where, left, right in _pairs(results, claim):
        seeds = sorted(set(left) & set(right)) if right is not None else sorted(left)
        if not seeds:
            missing += 1
            continue
        other = (
            np.array([right[seed] for seed in seeds])
            if right is not None
            else np.full(len(seeds), float(claim.right["value"]))
        )
        ours = np.array([left[seed] for seed in seeds])
        margin = (claim.factor * other - ours) if relation.startswith("<") else (ours - claim.factor * other)
        # "At least" and "at most" hold at equality, "more" and "less" do not; numbers equal but for rounding are equal.
        least = (
            -rounding(ours, claim.factor * other) if relation.endswith("=") else rounding(ours, claim.factor * other)
        )
        holds = bool(margin.mean() > least)
        ends = stratified_bootstrap(
            [margin], mean, np.random.default_rng(root.bootstrap_seed), root.bootstrap_samples, root.confidence
        )
        clear = None if ends is None else bool(ends[0] > least) if holds else bool(ends[1] <= least)
        comparisons.append(Comparison(panel, where, len(seeds), float(margin.mean()), holds, clear))
    return Verdict(claim, len(results.grid.seeds), tuple(comparisons), missing)


def _pairs(
    results: Results, claim: ClaimConfig
) -> Iterator[tuple[str, str, dict[int, float], dict[int, float] | None]]:
    """(panel, what is left open, left by seed, right by seed or None for a constant)."""
    grid = results.grid

    def numbers(panel: str, side: dict[str, str], row: str, measure: str, column: str) -> dict[int, float]:
        column = side.get("column", column)
        return dict(
            results.cells[
                (panel, side.get("row", row), grid.measure_of(column) or side.get("measure", measure), column)
            ].values
        )

    trend = claim.relation.startswith("trend")
    rows = [claim.left["row"]] if "row" in claim.left else [row.name for row in grid.spec.rows]
    measures = (
        [""]
        if grid.measure_columns
        else [claim.left["measure"]]
        if "measure" in claim.left
        else list(grid.spec.measures)
    )
    columns = [claim.left["column"]] if "column" in claim.left else list(grid.columns)
    for panel in grid.panels:
        for row in rows:
            for measure in measures:
                for index, column in enumerate(columns[:-1] if trend else columns):
                    open_parts = [row] if len(rows) > 1 else []
                    open_parts += [grid.spec.measures[measure].name] if len(measures) > 1 else []
                    if trend:
                        following = columns[index + 1]
                        where = " ".join([*open_parts, f"{column} to {following}"])
                        yield (
                            panel,
                            where,
                            numbers(panel, {}, row, measure, column),
                            numbers(panel, {}, row, measure, following),
                        )
                        continue
                    if len(columns) > 1:
                        open_parts.append(column)
                    right = None if "value" in claim.right else numbers(panel, claim.right, row, measure, column)
                    yield panel, " ".join(open_parts), numbers(panel, claim.left, row, measure, column), right
