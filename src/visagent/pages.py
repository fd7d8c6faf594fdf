"""Pages of HTML that stand alone: styles, tables, pictures inside."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

STYLE = """
:root { --ink: #1c2430; --soft: #5b6675; --line: #d9dee6; --back: #f6f7f9; }
:root { --good: #0a6b3d; --near: #7a5b00; --bad: #a32020; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; }
main { max-width: 1180px; margin: 0 auto; padding: 1.2rem 1rem 3rem; }
h1 { font-size: 1.45rem; line-height: 1.25; margin: .2rem 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .6rem; }
p.sub, .legend, small { color: var(--soft); }
.legend { font-size: .85rem; padding-left: 1.1rem; }
.scale { display: inline-block; padding: .1rem .55rem; border-radius: 1rem; background: var(--back); }
.scale { border: 1px solid var(--line); font-size: .85rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .5rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { border-bottom: 2px solid var(--ink); }
tr.row th { background: var(--back); font-weight: 650; }
tbody th { font-weight: 400; }
td.short { white-space: nowrap; }
td small { display: block; font-size: .8rem; }
.good { color: var(--good); } .near { color: var(--near); } .bad { color: var(--bad); }
.mark { font-weight: 700; }
img, video { max-width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .85rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr)); gap: .6rem; }
figure.chart { margin: 0; } .chart polyline { fill: none; stroke: #0b57a4; stroke-width: 1.5; }
.chart circle { fill: #0b57a4; } .chart .axis { fill: none; stroke: var(--line); }
.chart text { font-size: 10px; fill: var(--soft); } .chart .end { text-anchor: end; }
figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; max-width: 620px; display: block; }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .25rem 1rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code { font: .85em ui-monospace, monospace; overflow-wrap: anywhere; }
code { background: var(--back); padding: .05rem .25rem; border-radius: .2rem; }
li { margin: .25rem 0; }
a { color: #0b57a4; }
@media (max-width: 760px) {
  h1 { font-size: 1.2rem; }
  table, tbody, tr, th, td { display: block; width: 100%; }
  thead { display: none; }
  tbody tr { border-bottom: 1px solid var(--line); padding: .4rem 0; }
  tbody th, td { border: 0; padding: .15rem .3rem; }
  tbody th { font-weight: 600; }
  tr.row { border: 0; padding: 0; } tr.row th { padding: .4rem .5rem; }
  td { display: grid; grid-template-columns: 7rem minmax(0, 1fr); column-gap: .6rem; }
  td::before { content: attr(data-column); color: var(--soft); grid-row: span 3; }
  td > * { grid-column: 2; }
  dl { display: block; } dd { margin-bottom: .5rem; }
}
"""


def relative(target: Path, page: Path) -> str:
    """A link from a page to a file or folder."""
    return escape(Path(os.path.relpath(target.resolve(), page.resolve().parent)).as_posix(), quote=True)


def table(columns: Sequence[str], rows: Sequence[str]) -> str:
    """A table of finished rows."""
    head = "".join(f"<th scope=col>{escape(column)}" for column in columns)
    return f"<table><thead><tr>{head}<tbody>{''.join(rows)}</table>"


def document(title: str, body: str) -> str:
    """A whole page."""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width, "
        f"initial-scale=1'><title>{escape(title)}</title>\n"
        f"<style>{STYLE}</style>\n<main>\n{body}\n</main></html>\n"
    )


def inline_png(figure: Figure, title: str) -> str:
    """A figure as a picture inside a page."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120, bbox_inches="tight")
    return inline(out.getvalue(), "image/png", title)


def inline(content: bytes, kind: str, title: str) -> str:
    """A picture's or film's file inside a page.

    Args:
        content: of the file.
        kind: its MIME type.
        title: what it shows.
    """
    encoded = base64.b64encode(content).decode()
    if kind.startswith("video/"):
        return f"<video controls aria-label='{escape(title, quote=True)}' src='data:{kind};base64,{encoded}'></video>"
    return f"<img alt='{escape(title, quote=True)}' src='data:{kind};base64,{encoded}'>"
