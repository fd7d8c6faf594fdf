"""The words and numbers that every format of a table shares."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from visagent.runtime.record import Record
from visagent.tables.claims import check_claims
from visagent.tables.results import BETTER, CLOSE, NO_METRIC, WORSE, CellResult, Results
from visagent.tables.statistics import MINIMUM_SEEDS
from visagent.words import counted

DASH = "—"


def ours(cell: CellResult) -> str:
    """`mean ± std (n)`, `(n/wanted)` where seeds are missing, a dash without any."""
    count = f"({len(cell.values)})" if not cell.missing else f"({len(cell.values)}/{cell.wanted})"
    if cell.value is None:
        return DASH if len(cell.missing) == cell.wanted and not _failed(cell) else f"{DASH} {count}"
    std = "" if cell.std is None else f" ± {cell.std:.{cell.spec.digits}f}"
    return f"{cell.value:.{cell.spec.digits}f}{std} {count}"


def _failed(cell: CellResult) -> bool:
    return any(reason.startswith("failed") for reason in cell.missing.values())


def interval(cell: CellResult) -> str:
    """`[lower, upper]`, empty without one."""
    return (
        "" if cell.interval is None else "[" + ", ".join(f"{end:.{cell.spec.digits}f}" for end in cell.interval) + "]"
    )


def paper(cell: CellResult) -> str:
    """The paper's number, a dash where it has none."""
    return DASH if cell.paper is None else f"{cell.paper:.{cell.spec.paper_digits}f}"


def difference(cell: CellResult) -> str:
    """Ours less the paper's, signed."""
    return DASH if cell.difference is None else f"{cell.difference:+.{cell.spec.digits}f}"


def source(results: Results) -> str:
    """Whose table it is; empty where it is our own."""
    spec = results.grid.spec
    return f"{spec.paper}: {spec.place}" if spec.paper else ""


def cell_parts(cell: CellResult) -> tuple[str, str, str, str]:
    """Ours, the paper's, the difference, the mark."""
    return ours(cell), paper(cell), difference(cell), cell.mark or DASH


def legend(results: Results) -> list[str]:
    """How to read a cell."""
    root = results.grid.root
    statistic = {"mean": "mean", "iqm": "interquartile mean"}[results.grid.spec.statistic]
    tolerances = "; ".join(f"{m.name} {m.tolerance:g}" for m in results.grid.spec.measures.values())
    lines = [
        f"Cell: ours, {statistic} ± standard deviation over seeds (number of seeds) | the paper's | difference | mark.",
        f"Marks: {BETTER} at least as good as the paper's, {CLOSE} worse by no more than the tolerance, {WORSE} by "
        f"more ({tolerances}).",
    ]
    if not source(results):
        lines = [f"Cell: {statistic} ± standard deviation over seeds (number of seeds)."]
    elif any(measure.better == "same" for measure in results.grid.spec.measures.values()):
        named = ", ".join(measure.name for measure in results.grid.spec.measures.values() if measure.better == "same")
        lines[-1] += f" Of what describes the setting ({named}): {CLOSE} within the tolerance, else {WORSE}."
    if results.aggregates:
        lines.append(
            f"Last column: {statistic} over seeds and columns, without weights; its interval resamples seeds within "
            "each column."
        )
    if any(cell.interval is not None for cell in results.cells.values()):
        lines.append(
            f"[a, b]: {root.confidence:.0%} percentile bootstrap interval; {root.bootstrap_samples} resamples, seed "
            f"{root.bootstrap_seed}."
        )
    else:
        lines.append(f"No intervals: they need at least {MINIMUM_SEEDS} seeds.")
    lines += [f"{row.name}: {row.note}" for row in results.grid.spec.rows if row.note]
    return lines


def command(results: Results) -> str:
    """The command that makes this table."""
    grid = results.grid
    seeds = (
        ["--seeds", ",".join(map(str, grid.seeds))]
        if list(grid.seeds) != list(grid.spec.scales[grid.scale].seeds)
        else []
    )
    return shlex.join(["visagent-table", grid.name, "--run", "--scale", grid.scale, *seeds, *results.extra])


