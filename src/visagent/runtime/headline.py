"""The numbers of a run that matter first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from visagent.runtime.record import Record

FIRST = ("success_rate", "return", "top1", "accuracy", "spl")
"""How their names end, the most telling first."""
FITS = 14
"""Rows that are shown as they are."""
EVERYTHING = "all"
"""What modules call a row that is over all others of its group."""
Rows = Mapping[str, Mapping[str, float]]


def headline(record: Record) -> tuple[str, float] | None:
    """The metric of a run that says most, and its value: of its test, before that of the last validated epoch."""
    last = next((values for values in reversed(record.history.values()) if _first(values, "val")), {})
    for metrics, split in ((record.metrics, "test"), (last, "val")):
        if (name := _first(metrics, split)) is not None:
            return name, metrics[name]
    return None


def _first(metrics: Mapping[str, float], split: str) -> str | None:
    """Of the whole run rather than of a part of it; of parts, the last one, which has the most views of a video."""
    there = [name for name in metrics if name.startswith(f"{split}/") and not math.isnan(metrics[name])]
    for ending in FIRST:
        if (whole := f"{split}/{ending}") in there:
            return whole
        if parts := [name for name in there if name.endswith(f"/{ending}")]:
            over_all = [name for name in parts if f"/{EVERYTHING}/" in name]
            return (over_all or parts[-1:])[0]
    return None


def short_table(columns: Sequence[str], rows: Rows) -> tuple[list[str], dict[str, dict[str, float]], int]:
    """A table of metrics that fits one screen, and how many of its numbers that leaves out.

    Rows `[GROUP/]MODE/CASE` become rows `[GROUP/]CASE` with columns for each mode, of the numbers that matter first; of
    a group, the row over all cases stands for the others. Other long tables are cut off.

    Args:
        columns: names of numbers.
        rows: names of rows, and what each has.
    """
    count = sum(len(values) for values in rows.values())
    if len(rows) <= FITS:
        return list(columns), {name: dict(values) for name, values in rows.items()}, 0
    placed = {name: _placed(name) for name in rows}
    modes = list(dict.fromkeys(mode for _, mode, _ in placed.values() if mode))
    if not 1 < len(modes) <= 3:
        first = {name: dict(rows[name]) for name in list(rows)[:FITS]}
        return list(columns), first, count - sum(map(len, first.values()))
    measures = [name for name in FIRST if name in columns][:2] or list(columns)[:2]
    over_all = {group for group, _, case in placed.values() if case == EVERYTHING}
    out: dict[str, dict[str, float]] = {}
    for name, (group, mode, case) in placed.items():
        if group and group in over_all and case != EVERYTHING:
            continue
        row = (group if group in over_all else f"{group}/{case}") if group else case
        values = {f"{mode} {measure}".strip(): rows[name][measure] for measure in measures if measure in rows[name]}
        if values:
            out.setdefault(row, {}).update(values)
    shown = list(dict.fromkeys(column for values in out.values() for column in values))
    kept = dict(list(out.items())[:FITS])
    return shown, kept, count - sum(map(len, kept.values()))


def facts_apart(rows: Rows) -> tuple[dict[str, dict[str, float]], dict[str, Mapping[str, float]]]:
    """Rows that share columns with others, and those that share none, which are read better as lines below.

    Where no two share any, all are rows.
    """
    together = {
        name
        for name, values in rows.items()
        if any(values.keys() & others.keys() for other, others in rows.items() if other != name)
    } or set(rows)
    table = {name: dict(values) for name, values in rows.items() if name in together}
    return table, {name: values for name, values in rows.items() if name not in together}


def _placed(name: str) -> tuple[str, str, str]:
    """Group, mode and case of a row."""
    *group, mode, case = ["", *name.split("/")] if "/" in name else ["", "", name]
    return "/".join(part for part in group if part), mode, case
