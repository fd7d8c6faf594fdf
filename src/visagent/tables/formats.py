"""A table as Markdown, CSV, LaTeX and on the console."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from visagent.tables import text
from visagent.tables.results import CellResult, Results


def panel_lines(results: Results, panel: str) -> Iterator[tuple[str, str | None, list[CellResult]]]:
    """(row, measure's name or None, cells with the aggregate last) line by line."""
    grid = results.grid
    for (row, measure), (_, name) in zip(grid.lines, text.line_names(results), strict=True):
        cells = [results.cells[grid.cell(panel, (row, measure), column).key] for column in grid.columns]
        if (aggregate := results.aggregates.get((panel, row, measure))) is not None:
            cells.append(aggregate)
        yield row, name, cells


def headings(results: Results) -> list[str]:
    """Column headings, the aggregate's last."""
    return [
        *results.grid.columns,
        *([results.grid.spec.aggregate] if results.aggregates and results.grid.spec.aggregate else []),
    ]


def markdown(results: Results, figures: Sequence[tuple[str, str]]) -> str:
    """Markdown for GitHub; `figures` are (file, title)."""
    grid = results.grid
    out = [
        f"# {_md(grid.spec.title)}",
        "",
        f"{f'{_md(text.source(results))}. ' if text.source(results) else ''}**{grid.scale.capitalize()} scale.**",
        "",
    ]
    columns = headings(results)
    for panel in grid.panels:
        if panel:
            out += [f"## {panel.capitalize()}", ""]
        out += ["| | " + " | ".join(_md(c) for c in columns) + " |", "|---" * (len(columns) + 1) + "|"]
        before = None
        for row, measure, cells in panel_lines(results, panel):
            if measure is not None and row != before:
                out.append(f"| **{_md(row)}** |" + " |" * len(columns))
            before = row
            out.append(f"| {_md(measure or row)} | " + " | ".join(_md_cell(cell, results) for cell in cells) + " |")
        out.append("")
    out += [f"- {line}" for line in text.legend(results)] + [""]
    for file, title in figures:
        out += [f"![{title}]({file})", ""]
    if grid.spec.claims:
        out += ["## What the paper says, and what comes out here", "", "| claim | place | here |", "|---|---|---|"]
        out += [
            f"| {_md(claim)} | {_md(place)} | {_md(verdict)} |" for claim, place, verdict in text.claims(results)
        ] + [""]
    if absent := text.missing(results):
        out += ["## Missing", ""]
        out += [f"- {_md(m.what)}: {_md(m.why)}" + (f" — `{m.command}`" if m.command else "") for m in absent] + [""]
    out += ["## Where the numbers come from", ""]
    out += [
        f"- {what}: `{which}`" if what in ("command", "commit") else f"- {what}: {_md(which)}"
        for what, which in text.footer(results)
    ]
    if text.source(results) or grid.spec.deviations:
        out += ["", "Deviations from the paper:", ""] + [f"- {_md(line)}" for line in grid.spec.deviations]
    out += ["", "| run | seed | signature | minutes | commit |", "|---|---|---|---|---|"]
    for run in results.finished:
        assert run.record is not None
        out.append(
            f"| `{run.command}` | {run.seed} | `{run.signature}` | {run.record.seconds / 60:.1f} | "
            f"`{run.record.commit}` |"
        )
    return "\n".join(out) + "\n"


def _md(content: str) -> str:
    return content.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _md_cell(cell: CellResult, results: Results) -> str:
    ours, paper, difference, mark = text.cell_parts(cell)
    ends = f" {text.interval(cell)}" if cell.interval is not None else ""
    return f"{ours}{ends}" + (f" \\| {paper} \\| {difference} \\| {mark}" if text.source(results) else "")


CSV_COLUMNS = (
    "table", "scale", "panel", "row", "measure", "column", "ours", "std", "n", "wanted", "iqm", "interval_low",
    "interval_high", "paper", "place",
    "difference", "mark", "values", "missing", "signatures",
)  # fmt: skip


def comma_separated(results: Results) -> str:
    """One line per cell, numbers unrounded; `values` and `missing` are `seed:value` and `seed:reason`, separated by
    semicolons.
    """
    grid = results.grid
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)

    def write(panel: str, row: str, measure: str, column: str, cell: CellResult, signatures: str) -> None:
        low, high = cell.interval if cell.interval is not None else (None, None)
        numbers = [
            cell.value,
            cell.std,
            len(cell.values),
            cell.wanted,
            cell.iqm,
            low,
            high,
            cell.paper,
            cell.place,
            cell.difference,
            cell.mark,
        ]
        values = ";".join(f"{seed}:{value!r}" for seed, value in cell.values.items())
        reasons = ";".join(f"{seed}:{reason}" for seed, reason in cell.missing.items())
        writer.writerow(
            [
                grid.name,
                grid.scale,
                panel,
                row,
                measure,
                column,
                *("" if n is None else n for n in numbers),
                values,
                reasons,
                signatures,
            ]
        )

    for (panel, row, measure, column), cell in results.cells.items():
        runs = [
            results.runs[(grid.cells[(panel, row, measure, column)].overrides, seed)].signature for seed in cell.values
        ]
        write(panel, row, cell.spec.name, column, cell, " ".join(runs))
    for (panel, row, _), cell in results.aggregates.items():
        write(panel, row, cell.spec.name, str(grid.spec.aggregate), cell, "")
    return out.getvalue()


