"""Markdown, CSV, LaTeX, HTML and figures of known numbers."""

from __future__ import annotations

import copy
import csv
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from visagent.errors import ConfigError
from visagent.tables import publish
from visagent.tables.figures import draw, png, svg
from visagent.tables.formats import comma_separated, latex, markdown, print_console
from visagent.tables.grid import expand
from visagent.tables.page import page
from visagent.tables.results import collect
from visagent.tables.runs import plan


@pytest.fixture
def results(grid, whole, extra):
    return collect(grid, whole, extra)


@pytest.fixture
def torn(grid, whole, extra, finish):
    """One seed of cloning failed, one was never started."""
    cloning = [run for (overrides, _), run in whole.items() if "cloning" in overrides[0]]
    finish(cloning[1], status="FAILED", error="ValueError: a | pipe & <tag>")
    for path in sorted(cloning[2].folder.path.rglob("*"), reverse=True):
        path.unlink()
    cloning[2].folder.path.rmdir()
    return collect(grid, plan(grid, extra), extra)


def test_markdown(results):
    text = markdown(results, [("tiny.png", "Rates")])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "| success rate | 0.810 ± 0.010 (3) [0.800, 0.820] \\| 0.80 \\| +0.010 \\| ✓ |" in text
    assert (
        "| length | 12.0 ± 0.0 (3) [12.0, 12.0] \\| 10.00 \\| +2.0 \\| ✗ | 13.0 ± 0.0 (3) [13.0, 13.0] \\| — \\| — "
        "\\| — |" in text
    )
    assert {
        len(re.split(r"(?<!\\)\|", row)) - 2
        for row in rows
        if "**cloning**" in row or "success" in row or row.startswith("| |")
    } == {4}
    assert text.startswith("# A &lt;tiny> table_1 & more")
    for fact in (
        "commit: `c0ffee`",
        "scale: smoke",
        "seeds: 0, 1, 2",
        "date: 2026-01-02",
        "abacus, 2 cores",
        "![Rates](tiny.png)",
        "All of it.",
        "Missing",
    ):
        assert (fact in text) != (fact == "Missing"), fact
    assert re.search(r"command: `visagent-table nobody/tiny --run --scale smoke paths\.outputs=\S+ logger=none`", text)
    assert "DAgger is better | Section 1 | sampled actions: comes out in all 2" in text
    assert text.count("| 1.0 | `c0ffee` |") == 6


def test_markdown_of_a_torn_table_says_what_is_missing(torn):
    text = markdown(torn, [])
    assert "0.800 (1/3) \\| 0.80" in text and "## Missing" in text
    assert (
        "failed: ValueError: a \\| pipe & &lt;tag>" in text
        and "not started — `visagent-train experiment=navigation/behaviour_cloning" in text
    )


def test_csv_reads_back(results, torn):
    lines = list(csv.DictReader(io.StringIO(comma_separated(results))))
    assert len(lines) == 2 * 4 * 2 + 2 * 4
    first = lines[0]
    assert (first["panel"], first["row"], first["measure"], first["column"]) == (
        "sampled actions",
        "cloning",
        "success rate",
        "Bath.",
    )
    assert (
        float(first["ours"]) == pytest.approx(0.81)
        and float(first["interval_low"]) == pytest.approx(0.80)
        and first["n"] == "3"
    )
    assert first["values"].startswith("0:0.8;1:0.81") and len(first["signatures"].split()) == 3
    absent = next(csv.DictReader(io.StringIO(comma_separated(torn))))
    assert absent["n"] == "1" and absent["wanted"] == "3" and absent["interval_low"] == "" and absent["std"] == ""
    assert "1:failed: ValueError: a | pipe & <tag>" in absent["missing"]


