"""`visagent-compare`: runs side by side, their settings, numbers and curves."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from visagent.charts import shown
from visagent.config.quoting import plain
from visagent.config.signature import changes_identity
from visagent.errors import ConfigError
from visagent.runtime.arguments import add_place_of_runs, with_outputs
from visagent.runtime.credentials import without_credentials
from visagent.runtime.headline import headline
from visagent.runtime.record import Record
from visagent.runtime.report import plain_console
from visagent.runtime.run_folder import RunFolder, find_run

ABSENT = "-"
MOST_CURVES = 6


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(
        prog="visagent-compare", description="Runs side by side: numbers, settings that differ, curves in one picture."
    )
    top.add_argument("runs", nargs="+", metavar="SIGNATURE", help="of two runs or more; beginnings or folders will do")
    top.add_argument("--metric", action="append", default=[], help="whose curve is drawn (default: of validation)")
    top.add_argument("--full", action="store_true", help="also numbers and settings that not all of them have")
    top.add_argument("--to", type=Path, metavar="FILE", help="the picture (default: outputs/comparisons/RUNS.png)")
    add_place_of_runs(top)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `visagent-compare`."""
    asked = parser().parse_args(with_outputs(arguments))
    folders = [find_run(asked.outputs / "runs", run.removeprefix("run=")) for run in asked.runs]
    if len({folder.path.resolve() for folder in folders}) < 2:
        raise ConfigError(f"visagent-compare: expected two different runs or more, got {' '.join(asked.runs)}")
    records = [_record(folder) for folder in folders]
    target = asked.to or asked.outputs / "comparisons" / f"{'-'.join(folder.path.name for folder in folders)}.png"
    console = plain_console()
    names = [f"{record.signature}\n{record.name}, seed {record.seed}" for record in records]
    numbers = _numbers(records)
    there = {key: cells for key, cells in numbers.items() if ABSENT not in cells or key in _first(records)}
    console.print(_table("numbers", "metric", names, numbers if asked.full else there))
    if not asked.full and (others := len(numbers) - len(there)):
        console.print(f"{others} more, which not all of the runs have: --full", highlight=False)
    settings = differing([folder.config() for folder in folders])
    everywhere = {key: cells for key, cells in settings.items() if ABSENT not in cells}
    console.print(_table("settings that differ", "setting", names, settings if asked.full else everywhere))
    if not asked.full and (others := len(settings) - len(everywhere)):
        console.print(f"{others} more, which not all of the runs have: --full", highlight=False)
    drawn = asked.metric or common_curves(records)
    if drawn:
        draw(records, drawn, target)
        console.print(f"picture  {target}", highlight=False, soft_wrap=True)
    else:
        console.print("no picture: no metric of validation is there for two epochs of each run", highlight=False)
    return 0


def _record(folder: RunFolder) -> Record:
    record = folder.load()
    if record is None:
        raise ConfigError(f"run {folder.path}: it has no record")
    return record


def differing(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Settings that differ between configs, with each one's values; without those that change no result.

    Args:
        configs: stored ones.
    """
    flat = [dict(_flat(config)) for config in configs]
    keys = dict.fromkeys(key for one in flat for key in one if changes_identity(key))
    rows = {key: [_cell(key, one.get(key, ABSENT)) for one in flat] for key in keys}
    return {key: cells for key, cells in rows.items() if len(set(cells)) > 1}


def _cell(key: str, value: Any) -> str:
    """A setting's value; of a class, its name without its module."""
    said = without_credentials(plain(value))
    return said.rpartition(".")[2] if key.endswith("._target_") else said


def _flat(node: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    out = []
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            out += _flat(value, f"{prefix}{key}.")
        else:
            out.append((f"{prefix}{key}", value))
    return out


def _numbers(records: Sequence[Record]) -> dict[str, list[str]]:
    """Metrics of the tests, those that say most first, and what the runs cost."""
    names = dict.fromkeys([*_first(records), *(name for record in records for name in record.metrics)])
    rows = {}
    for name in names:
        last = [next((v[name] for v in reversed(r.history.values()) if name in v), None) for r in records]
        values = [record.metrics.get(name, seen) for record, seen in zip(records, last, strict=True)]
        rows[name] = [ABSENT if value is None else shown(value) for value in values]
    rows["state"] = [record.status.lower() for record in records]
    rows["epochs"] = [str(len(record.history)) for record in records]
    rows["env steps"] = [f"{record.env_steps:,}" for record in records]
    rows["minutes"] = [f"{record.seconds / 60:.1f}" for record in records]
    return rows


def _first(records: Sequence[Record]) -> list[str]:
    """The metric that says most of each."""
    return [found[0] for record in records if (found := headline(record)) is not None]


def _table(title: str, column: str, names: Sequence[str], rows: Mapping[str, Sequence[str]]) -> Table | str:
    if not rows:
        return f"{title}: none"
    table = Table(title=Text(title, "table.title"), title_justify="left")
    table.add_column(column, overflow="fold")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for key, cells in rows.items():
        table.add_row(key, *cells)
    return table


def common_curves(records: Sequence[Record]) -> list[str]:
    """Metrics of validation that all runs have over at least two epochs, those that say most first."""

    def often(record: Record, name: str) -> bool:
        return sum(name in values for values in record.history.values()) > 1

    shared = [n for n in _keys(records[0]) if n.startswith("val/") and all(often(record, n) for record in records)]
    key = headline(Record("", "", "", 0, "", history=records[0].history))
    return sorted(shared, key=lambda name: key is None or name != key[0])[:MOST_CURVES]


def _keys(record: Record) -> list[str]:
    return list(dict.fromkeys(name for values in record.history.values() for name in values))


def draw(records: Sequence[Record], names: Sequence[str], target: Path) -> None:
    """Draw metrics over epochs, a line for each run.

    Raises:
        ConfigError: when no run has one of them.
    """
    import matplotlib

    matplotlib.use("Agg", force=False)
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = min(3, len(names))
    height = -(-len(names) // columns)
    figure = Figure(figsize=(5.2 * columns, 3.6 * height), layout="constrained")
    for number, name in enumerate(names):
        axes = figure.add_subplot(height, columns, number + 1)
        for record in records:
            points = [
                (int(epoch) + 1, values[name])
                for epoch, values in sorted(record.history.items(), key=lambda item: int(item[0]))
                if name in values
            ]
            if points:
                label = f"{record.signature} {record.name}, seed {record.seed}"
                axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
        if not axes.lines:
            there = ", ".join(sorted({key for record in records for key in _keys(record)})) or "none"
            raise ConfigError(f"--metric: expected one of {there}, got {name!r}")
        axes.set_title(name)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if number == 0:
            axes.legend(fontsize=7)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)
