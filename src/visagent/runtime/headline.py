"""The numbers of a run that matter first."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from visagent.runtime.record import Record

FIRST = ("success_rate", "return", "top1", "accuracy", "spl")
"""How their names end, the most telling first."""
FITS = 14
"""Rows that are shown as they are."""
EVERYTHING = "all"
"""What modules call a row that is over all others of its group."""
NUMBER = 7
"""Signs of a number in a table."""
Rows = Mapping[str, Mapping[str, float]]


def headline(record: Record) -> tuple[str, float] | None:
    """The metric of a run that says most, and its value: of its test, before that of the last validated epoch."""
    last = next((values for values in reversed(record.history.values()) if _first(values, "val")), {})
    for metrics, split in ((record.metrics, "test"), (last, "val")):
        if (name := _first(metrics, split)) is not None:
            return name, metrics[name]
    return None


def _first(metrics: Mapping[str, float], split: str) -> str | None:
    """The metric of the whole run rather than of a part of it; among parts, that of the last one, which has the most
    views of a video.
    """
    there = [name for name in metrics if name.startswith(f"{split}/") and not math.isnan(metrics[name])]
    for ending in FIRST:
        if (whole := f"{split}/{ending}") in there:
            return whole
        if parts := [name for name in there if name.endswith(f"/{ending}")]:
            over_all = [name for name in parts if f"/{EVERYTHING}/" in name]
            return (over_all or parts[-1:])[0]
    return None


def title_of(column: str) -> str:
    """A column's heading."""
    return column.removeprefix("average_").replace("_", " ")


def _width(columns: Sequence[str], names: Collection[str]) -> int:
    """Signs that a table takes at least, whose headings are wrapped between words."""
    words = (max(NUMBER, *(len(word) for word in title_of(column).split())) for column in columns)
    return max(map(len, names), default=0) + 4 + sum(word + 3 for word in words)


def short_table(
    columns: Sequence[str], rows: Rows, width: int = 120
) -> tuple[list[str], dict[str, dict[str, float]], int]:
    """A table of metrics that fits one screen, and how many of its numbers that leaves out.

    Rows `[GROUP/]MODE/CASE` become rows `[GROUP/]CASE` with columns for each mode, of the numbers that matter first; of
    a group, the row over all cases stands for the others. Other long tables are cut off, and so are wide ones.

    Args:
        columns: names of numbers.
        rows: names of rows, and what each has.
        width: of the screen, in signs.
    """
    count = sum(len(values) for values in rows.values())
    if len(rows) <= FITS and _width(columns, facts_apart(rows)[0]) <= width:
        return list(columns), {name: dict(values) for name, values in rows.items()}, 0
    placed = {name: _placed(name) for name in rows}
    modes = list(dict.fromkeys(mode for _, mode, _ in placed.values() if mode))
    if not 1 < len(modes) <= 3:
        return _cut_off(columns, rows, width, count)
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
    return _cut_off(shown, out, width, count)


def _cut_off(
    columns: Sequence[str], rows: Rows, width: int, count: int
) -> tuple[list[str], dict[str, dict[str, float]], int]:
    """As many rows and columns as fit, and how many of `count` numbers are not among them."""
    names, kept = list(rows)[:FITS], list(columns)
    while len(kept) > 1 and _width(kept, names) > width:
        kept.pop()
    out = {name: {column: rows[name][column] for column in kept if column in rows[name]} for name in names}
    out = {name: values for name, values in out.items() if values}
    return kept, out, count - sum(map(len, out.values()))


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
