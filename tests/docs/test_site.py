"""The site, built as `make docs` does, and looked at as wide as a phone and as a desktop."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from chromium import free_port, needs_chromium, wait_for

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.process, pytest.mark.slow, pytest.mark.xdist_group("site")]  # one worker builds it
OVERFLOW = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"

TOO_WIDE = "image => image.getBoundingClientRect().right > innerWidth"


class QuietHandler(SimpleHTTPRequestHandler):
    """Says nothing of what it is asked."""

    def log_message(self, format, *arguments):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built where nothing outside answers; a link that leads nowhere is an error, which --quiet would not count."""
    target = tmp_path_factory.mktemp("site")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--site-dir",
        str(target),
    ]  # quiet, it counts no warning
    environment = {**os.environ, **nowhere, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_nothing_is_fetched_and_every_page_is_there(site):
    for name in ("index", "navigation", "settings", "metrics", "architecture", "contributing", "changelog"):
        text = (site / f"{name}.html").read_text()
        fetched = re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=[\"']?(https?://[^\"'> ]+)", text)
        assert not fetched, (name, fetched)
    settings = (site / "settings.html").read_text()
    assert "algorithm=ppo" in settings and "how far the ratio of the clipped objective counts" in settings
    assert "architecture.svg" in (site / "architecture.html").read_text()


@needs_chromium
@pytest.mark.parametrize(("name", "width"), [("phone", 360), ("desktop", 1400)])
def test_pages_are_readable(name, width, site, browser, tmp_path):
    shots = Path(os.environ.get("VISAGENT_SCREENSHOTS", tmp_path))
    browser.resize(width, 900)
    for page, said in (("index", "Two commands"), ("reinforcement", "Actors step worlds"), ("settings", "gamma")):
        browser.open((site / f"{page}.html").as_uri())
        wait_for(lambda said=said: said in browser.run("return document.body.innerText"), said)
        assert browser.run(OVERFLOW) <= 0, page
        assert browser.run("return parseFloat(getComputedStyle(document.querySelector('article p')).fontSize)") >= 14
        assert browser.run(f"return [...document.querySelectorAll('article img')].filter({TOO_WIDE}).length") == 0, page
        browser.picture(shots / f"site-{page}-{name}.png")


@needs_chromium
def test_search_finds_a_setting(site, browser):
    port = free_port()
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(QuietHandler, directory=str(site)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.resize(1400, 900)
        browser.open(f"http://127.0.0.1:{port}/index.html")
        wait_for(lambda: browser.run("return document.querySelector('input[name=query]') !== null"), "the field")
        browser.run(
            "const field = document.querySelector('input[name=query]'); field.focus(); field.value = 'kl_cutoff';"
            "field.dispatchEvent(new Event('input', {bubbles: true})); field.dispatchEvent(new Event('keyup'));"
        )
        found = "return [...document.querySelectorAll('.md-search-result__link')].map(link => link.href)"
        assert wait_for(lambda: any("settings.html" in link for link in browser.run(found)), "the page of settings")
    finally:
        server.shutdown()
        server.server_close()
