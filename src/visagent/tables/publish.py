"""Write a table's files, keep the index of all tables, hand the files to MLflow."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visagent.config.presets import tables
from visagent.config.table_schemas import FigureConfig
from visagent.runtime.credentials import without_credentials
from visagent.runtime.record import write_atomically
from visagent.runtime.tracking import (
    LOCK_TAG,
    TrackingUnavailable,
    ask,
    check_tracking,
    connect,
    end_cut_off,
    hold,
    tracking_uri,
)
from visagent.tables import text
from visagent.tables.figures import draw, png
from visagent.tables.formats import comma_separated, latex, markdown
from visagent.tables.page import index, page
from visagent.tables.results import Results

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
HAND_OVER_SECONDS = 60.0
SUMMARY = {"name", "title", "place", "scale", "finished", "runs", "date", "overrides", "page"}
"""What the index page shows of a table."""


def stem(root: Path, results: Results) -> Path:
    """A table's files without their endings; with overrides that make another table the name gets a hash of them, so
    that no file is shared.
    """
    digest = hashlib.sha256("\n".join(results.variant).encode()).hexdigest()[:6]
    return root / (results.grid.name + (f"-{digest}" if results.variant else ""))


def _stem(outputs: Path, results: Results) -> Path:
    return stem(outputs / "tables" / results.grid.scale, results)


def write(outputs: Path, results: Results) -> list[Path]:
    """Write Markdown, CSV, LaTeX, HTML and the figures under `outputs/tables/<scale>/<paper>/`, and the index page.

    Returns:
        the files of the table, the HTML page first.
    """
    place = _stem(outputs, results)
    place.parent.mkdir(parents=True, exist_ok=True)
    figures = _figures(place, results)
    html = place.with_suffix(".html")
    contents = {
        html: page(results, draw(results, narrow=True), html),
        place.with_suffix(".md"): markdown(results, [(path.name, spec.title) for spec, path in figures]),
        place.with_suffix(".csv"): comma_separated(results),
        place.with_suffix(".tex"): latex(results),
        place.with_suffix(".json"): json.dumps(_summary(results, html), indent=1) + "\n",
    }
    for path, content in contents.items():
        write_atomically(path, content)
    write_index(outputs / "tables")
    return [path for path in contents if path.suffix != ".json"] + [path for _, path in figures]


def _figures(place: Path, results: Results) -> list[tuple[FigureConfig, Path]]:
    """Draw and save the figures beside the table."""
    drawn = []
    for spec, figure in draw(results):
        path = place.parent / f"{place.name.replace(Path(results.grid.name).name, spec.name)}.png"
        path.write_bytes(png(figure))
        drawn.append((spec, path))
    return drawn


def write_to(target: Path, results: Results) -> list[Path]:
    """Write what is worth committing, Markdown, CSV and figures, under `target/<paper>/<scale>/`."""
    place = stem(target, results)
    place = place.parent / results.grid.scale / place.name
    place.parent.mkdir(parents=True, exist_ok=True)
    figures = _figures(place, results)
    write_atomically(place.with_suffix(".md"), markdown(results, [(path.name, spec.title) for spec, path in figures]))
    write_atomically(place.with_suffix(".csv"), comma_separated(results))
    return [place.with_suffix(".md"), place.with_suffix(".csv"), *(path for _, path in figures)]


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
        "overrides": " ".join(results.variant),
        "page": html.name,
    }


def _read_summary(path: Path) -> dict[str, Any] | None:
    """What lies beside a table, None where it is no whole summary: an earlier version's, or a file that was cut off,
    which the table itself mends.
    """
    try:
        summary = json.loads(path.read_text())
    except ValueError as error:
        log.warning(
            "%s does not read (%s): its table is left out of the index; the table's own command writes it anew",
            path,
            error,
        )
        return None
    return summary if isinstance(summary, dict) and SUMMARY.issubset(summary) else None


def write_index(root: Path) -> None:
    """Write `outputs/tables/index.html` from the summaries beside the tables."""
    summaries = []
    for path in sorted(root.glob("*/*/*.json")):
        summary = _read_summary(path)
        if summary is not None:
            summaries.append({**summary, "page": (path.parent / summary["page"]).relative_to(root).as_posix()})
    summaries.sort(key=lambda summary: (summary["name"], summary["scale"], summary["overrides"]))
    absent = sorted(set(tables()) - {summary["name"] for summary in summaries})
    write_atomically(root / "index.html", index(summaries, absent))


def _tracked_run(logger: Mapping[str, Any], outputs: Path, results: Results) -> tuple[MlflowClient, str]:
    """A client and the id of the MLflow run `tables/<name>` of this scale, created when missing."""
    client, experiment = connect(tracking_uri(logger, outputs), str(logger["experiment"]), outputs)
    end_cut_off(client, experiment, outputs)
    name = stem(Path(), results).as_posix()
    runs = client.search_runs(
        [experiment],
        f"tags.`visagent.table` = '{name}' and tags.`visagent.scale` = '{results.grid.scale}'",
        max_results=1,
    )
    if runs:
        return client, str(runs[0].info.run_id)
    tags = {"visagent.kind": "table", "visagent.table": name, "visagent.scale": results.grid.scale}
    return client, str(client.create_run(experiment, run_name=f"tables/{name}", tags=tags).info.run_id)


@contextmanager
def parent_run(logger: Mapping[str, Any], outputs: Path, results: Results) -> Iterator[str | None]:
    """The id of the table's MLflow run, set to RUNNING, within: the parent of the runs that are launched for it.

    None where MLflow cannot be used.
    """
    check_tracking(logger, outputs)
    lock = f"{stem(Path(), results).as_posix()}-{results.grid.scale}".replace("/", "-")
    held = hold(outputs, lock)

    def opened() -> str:
        client, run_id = _tracked_run(logger, outputs, results)
        client.update_run(run_id, status="RUNNING")
        client.set_tag(run_id, LOCK_TAG, lock)
        return run_id

    run_id: str | None = None
    try:
        try:
            run_id = ask(opened, tracking_uri(logger, outputs))
        except TrackingUnavailable as error:
            where = without_credentials(tracking_uri(logger, outputs))
            log.warning(
                "MLflow at %s cannot be used now (%s): the runs have no table to belong to there; logger=none "
                "launches without it",
                where,
                error,
            )
        _tracked_digest(outputs, results).unlink(missing_ok=True)
        yield run_id
    # whatever stops the launching: rendering, which would say how the table stands, is not reached
    except BaseException:
        if run_id is not None:
            _stopped(logger, outputs, run_id)
        raise
    finally:
        if held is not None:
            held.close()


def _stopped(logger: Mapping[str, Any], outputs: Path, run_id: str) -> None:
    """Say that the launching was stopped."""
    uri, experiment = tracking_uri(logger, outputs), str(logger["experiment"])
    try:
        ask(lambda: connect(uri, experiment, outputs)[0].set_terminated(run_id, "KILLED"), uri)
    except TrackingUnavailable as error:
        log.warning("MLflow does not take the end of the launching (%s); the next tracked run's start says it", error)


def _tracked_digest(outputs: Path, results: Results) -> Path:
    place = _stem(outputs, results)
    return place.parent / f".{place.name}.tracked"


def track(logger: Mapping[str, Any], outputs: Path, results: Results, files: list[Path]) -> None:
    """Hand the files to the table's MLflow run, unless it has these very ones.

    The run is FINISHED when no run of the table is missing, FAILED when one of them failed, KILLED (stopped half way)
    otherwise.
    """
    uri = tracking_uri(logger, outputs)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files) + uri.encode()).hexdigest()
    kept = _tracked_digest(outputs, results)
    if kept.is_file() and kept.read_text() == digest:
        return

    def hand_over() -> None:
        client, run_id = _tracked_run(logger, outputs, results)
        for path in files:
            client.log_artifact(run_id, str(path))
        client.set_tag(run_id, "visagent.command", without_credentials(text.command(results)))
        client.set_tag(run_id, "visagent.runs", f"{len(results.finished)} of {len(results.runs)}")
        states = {run.state for run in results.unfinished}
        client.set_terminated(run_id, "FAILED" if "failed" in states else "KILLED" if states else "FINISHED")

    try:
        ask(hand_over, uri, HAND_OVER_SECONDS)
    except TrackingUnavailable as error:
        log.warning(
            "MLflow at %s does not take the table (%s); its files lie in %s",
            without_credentials(uri),
            error,
            kept.parent,
        )
        return
    write_atomically(kept, digest)
