"""MLflow's UI in headless Chromium shows a run's parameters, curves and path pictures; skips where Chromium is not installed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64decode
from pathlib import Path

import pytest

from visagent.runtime.train import train

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
pytestmark = [pytest.mark.process, pytest.mark.skipif(not (DRIVER and BROWSER), reason="chromium and chromium-driver are not installed")]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--window-size=1500,1100",
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request(url, content=None, method=None):
    data = None if content is None else json.dumps(content).encode()
    asked = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return answer.read()


def wait_for(condition, what, seconds=90):
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            if last := condition():
                return last
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.3)
    raise AssertionError(f"{what} did not come within {seconds} s; last: {str(last)[:500]}")


class Browser:
    """The few WebDriver calls that are needed."""

    def __init__(self, port, profile):
        self.root = f"http://127.0.0.1:{port}"
        wait_for(lambda: json.loads(request(f"{self.root}/status"))["value"]["ready"], "chromedriver")
        options = {"binary": BROWSER, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        session = json.loads(request(f"{self.root}/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}))
        self.session = f"{self.root}/session/{session['value']['sessionId']}"

    def open(self, url):
        request(f"{self.session}/url", {"url": "about:blank"})  # the UI keeps its state when only the part after # changes
        request(f"{self.session}/url", {"url": url})

    def run(self, script):
        return json.loads(request(f"{self.session}/execute/sync", {"script": script, "args": []}))["value"]

    def picture(self, path):
        Path(path).write_bytes(b64decode(json.loads(request(f"{self.session}/screenshot"))["value"]))

    def close(self):
        request(self.session, method="DELETE")


@pytest.fixture
def browser(tmp_path):
    port = free_port()
    process = subprocess.Popen([str(DRIVER), f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        opened = Browser(port, tmp_path / "profile")
        yield opened
        opened.close()
    finally:
        process.terminate()
        process.wait(20)


def test_the_ui_shows_parameters_curves_and_pictures(browser, compose, tmp_path):
    record = train(compose("navigation/dagger", "logger=mlflow"))
    port = free_port()
    command = [str(Path(sys.executable).parent / "mlflow"), "ui", "--backend-store-uri", record.tracking_uri, "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    shots = Path(os.environ.get("VISAGENT_SCREENSHOTS", tmp_path))
    try:
        wait_for(lambda: request(f"http://127.0.0.1:{port}/health"), "MLflow's UI")
        run = f"http://127.0.0.1:{port}/#/experiments/1/runs/{record.mlflow_run_id}"
        text = "return document.body.innerText"
        browser.open(run)
        shown = wait_for(lambda: (t := browser.run(text)) and "optimizer.lr" in t and "datamodule.batch_size" in t and t, "the parameters")
        assert "navigation/dagger-s0" in shown and "Finished" in shown and "train/loss" in shown
        browser.picture(shots / "overview.png")
        browser.open(f"{run}/model-metrics")
        wait_for(lambda: browser.run("return document.querySelectorAll('.js-plotly-plot .main-svg').length"), "a curve")
        browser.picture(shots / "metrics.png")
        browser.open(f"{run}/artifacts/figures/path_failure.png")
        loaded = "return [...document.images].some(i => i.naturalWidth > 500) || [...document.querySelectorAll('svg image')].length > 0"
        loaded += " || document.querySelectorAll('.js-plotly-plot image').length > 0"
        wait_for(lambda: browser.run(loaded), "the path picture")
        browser.picture(shots / "artifacts.png")
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)