def test_latex_escapes_and_balances(results, torn):
    text = latex(results)
    assert "0.810 $\\pm$ 0.010 (3)\\\\ {\\footnotesize 0.80; +0.010 $\\checkmark$}" in text
    assert "A $<$tiny$>$ table\\_1 \\& more" in text and "\\begin{tabular}{lccc}" in text
    for source in (text, latex(torn)):
        body = "\n".join(line for line in source.splitlines() if not line.startswith("%"))
        bare = body.replace("\\{", "").replace("\\}", "").replace("\\$", "")
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
        assert not re.search(r"[^\x00-\x7f]", body)
        assert body.count("\\begin") == body.count("\\end") and not re.search(
            r"(?<!\\)[_#]", re.sub(r"\$[^$]*\$", "", body)
        )
    assert "% commit: c0ffee" in text and "% missing: " in latex(torn)


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links, self.text, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data):
        self.text.append(data)


def read(html):
    reader = Reader()
    reader.feed(html)
    return reader, " ".join("".join(reader.text).split())


def test_the_page_stands_alone(results, tmp_path):
    place = tmp_path / "outputs" / "tables" / "smoke" / "nobody" / "tiny.html"
    place.parent.mkdir(parents=True)
    html = page(results, draw(results), place)
    reader, text = read(html)
    assert (
        not {"script", "link", "img", "iframe"} & set(reader.tags)
        and reader.tags.count("svg") == 2
        and "viewport" in html
    )
    assert (
        not [link for link in reader.links if re.match(r"(https?:)?//", link or "")]
        and "@import" not in html
        and "url(http" not in html
    )
    assert len(set(reader.ids)) == len(reader.ids) > 20
    assert {link[1:] for link in reader.links if link.startswith("#")} <= set(reader.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", html)) <= set(reader.ids)
    folders = [link for link in reader.links if link and "/runs/" in link]
    assert len(folders) == 6 and all((place.parent / link).is_dir() for link in folders)
    assert "../../index.html" in reader.links
    for shown in (
        "A <tiny> table_1 & more",
        "0.810 ± 0.010 (3)",
        "[0.800, 0.820]",
        "paper 0.80 | +0.010 | ✓",
        "c0ffee",
        "All of it.",
        "numbers of no meaning",
    ):
        assert shown in text, shown


def test_the_page_of_a_torn_table(torn, tmp_path):
    html = page(torn, draw(torn), tmp_path / "outputs" / "tables" / "smoke" / "nobody" / "tiny.html")
    _, text = read(html)
    assert (
        "Missing" in text and "ValueError: a | pipe & <tag>" in text and "0.800 (1/3)" in text and "not started" in text
    )


def test_figures_show_what_is_there(results, grid, extra):
    drawn = {spec.name: figure for spec, figure in draw(results)}
    assert set(drawn) == {"tiny", "tiny_curves"}
    axes = drawn["tiny"].axes
    assert [a.get_title() for a in axes] == ["sampled actions", "argmax actions"]
    assert [round(bar.get_height(), 9) for bar in axes[0].containers[0]] == [0.81, 0.61]
    line = drawn["tiny_curves"].axes[0].lines[0]
    # the 0 of the first epoch has no place on a logarithmic axis
    np.testing.assert_allclose(line.get_ydata(), [2.0, 101.0])
    np.testing.assert_allclose(line.get_xdata(), [1, 2])
    assert line.get_label() == "DAgger (1)" and drawn["tiny_curves"].axes[0].get_yscale() == "log"
    picture = imread(io.BytesIO(png(drawn["tiny"])))
    assert picture.shape[1] > 800 and picture.std() > 0.05
    assert png(drawn["tiny"]) == png(drawn["tiny"]) and svg(drawn["tiny"], "a") == svg(drawn["tiny"], "a")
    empty = collect(grid, plan(grid, ["paths.outputs=/nowhere", "logger=none"]), extra)
    assert draw(empty) == []


def test_the_console_shows_the_same(results, torn):
    def shown(one):
        console = Console(file=io.StringIO(), width=200)
        print_console(one, console)
        return console.file.getvalue()

    text = shown(results)
    assert (
        "0.810 ± 0.010 (3)" in text
        and "0.80 | +0.010 | ✓" in text
        and "comes out in all 2" in text
        and "missing" not in text.replace("missing from", "")
    )
    assert "ValueError: a | pipe & <tag>" in shown(torn)


def test_a_table_of_ones_own_speaks_of_no_paper(root, whole, extra, tmp_path):
    own = copy.deepcopy(root)
    own.table.paper = own.table.place = ""
    own.table.claims, own.table.deviations = [], []
    for row in own.table.rows:
        row.paper = None
    own.table.check()
    grid = expand("nobody/own", own, "smoke")
    results, console = collect(grid, plan(grid, extra), extra), Console(file=io.StringIO(), width=200)
    print_console(results, console)
    for text in (
        markdown(results, []),
        console.file.getvalue(),
        page(results, [], tmp_path / "smoke" / "nobody" / "p.html"),
        latex(results).partition("\\begin{table}")[2],
    ):
        assert re.search(r"0\.810 (±|\$\\pm\$) 0\.010 \(3\)", text)
        assert not re.search(
            r"paper|deviation from|difference|marks|— \||✓", text.partition("<body")[2] or text, re.IGNORECASE
        )
    own.table.claims = root.table.claims
    with pytest.raises(ConfigError, match=r"table nobody/own: expected table\.paper, whose .* is, got none"):
        expand("nobody/own", own, "smoke")
    own.table.paper = "A paper"
    with pytest.raises(ConfigError, match=r"table\.place: expected where in the paper it is"):
        own.table.check()


def test_files_and_index(results, torn, tmp_path):
    files = publish.write(tmp_path / "outputs", results)
    assert [path.name for path in files] == [
        "tiny.html",
        "tiny.md",
        "tiny.csv",
        "tiny.tex",
        "tiny.png",
        "tiny_curves.png",
    ]
    assert all(path.parent == tmp_path / "outputs" / "tables" / "smoke" / "nobody" for path in files)
    assert {path.stat().st_mode & 0o044 for path in files} == {0o044}  # others may read them
    before = {path: path.read_bytes() for path in files}
    publish.write(tmp_path / "outputs", results)
    assert before == {path: path.read_bytes() for path in files}
    reader, text = read((tmp_path / "outputs" / "tables" / "index.html").read_text())
    assert "tiny" in text and "6 of 6" in text and "visagent-table navigation/table1 --run" in text
    assert (tmp_path / "outputs" / "tables" / reader.links[0]).is_file()
    (tmp_path / "outputs" / "tables" / "smoke" / "nobody" / "older.json").write_text(
        '{"name": "of an earlier version"}'
    )
    publish.write(tmp_path / "outputs", torn)
    assert "4 of 6" in (tmp_path / "outputs" / "tables" / "index.html").read_text()


def test_what_is_committed(results, tmp_path):
    files = publish.write_to(tmp_path / "results", results)
    assert sorted(path.name for path in files) == ["tiny.csv", "tiny.md", "tiny.png", "tiny_curves.png"]
    assert {path.parent for path in files} == {tmp_path / "results" / "nobody" / "smoke"}
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", files[0].read_text()):
        assert (files[0].parent / picture).is_file()


def test_other_settings_make_a_table_of_their_own(grid, whole, extra, tmp_path):
    own = publish.stem(tmp_path, collect(grid, whole, extra))
    other = publish.stem(tmp_path, collect(grid, whole, (*extra, "optimizer.lr=1")))
    assert own == tmp_path / "nobody" / "tiny" and re.fullmatch(r"tiny-[0-9a-f]{6}", other.name)
    assert publish.stem(tmp_path, collect(grid, whole, ("optimizer.lr=1", "trainer.devices=2"))) == other
    assert publish.stem(tmp_path, collect(grid, whole, ("confidence=0.5",))) not in (own, other)
