"""A run as a page that stands alone, `report.html`: what it was told, what came of it, and what to do with it."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from hydra.errors import HydraException

from visagent.charts import line_chart, shown
from visagent.config.composition import compose_run, config_folder
from visagent.config.presets import presets
from visagent.config.signature import difference
from visagent.errors import UserError, machine_message
from visagent.pages import document, inline, relative, table
from visagent.runtime.citations import sources_of
from visagent.runtime.credentials import without_credentials
from visagent.runtime.extending import not_to_extend
from visagent.runtime.record import Record, write_atomically
from visagent.runtime.report import metric_table, what_was_tested, whole_run
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.system_use import read_use
from visagent.words import counted, span

log = logging.getLogger(__name__)
MOST_INSIDE = 24 * 2**20
"""Bytes of pictures and films that the page holds; others are linked."""
USE = {
    "cores": "cores busy, of this run",
    "machine_cores": "cores busy, of the machine",
    "memory_gib": "memory, GiB",
    "gpu_share": "GPU busy, share",
    "gpu_memory_gib": "GPU memory, GiB",
}
GROUPS = {"val": "Validation", "train": "Training", "data": "Experience"}


def write_page(folder: RunFolder, record: Record, config: Mapping[str, Any]) -> Path | None:
    """Write the page of a run; None, and a warning, where that fails: its numbers are there.

    Args:
        folder, record: of the run.
        config: resolved.
    """
    try:
        write_atomically(folder.page, page(folder, record, config))
    except (OSError, ValueError, KeyError) as error:
        log.warning("the page of this run could not be written (%s)", machine_message(error) or error)
        return None
    return folder.page


def page(folder: RunFolder, record: Record, config: Mapping[str, Any]) -> str:
    """The page."""
    place = folder.page
    state = record.status + (f": {record.error.splitlines()[-1]}" if record.error else "")
    body = [
        f"<h1>{escape(record.name)}, seed {record.seed}</h1>",
        f"<p class=sub>{escape(record.signature)}, {escape(state)} "
        f"<span class=scale>{escape(record.scale)} scale</span></p>",
        *_results(record),
        *_settings(config, record),
        *_curves(record),
        *_shown(folder, place),
        *_time(record),
        *_use(folder),
        *_onwards(folder, record, config),
        *_files(folder, place),
    ]
    return document(f"{record.name} {record.signature}", "\n".join(body))


def _list(rows: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(key)}<dd>{value}" for key, value in rows.items() if value) + "</dl>"


def _code(text: str) -> str:
    return f"<code>{escape(without_credentials(text))}</code>"


def _results(record: Record) -> list[str]:
    columns, rows = metric_table(record.metrics)
    if whole := whole_run(record.metrics):
        columns, rows = list(dict.fromkeys([*whole, *columns])), {"whole run": whole, **rows}
    if not rows:
        return []
    lines = [
        f"<tr><th scope=row>{escape(name)}"
        + "".join(
            f"<td data-column='{escape(column, quote=True)}'><span>"
            f"{shown(values[column]) if column in values else '-'}</span>"
            for column in columns
        )
        for name, values in rows.items()
    ]
    told = what_was_tested(record)
    note = f"<p class=legend>{escape(told)}</p>" if told else ""
    return ["<h2>Test</h2>", table(["", *(column.replace("_", " ") for column in columns)], lines), note]


def _settings(config: Mapping[str, Any], record: Record) -> list[str]:
    """What differs from the preset that the command names."""
    words = [word.partition("=")[2] for word in shlex.split(record.command) if word.startswith("experiment=")]
    preset = next((name for name in (*words[-1:], record.name) if name in presets()), None)
    if preset is None:
        return ["<h2>Settings</h2>", "<p>of no preset; <code>config.yaml</code> has all of them</p>"]
    try:
        base = _composed(preset)
    except (UserError, HydraException) as error:
        return ["<h2>Settings</h2>", f"<p>{escape(preset)} does not compose here: {escape(str(error))}</p>"]
    rows = []
    for line in difference(base, config):
        key, _, both = line.partition(": ")
        before, _, now = both.partition(" -> ")
        cells = (("preset", before), ("here", now))
        rows.append(
            f"<tr><th scope=row>{escape(key)}"
            + "".join(
                f"<td data-column={name}><span>{escape(without_credentials(text))}</span>" for name, text in cells
            )
        )
    said = table(["setting", "preset", "here"], rows) if rows else "<p>none</p>"
    return [f"<h2>Settings that differ from {escape(preset)}</h2>", said]


@lru_cache(maxsize=16)
def _composed(preset: str) -> dict[str, Any]:
    """A preset as it is, which costs more than the rest of a page."""
    with config_folder():
        return compose_run([f"experiment={preset}"])


def _curves(record: Record) -> list[str]:
    epochs = sorted(record.history, key=int)
    if len(epochs) < 2:
        return []
    names = sorted({name for values in record.history.values() for name in values})
    out = []
    for group, title in GROUPS.items():
        charts = []
        for name in (name for name in names if name.partition("/")[0] == group):
            there = [epoch for epoch in epochs if name in record.history[epoch]]
            if len(there) > 1:
                values = [record.history[epoch][name] for epoch in there]
                title_of = name.partition("/")[2].replace("_", " ")
                charts.append(line_chart(title_of, [int(epoch) + 1 for epoch in there], values))
        if charts:
            out += [f"<h2>{title}</h2>", f"<div class=charts>{''.join(charts)}</div>"]
    return out


def _shown(folder: RunFolder, place: Path) -> list[str]:
    """Pictures and films, inside as far as they may be."""
    out, inside = [], 0
    pictures = sorted(folder.figures.rglob("*.png"))
    films = sorted((folder.path / "videos").glob("*.mp4"))
    for title, paths in (("Pictures", pictures), ("Films", films)):
        shown_ones = []
        for path in paths:
            name, size = path.stem.replace("_", " "), path.stat().st_size
            if inside + size > MOST_INSIDE:
                shown_ones.append(f"<p><a href='{relative(path, place)}'>{escape(name)}</a></p>")
                continue
            inside += size
            kind = "image/png" if path.suffix == ".png" else "video/mp4"
            caption = f"<figcaption>{escape(name)}</figcaption>"
            shown_ones.append(f"<figure>{caption}{inline(path.read_bytes(), kind, name)}</figure>")
        out += [f"<h2>{title}</h2>", *shown_ones] if shown_ones else []
    return out


def _time(record: Record) -> list[str]:
    rows = {
        "all attempts together": f"{span(record.seconds)}, {counted(record.attempts, 'attempt')}",
        "epochs": str(len(record.history)),
        "steps of the worlds": f"{record.env_steps:,}" if record.env_steps else "",
    }
    totals: dict[str, list[float]] = {}
    for values in record.history.values():
        for name, value in values.items():
            if name.startswith("time/"):
                totals.setdefault(name.removeprefix("time/").replace("_", " "), []).append(value)
    rows |= {
        name: f"{shown(sum(values) / len(values))} (mean of the epochs)" for name, values in sorted(totals.items())
    }
    return ["<h2>Where time went</h2>", _list({key: escape(value) for key, value in rows.items()})]


def _use(folder: RunFolder) -> list[str]:
    use = read_use(folder.system)
    minutes = [seconds / 60 for seconds in use.get("time", [])]
    if len(minutes) < 2:
        return []
    charts = [line_chart(title, minutes, use[name], "minute") for name, title in USE.items() if name in use]
    return ["<h2>System</h2>", f"<div class=charts>{''.join(charts)}</div>"]


def _onwards(folder: RunFolder, record: Record, config: Mapping[str, Any]) -> list[str]:
    name = record.signature if folder.path.parent.name == "runs" else shlex.quote(str(folder.path))
    epochs = (config.get("trainer") or {}).get("max_epochs", 1)
    extensible = record.status == "FINISHED" and not_to_extend(config, record) is None
    commands = {
        "run it again, or go on after a kill": record.command,
        "test it again": f"visagent-evaluate run={name} datamodule.KEY=VALUE",
        "see what it does": f"visagent-predict run={name}",
        "for other programs": f"visagent-export run={name}",
        "more epochs": f"visagent-train extend={name} trainer.max_epochs={2 * epochs}" if extensible else "",
        "its weights in another run": f"visagent-train init_from={name} experiment=...",
    }
    facts = {
        "commit": record.commit,
        "machine": ", ".join(f"{key} {value}" for key, value in record.hardware.items()),
        "versions": ", ".join(f"{key} {value}" for key, value in record.versions.items()),
        "begun, ended": f"{record.created}, {record.finished or 'not yet'}",
    }
    sources = sources_of(str((config.get("algorithm") or {}).get("_target_")))
    ours = f"visagent, commit {record.commit or 'unknown'}, run {record.signature}, seed {record.seed}"
    return [
        "<h2>Go on</h2>",
        _list({key: _code(value) for key, value in commands.items() if value}),
        "<h2>Cite</h2>",
        f"<ul>{''.join(f'<li>{escape(source)}' for source in (*sources, ours))}</ul>",
        "<h2>Made with</h2>",
        _list({key: escape(value) for key, value in facts.items()}),
    ]


def _files(folder: RunFolder, place: Path) -> list[str]:
    there = [folder.path / name for name in ("config.yaml", "record.json", "log.txt", "weights.txt")]
    there += [folder.episodes, folder.system, *sorted((folder.path / "predictions").glob("*"))]
    there += [*sorted((folder.path / "evaluations").glob("*.json")), *sorted(folder.checkpoint.parent.glob("*.ckpt"))]
    items = (
        f"<li><a href='{relative(path, place)}'>{escape(str(path.relative_to(folder.path)))}</a>"
        for path in there
        if path.is_file()
    )
    return ["<h2>Files</h2>", f"<ul>{''.join(items)}</ul>"]
