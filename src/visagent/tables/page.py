"""A table as an HTML page that stands alone, and the index of all tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from visagent.config.table_schemas import FigureConfig
from visagent.pages import document, relative, table
from visagent.tables import text
from visagent.tables.figures import svg
from visagent.tables.formats import headings, panel_lines
from visagent.tables.results import BETTER, CLOSE, WORSE, CellResult, Results


def page(results: Results, figures: Sequence[tuple[FigureConfig, Figure]], place: Path) -> str:
    """The whole page, styles and pictures inside.

    Args:
        results: the table.
        figures: as drawn.
        place: where the file will lie, for links to the run folders.
    """
    grid = results.grid
    body = [f"<p class=sub><a href='{relative(place.parents[2] / 'index.html', place)}'>all tables</a></p>"]
    body += [
        f"<h1>{escape(grid.spec.title)}</h1>",
        f"<p class=sub>{escape(text.source(results))}",
    ]
    body += [f" <span class=scale>{grid.scale} scale</span></p>"]
    for panel in grid.panels:
        body += [f"<h2>{escape(panel.capitalize())}</h2>"] if panel else []
        body.append(_panel(results, panel))
    body.append("<ul class=legend>" + "".join(f"<li>{escape(line)}" for line in text.legend(results)) + "</ul>")
    for spec, figure in figures:
        body.append(f"<figure role=img aria-label='{escape(spec.title, quote=True)}'>{svg(figure, spec.name)}</figure>")
    if grid.spec.claims:
        rows = [
            f"<tr><th scope=row>{escape(claim)}<td data-column='in the paper'><span>{escape(where)}</span><td "
            f"data-column=here><span>{escape(verdict)}</span>"
            for claim, where, verdict in text.claims(results)
        ]
        body += [
            "<h2>What the paper says, and what comes out here</h2>",
            table(["claim", "in the paper", "here"], rows),
        ]
    if absent := text.missing(results):
        items = (
            f"<li>{escape(m.what)}: {escape(m.why)}" + (f"<br><code>{escape(m.command)}</code>" if m.command else "")
            for m in absent
        )
        body += ["<h2>Missing</h2>", f"<ul>{''.join(items)}</ul>"]
    body += ["<h2>Where the numbers come from</h2>", "<dl>"]
    for what, which in text.footer(results):
        shown = f"<code>{escape(which)}</code>" if what == "command" else escape(which)
        body.append(f"<dt>{escape(what)}<dd>{shown}")
    body.append("</dl>")
    if grid.spec.deviations:
        body += [
            "<h2>Deviations from the paper</h2>",
            "<ul>" + "".join(f"<li>{escape(line)}" for line in grid.spec.deviations) + "</ul>",
        ]
    body += ["<h2>Runs</h2>", _runs(results, place)]
    return document(f"{grid.name} ({grid.scale} scale)", "\n".join(body))


def _panel(results: Results, panel: str) -> str:
    columns = headings(results)
    rows, before = [], None
    for row, measure, cells in panel_lines(results, panel):
        if measure is not None and row != before:
            rows.append(f"<tr class=row><th scope=rowgroup colspan={len(columns) + 1}>{escape(row)}")
        before = row
        entries = "".join(
            f"<td data-column='{escape(column, quote=True)}'>{_cell(cell)}"
            for column, cell in zip(columns, cells, strict=True)
        )
        rows.append(f"<tr><th scope=row>{escape(measure or row)}{entries}")
    return table(["", *columns], rows)


def _cell(cell: CellResult) -> str:
    ours, paper, difference, mark = text.cell_parts(cell)
    kind = {BETTER: "good", CLOSE: "near", WORSE: "bad"}.get(cell.mark, "")
    reasons = "; ".join(f"seed {seed}: {reason}" for seed, reason in cell.missing.items())
    out = f"<span{f' title={chr(39)}{escape(reasons, quote=True)}{chr(39)}' if reasons else ''}>{escape(ours)}</span>"
    out += f"<small>{escape(text.interval(cell))}</small>" if cell.interval is not None else ""
    if cell.paper is not None:
        out += (
            f"<small>paper {escape(paper)} | {escape(difference)} | <span class='mark "
            f"{kind}'>{escape(mark)}</span></small>"
        )
    return out


def _runs(results: Results, place: Path) -> str:
    rows = []
    for run in results.runs.values():
        record = run.record
        link = (
            f"<a href='{relative(run.folder.path, place)}/'>{run.signature}</a>"
            if run.folder.path.is_dir()
            else run.signature
        )
        if run.folder.page.is_file():
            link += f" <a href='{relative(run.folder.page, place)}'>page</a>"
        minutes = "" if record is None else f"{record.seconds / 60:.1f}"
        commit = "" if record is None else record.commit
        rows.append(
            f"<tr><th scope=row>{escape(run.label)}<td data-column=folder><span>{link}</span><td "
            f"data-column=state><span>{escape(run.state)}</span>"
            f"<td data-column=minutes><span>{minutes}</span><td data-column=commit><span>{escape(commit)}</span>"
        )
    return table(["run", "folder", "state", "minutes", "commit"], rows)


def index(summaries: Sequence[Mapping[str, Any]], absent: Sequence[str]) -> str:
    """The page of all tables.

    Args:
        summaries: of each rendered table: `name`, `title`, `place`, `scale`, `overrides`, `finished`, `runs`, `date`,
            `page` (relative).
        absent: names of tables that are not rendered yet.
    """
    rows = []
    for s in summaries:
        title = (
            s["title"]
            + (f" ({s['place']})" if s["place"] else "")
            + (f", with {s['overrides']}" if s["overrides"] else "")
        )
        rows.append(
            f"<tr><th scope=row><a href='{escape(s['page'], quote=True)}'>{escape(s['name'])}</a><td "
            f"data-column=title><span>{escape(title)}</span>"
            f"<td data-column=scale><span>{escape(s['scale'])}</span><td class=short "
            f"data-column=runs><span>{s['finished']} of {s['runs']}</span>"
            f"<td class=short data-column=date><span>{escape(s['date'])}</span>"
        )
    body = ["<h1>Paper tables</h1>", table(["table", "title", "scale", "runs", "date"], rows)]
    if absent:
        body.append(
            "<h2>Not made yet</h2><ul>"
            + "".join(f"<li><code>visagent-table {escape(name)} --run</code>" for name in absent)
            + "</ul>"
        )
    return document("visagent: paper tables", "\n".join(body))