def latex(results: Results) -> str:
    """A `table` environment for `booktabs` and `makecell`; one tabular per panel."""
    grid = results.grid
    columns = headings(results)
    out = [f"% {what}: {which}" for what, which in text.footer(results)]
    out += [f"% missing: {absent.what}: {absent.why}" for absent in text.missing(results)]
    out += [f"% {line}" for line in text.legend(results)]
    out += ["% needs \\usepackage{amssymb,booktabs,makecell}", "\\begin{table}", "\\centering\\small"]
    for panel in grid.panels:
        if panel:
            out.append(f"\\textbf{{{_tex(panel)}}}\\\\[2pt]")
        out += [
            f"\\begin{{tabular}}{{l{'c' * len(columns)}}}",
            "\\toprule",
            " & " + " & ".join(_tex(c) for c in columns) + " \\\\",
            "\\midrule",
        ]
        before = None
        for row, measure, cells in panel_lines(results, panel):
            if measure is not None and row != before:
                out.append(f"\\multicolumn{{{len(columns) + 1}}}{{l}}{{\\emph{{{_tex(row)}}}}} \\\\")
            before = row
            out.append(f"{_tex(measure or row)} & " + " & ".join(_tex_cell(cell, results) for cell in cells) + " \\\\")
        out += ["\\bottomrule", "\\end{tabular}", "\\par\\medskip"]
    seeds = ", ".join(map(str, grid.seeds))
    caption = (
        f"{grid.spec.title}. {grid.scale.capitalize()} scale, seed{'s' * (len(grid.seeds) > 1)} {seeds}. Cells: "
        + (
            "ours, mean $\\pm$ std (seeds); below, the paper's and the difference."
            if text.source(results)
            else "mean $\\pm$ std (seeds)."
        )
    )
    note = grid.spec.scales[grid.scale].note
    out += [f"\\caption{{{_tex(caption, keep_math=True)}{' ' + _tex(note) if note else ''}}}", "\\end{table}"]
    return "\n".join(out) + "\n"


def _tex(content: str, keep_math: bool = False) -> str:
    special = {
        "\\": "\\textbackslash{}",
        "&": "\\&",
        "%": "\\%",
        "#": "\\#",
        "_": "\\_",
        "{": "\\{",
        "}": "\\}",
        "~": "\\textasciitilde{}",
    }
    special |= {
        "^": "\\textasciicircum{}",
        "—": "--",
        "±": "$\\pm$",
        "≈": "$\\approx$",
        "✓": "$\\checkmark$",
        "✗": "$\\times$",
    }
    special |= {"<": "$<$", ">": "$>$", "$": "\\$"}
    if keep_math:
        content = content.replace("$\\pm$", "±")
    return "".join(special.get(letter, letter) for letter in content)


def _tex_cell(cell: CellResult, results: Results) -> str:
    ours, paper, difference, mark = (_tex(part) for part in text.cell_parts(cell))
    if not text.source(results):
        return ours
    return f"\\makecell{{{ours}\\\\ {{\\footnotesize {paper}; {difference} {mark}}}}}"


def print_console(results: Results, console: Console) -> None:
    """Print the table, its claims, what is missing and the footer."""
    grid = results.grid
    for panel in grid.panels:
        told = ", ".join(part for part in (grid.spec.place, f"{grid.scale} scale", panel) if part)
        title = f"{grid.spec.title}\n{told}"
        table = Table(title=escape(title), title_justify="left", show_lines=False)
        table.add_column("")
        for column in headings(results):
            table.add_column(escape(column), justify="left")
        before = None
        for row, measure, cells in panel_lines(results, panel):
            if measure is not None and row != before:
                table.add_section()
                table.add_row(f"[bold]{escape(row)}[/bold]")
            before = row
            table.add_row(escape(measure or row), *(_console_cell(cell) for cell in cells))
        console.print(table)
    for line in text.legend(results):
        console.print(line, style="dim", highlight=False, markup=False)
    for claim, place, verdict in text.claims(results) if results.finished else ():
        console.print(f"[bold]{escape(place)}: {escape(claim)}[/bold]\n  {escape(verdict)}", highlight=False)
    for absent in text.missing(results):
        console.print(f"[yellow]missing[/yellow] {escape(absent.what)}: {escape(absent.why)}", highlight=False)
        if absent.command:
            console.print(f"  {absent.command}", style="dim", highlight=False, markup=False, soft_wrap=True)
    for what, which in text.footer(results):
        console.print(f"{what}: {which}", style="dim", highlight=False, markup=False, soft_wrap=what == "command")


def _console_cell(cell: CellResult) -> str:
    ours, paper, difference, mark = text.cell_parts(cell)
    return escape(ours) + (f"\n[dim]{paper} | {difference} | [/dim]{mark}" if cell.paper is not None else "")
