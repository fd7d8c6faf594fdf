"""Table pages in headless Chromium, as wide as a phone and as a desktop; skips where Chromium is not installed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from chromium import needs_chromium
from visagent.tables import publish
from visagent.tables.results import collect

pytestmark = [pytest.mark.process, needs_chromium]

OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
CUT_OFF = """return [...document.querySelectorAll('th, td, dd, li, h1, svg')].filter(e => e.getClientRects().length > 0
    && (e.getBoundingClientRect().right > innerWidth + 1 || e.getBoundingClientRect().left < -1))
    .map(e => e.outerHTML.slice(0, 80))"""
FONT = "return parseFloat(getComputedStyle(document.querySelector('td span')).fontSize)"


@pytest.mark.parametrize(("name", "width"), [("phone", 360), ("desktop", 1400)])
def test_pages_are_readable(name, width, grid, whole, extra, browser, tmp_path):
    outputs = tmp_path / "outputs"
    page = publish.write(outputs, collect(grid, whole, extra))[0]
    shots = Path(os.environ.get("VISAGENT_SCREENSHOTS", tmp_path))
    browser.resize(width, 900)
    browser.open(page.as_uri())
    assert browser.run("return innerWidth") == width
    text = browser.run("return document.body.innerText")
    for shown in (
        "A <tiny> table_1 & more",
        "0.810 ± 0.010 (3)",
        "paper 0.80 | +0.010 | ✓",
        "comes out in all 2",
        "c0ffee",
        "visagent-table nobody/tiny --run",
    ):
        assert shown in text, shown
    assert browser.run(OVERFLOW) <= 0 and browser.run(CUT_OFF) == [] and browser.run(FONT) >= 14
    assert browser.run("return document.querySelectorAll('figure svg').length") == 2
    assert browser.run(
        "return Math.min(...[...document.querySelectorAll('figure svg')].map(s => s.getBoundingClientRect().width))"
    ) > 0.8 * min(width, 620)
    assert browser.run("return document.querySelector('thead').getBoundingClientRect().height > 0") == (
        name == "desktop"
    )
    assert (
        browser.run("return performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length")
        == 0
    )
    browser.picture(shots / f"table-{name}.png")
    browser.open((outputs / "tables" / "index.html").as_uri())
    assert (
        "nobody/tiny" in browser.run("return document.body.innerText")
        and browser.run(OVERFLOW) <= 0
        and browser.run(CUT_OFF) == []
    )
    browser.run("document.querySelector('td, th a').closest('tr').querySelector('a').click()")
    assert "6 of 6 finished" in browser.run("return document.body.innerText")
