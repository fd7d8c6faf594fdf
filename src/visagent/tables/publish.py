"""Write a table's files, keep the index of all tables, hand the files to MLflow."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visagent.config.presets import tables
from visagent.runtime.record import write_atomically
from visagent.tables import text
from visagent.tables.figures import draw, names, png
from visagent.tables.formats import comma_separated, latex, markdown
from visagent.tables.page import index, page
from visagent.tables.results import Results

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)


def folder(outputs: Path, results: Results) -> Path:
    """Where a table's files lie: tables of different scales never share a file."""
    return outputs / "tables" / results.grid.scale / Path(results.grid.name).parent


def write(outputs: Path, results: Results) -> list[Path]:
    """Write Markdown, CSV, LaTeX, HTML and the figures under `outputs/tables/<scale>/<paper>/`, and the index page.

    Returns:
        the files of the table, the HTML page first.
    """
    place = folder(outputs, results)
    place.mkdir(parents=True, exist_ok=True)
    stem = place / Path(results.grid.name).name
    figures = draw(results)
    html = stem.with_suffix(".html")
    contents = {
        html: page(results, figures, html),
        stem.with_suffix(".md"): markdown(results, names(figures)),
        stem.with_suffix(".csv"): comma_separated(results),
        stem.with_suffix(".tex"): latex(results),
    }
    for path, content in contents.items():
        write_atomically(path, content)
    pictures = []
    for (file, _), (_, figure) in zip(names(figures), figures, strict=True):
        (place / file).write_bytes(png(figure))
        pictures.append(place / file)
    files = [*contents, *pictures]
    _save_summary(stem.with_suffix(".json"), _summary(results, html))
    write_index(outputs / "tables")
    return files


def write_to(target: Path, results: Results) -> list[Path]:
    """Write what is worth committing, Markdown, CSV and figures, under `target/<paper>/`."""
    place = target / Path(results.grid.name).parent
    place.mkdir(parents=True, exist_ok=True)
    stem = place / Path(results.grid.name).name
    figures = draw(results)
    write_atomically(stem.with_suffix(".md"), markdown(results, names(figures)))
    write_atomically(stem.with_suffix(".csv"), comma_separated(results))
    for (file, _), (_, figure) in zip(names(figures), figures, strict=True):
        (place / file).write_bytes(png(figure))
    return [stem.with_suffix(".md"), stem.with_suffix(".csv"), *(place / file for file, _ in names(figures))]


def _summary(results: Results, html: Path) -> dict[str, Any]:
    facts = dict(text.footer(results))
    return {
        "name": results.grid.name,
        "title": results.grid.spec.title,
        "place": results.grid.spec.place,
        "scale": results.grid.scale,
        "finished": len(results.finished),
        "runs": len(results.runs),
        "date": facts["date"],
        "command": text.command(results),
        "page": html.name,
    }


def _save_summary(path: Path, summary: Mapping[str, Any]) -> None:
    write_atomically(path, json.dumps(summary, indent=1) + "\n")


def write_index(root: Path) -> None:
    """Write `outputs/tables/index.html` from the summaries beside the tables."""
    summaries = []
    for path in sorted(root.glob("*/*/*.json")):
        summary = json.loads(path.read_text())
        summaries.append({**summary, "page": (path.parent / summary["page"]).relative_to(root).as_posix()})
    summaries.sort(key=lambda summary: (summary["name"], summary["scale"]))
    absent = sorted(set(tables()) - {summary["name"] for summary in summaries})
    write_atomically(root / "index.html", index(summaries, absent))


def _tracked_run(logger: Mapping[str, Any], outputs: Path, results: Results) -> tuple[MlflowClient, str]:
    """A client and the id of the MLflow run `tables/<name>` of this scale, created when missing."""
    from visagent.runtime.tracking import connect, tracking_uri

    client, experiment = connect(tracking_uri(logger, outputs), str(logger["experiment"]), outputs)
    name, scale = results.grid.name, results.grid.scale
    found = client.search_runs([experiment], f"tags.`visagent.table` = '{name}' and tags.`visagent.scale` = '{scale}'", max_results=1)
    if found:
        return client, str(found[0].info.run_id)
    tags = {"visagent.kind": "table", "visagent.table": name, "visagent.scale": scale}
    return client, str(client.create_run(experiment, run_name=f"tables/{name}", tags=tags).info.run_id)


def parent_run(logger: Mapping[str, Any], outputs: Path, results: Results) -> str:
    """The id of the table's MLflow run, set to RUNNING: the parent of the runs that are launched for it."""
    client, run_id = _tracked_run(logger, outputs, results)
    client.update_run(run_id, status="RUNNING")
    _tracked_digest(outputs, results).unlink(missing_ok=True)
    return run_id


def _tracked_digest(outputs: Path, results: Results) -> Path:
    return folder(outputs, results) / f".{Path(results.grid.name).name}.tracked"


def track(logger: Mapping[str, Any], outputs: Path, results: Results, files: list[Path]) -> None:
    """Hand the files to the table's MLflow run, unless it has these very ones.

    The run is FINISHED when no run of the table is missing, FAILED when one of them failed, KILLED (stopped half way) otherwise.
    """
    from visagent.runtime.tracking import tracking_uri

    uri = tracking_uri(logger, outputs)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files) + uri.encode()).hexdigest()
    kept = _tracked_digest(outputs, results)
    if kept.is_file() and kept.read_text() == digest:
        return
    from mlflow.exceptions import MlflowException

    try:
        client, run_id = _tracked_run(logger, outputs, results)
        for path in files:
            client.log_artifact(run_id, str(path))
        client.set_tag(run_id, "visagent.command", text.command(results))
        client.set_tag(run_id, "visagent.runs", f"{len(results.finished)} of {len(results.runs)}")
        states = {run.state for run in results.unfinished}
        client.set_terminated(run_id, "FAILED" if "failed" in states else "KILLED" if states else "FINISHED")
    except MlflowException as error:
        log.warning("MLflow does not take the table (%s); its files lie in %s", str(error).splitlines()[0], folder(outputs, results))
        return
    write_atomically(kept, digest)