def footer(results: Results) -> list[tuple[str, str]]:
    """Where the numbers come from: (what, which)."""
    records = [run.record for run in results.finished if run.record is not None]
    days = sorted({(record.finished or record.created)[:10] for record in records})
    machines = sorted(
        {
            ", ".join([h.get("cpu", "?"), f"{h.get('cores', '?')} cores", h.get("memory", "?"), h.get("device", "?")])
            for h in (r.hardware for r in records)
        }
    )
    versions = sorted({f"torch {record.versions.get('torch', '?')}" for record in records})
    facts = [
        ("scale", results.grid.scale),
        ("runs", f"{len(results.finished)} of {len(results.runs)} finished"),
        ("seeds", ", ".join(map(str, results.grid.seeds))),
        *weights_line(records),
        ("commit", ", ".join(sorted({record.commit or "not a checkout" for record in records})) or DASH),
        ("date", " to ".join(dict.fromkeys([days[0], days[-1]])) if days else DASH),
        ("hardware", "; ".join(machines) or DASH),
        ("software", ", ".join(versions) or DASH),
        (
            "training time",
            f"{_minutes(sum(record.seconds for record in records))} of all runs together" if records else DASH,
        ),
        ("command", command(results)),
    ]
    note = results.grid.spec.scales[results.grid.scale].note
    return facts + ([("note", note)] if note else [])


def _minutes(seconds: float) -> str:
    return counted(round(seconds / 60), "minute") if seconds >= 30 else "less than a minute"


def weights_line(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Which weights the numbers are of, where that is said because it is not the last epoch's of all runs."""
    kinds = []
    for record in records:
        by, decay = record.tested.get("monitor"), record.tested.get("ema")
        kinds.append(
            (f"best epoch by {by}" if by else "last epoch") + (f", moving average (decay {decay:g})" if decay else "")
        )
    counts = Counter(kinds)
    if set(counts) <= {"last epoch"}:
        return []
    return [("tested weights", "; ".join(f"{kind}: {counted(count, 'run')}" for kind, count in counts.items()))]


def claims(results: Results) -> list[tuple[str, str, str]]:
    """(claim, its place in the paper, what became of it)."""
    return [(verdict.claim.text, verdict.claim.place, verdict.summary()) for verdict in check_claims(results)]


@dataclass(frozen=True)
class Missing:
    """A run whose numbers are missing, or numbers that finished runs lack (then without a command)."""

    what: str
    why: str
    command: str | None


def missing(results: Results) -> list[Missing]:
    """What keeps the table from being whole, each with its command."""
    lines = [
        Missing(run.label, run.state + (f": {_short(run.reason)}" if run.reason else ""), run.command)
        for run in sorted(results.unfinished, key=lambda run: run.state == "not started")
    ]
    lacking: dict[str, list[str]] = {}
    examples: dict[str, str] = {}
    for (panel, row, _, column), cell in results.cells.items():
        for seed, reason in cell.missing.items():
            if reason.startswith(NO_METRIC) or reason == cell.spec.reason:
                why = NO_METRIC if reason.startswith(NO_METRIC) else reason
                examples.setdefault(why, reason)
                lacking.setdefault(why, []).append(
                    ", ".join(part for part in (panel, row, cell.spec.name, column, f"seed {seed}") if part)
                )
    for why, places in lacking.items():
        shown = "; ".join(places[:3]) + (f"; and {len(places) - 3} more" if len(places) > 3 else "")
        lines.append(
            Missing(
                f"{len(places)} number{'s' if len(places) > 1 else ''} of finished runs ({shown})", examples[why], None
            )
        )
    return lines


def _short(text: str | None, length: int = 300) -> str:
    one_line = re.sub(r"\s+", " ", text or "").strip()
    return one_line if len(one_line) <= length else one_line[: length - 3] + "..."


def line_names(results: Results) -> Sequence[tuple[str, str | None]]:
    """(row, measure's name or None) of each line; with one measure alone a row is a line, and the title says what it
    is.
    """
    measures = results.grid.spec.measures
    return [
        (row, measures[measure].name if measure and len(measures) > 1 else None) for row, measure in results.grid.lines
    ]
