"""What a run shows at its end: a table on the console, learning curves as a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from visagent.runtime.headline import FIRST, facts_apart, short_table, title_of
from visagent.runtime.record import Record
from visagent.runtime.run_folder import RunFolder
from visagent.words import counted, span

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console


def metric_table(metrics: Mapping[str, float], split: str = "test") -> tuple[list[str], dict[str, dict[str, float]]]:
    """Metrics `<split>/<row...>/<column>` as columns and rows, without those of the whole run, `<split>/<column>`."""
    rows: dict[str, dict[str, float]] = {}
    columns: list[str] = []
    for key, value in metrics.items():
        parts = key.split("/")
        if parts[0] != split or len(parts) < 3:
            continue
        row, column = "/".join(parts[1:-1]), parts[-1]
        rows.setdefault(row, {})[column] = value
        if column not in columns:
            columns.append(column)
    return columns, rows


def whole_run(metrics: Mapping[str, float], split: str = "test") -> dict[str, float]:
    """Metrics of the whole run, `<split>/<column>`, by column."""
    parts = {tuple(key.split("/")): value for key, value in metrics.items()}
    return {key[1]: value for key, value in parts.items() if key[0] == split and len(key) == 2}


def what_was_tested(record: Record) -> str:
    """Which weights a run's final numbers are of, in words; empty where they are the last epoch's as they are."""
    told, parts = record.tested, []
    if "monitor" in told:
        early = ", where it stopped early" if told.get("stopped_early") else ""
        parts.append(
            f"epoch {told['epoch'] + 1} of {told['of']}{early}, the best by {told['monitor']} ({told['value']:.4g})"
        )
    if "ema" in told:
        parts.append(f"moving average of the weights, decay {told['ema']:g}")
    return f"tested: {'; '.join(parts)}" if parts else ""


def print_table(
    record: Record,
    folder: RunFolder,
    metrics: Mapping[str, float] | None = None,
    title: str | None = None,
    full: bool = False,
) -> None:
    """Print the test metrics and where to find the run.

    Args:
        record, folder: of the run.
        metrics: instead of the record's.
        title: instead of the run's name.
        full: all numbers, however many.
    """
    shown = record.metrics if metrics is None else metrics
    console = print_metrics(title or f"{record.name}  seed {record.seed}  ({record.scale} scale)", shown, full)
    if metrics is None and (told := what_was_tested(record)):
        console.print(told, highlight=False, soft_wrap=True)
    trained = f"{span(record.seconds)} in all   "
    if record.env_steps:
        trained = f"env steps {record.env_steps:,}   {trained}"
    found = [f"{'' if metrics is not None else trained}run folder {folder.path}"]
    if metrics is None:
        found += [f"report  {folder.page}"] if folder.page.is_file() else []
        pictures = "  ".join(str(path) for path in sorted(folder.figures.glob("*.png")))
        found += [f"pictures  {pictures}"] if pictures else []
    for line in found:
        console.print(line, highlight=False, soft_wrap=True)


def plain_console() -> Console:
    """A console that shows text as it is; a file has 120 columns, unless COLUMNS says otherwise."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)
    if console.is_terminal or os.environ.get("COLUMNS", "").isdecimal():
        return console
    return Console(width=120, markup=False, emoji=False)


def print_metrics(title: str, metrics: Mapping[str, float], full: bool = False) -> Console:
    """Print test metrics as a table, if there are any, that fits one screen unless it is to be `full`; returns the
    console.
    """
    from rich.table import Table
    from rich.text import Text

    columns, rows = metric_table(metrics)
    whole, left_out = whole_run(metrics), 0
    console = plain_console()
    if not full:
        columns, rows, left_out = short_table(columns, rows, console.width)
        if left_out:  # the rows over all cases say it, for each mode
            whole = {name: value for name, value in whole.items() if name not in FIRST}
    if whole:
        columns, rows = list(dict.fromkeys([*whole, *columns])), {"whole run": whole, **rows}
    facts: dict[str, Mapping[str, float]] = {}
    if not full:
        rows, facts = facts_apart(rows)
        columns = [column for column in columns if any(column in values for values in rows.values())]
    if rows:
        console.print(Text(title, "table.title"), soft_wrap=True)  # wider than a narrow table
        table = Table()
        table.add_column("test", no_wrap=True)
        for column in columns:
            table.add_column(title_of(column), justify="right")
        for name, values in rows.items():
            table.add_row(name, *(_number(values.get(column)) for column in columns))
        console.print(table)
    for name, numbers in facts.items():
        told = "  ".join(f"{column.replace('_', ' ')} {_number(value)}" for column, value in numbers.items())
        console.print(f"{name}: {told}".removeprefix("whole run: "), highlight=False)
    if left_out:
        console.print(f"{counted(left_out, 'more number')}: progress.summary=full, or the record", highlight=False)
    return console


def _number(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


VALIDATION = {
    "/all/success_rate": "success rate on validation episodes",
    "/top1": "top-1 accuracy on validation videos",
    "/return": "return of validation episodes",
}
"""What ends the names of the metrics that a run is watched by, and their title."""


def learning_curves(record: Record) -> Figure | None:
    """What a run is watched by, over its epochs; None without any."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    history = sorted((int(epoch), values) for epoch, values in record.history.items())
    groups = {
        "training": [
            k
            for k in _keys(record)
            if k in ("train/top1", "train/shift_share") or (k.startswith("train/") and k.endswith("_epoch"))
        ],
        "validation": [k for k in _keys(record) if k.startswith("val/") and k.endswith(tuple(VALIDATION))],
        "data": [k for k in _keys(record) if k in ("data/samples", "data/expert_queries", "data/episode_return")],
    }
    shown = {name: keys for name, keys in groups.items() if keys}
    if not shown:
        return None
    figure = Figure(figsize=(5.2 * len(shown), 4.0), layout="constrained")
    for index, (name, keys) in enumerate(shown.items()):
        axes = figure.add_subplot(1, len(shown), index + 1)
        for key in keys:
            points = [(epoch, values[key]) for epoch, values in history if key in values]
            axes.plot(
                *zip(*points, strict=True),
                marker="o",
                label=key.removeprefix("train/")
                .removeprefix("val/")
                .removesuffix("_epoch")
                .removesuffix("/success_rate"),
            )
        axes.set_title(
            next(title for end, title in VALIDATION.items() if keys[0].endswith(end)) if name == "validation" else name
        )
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if name == "validation" and not keys[0].endswith("/return"):
            axes.set_ylim(top=1.02)
        axes.legend(fontsize=8)
    figure.suptitle(f"{record.name}, seed {record.seed} ({record.scale} scale)")
    return figure


def _keys(record: Record) -> list[str]:
    return sorted({key for values in record.history.values() for key in values})
