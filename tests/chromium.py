"""Headless Chromium through the few WebDriver calls that tests need; tests skip where it is not installed."""

from __future__ import annotations

import json
import shutil
import socket
import time
import urllib.error
import urllib.request
from base64 import b64decode
from pathlib import Path

import pytest

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
needs_chromium = pytest.mark.skipif(not (DRIVER and BROWSER), reason="chromium and chromium-driver are not installed")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update",
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


def wait_for(condition, what, seconds=90, every=0.3):
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            if last := condition():
                return last
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(every)
    raise AssertionError(f"{what} did not come within {seconds} s; last: {str(last)[:500]}")


class Browser:
    """The few WebDriver calls that are needed."""

    def __init__(self, port, profile):
        self.root = f"http://127.0.0.1:{port}"
        wait_for(lambda: json.loads(request(f"{self.root}/status"))["value"]["ready"], "chromedriver")
        options = {"binary": BROWSER, "args": [*FLAGS, f"--user-data-dir={profile}"]}
        session = json.loads(
            request(f"{self.root}/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}})
        )
        self.session = f"{self.root}/session/{session['value']['sessionId']}"

    def open(self, url):
        # the UI keeps its state when only the part after # changes
        request(f"{self.session}/url", {"url": "about:blank"})
        request(f"{self.session}/url", {"url": url})

    def run(self, script):
        return json.loads(request(f"{self.session}/execute/sync", {"script": script, "args": []}))["value"]

    def resize(self, width, height):
        """The layout's size, a phone's included: windows have a least width."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        request(f"{self.session}/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics})

    def picture(self, path):
        Path(path).write_bytes(b64decode(json.loads(request(f"{self.session}/screenshot"))["value"]))

    def close(self):
        request(self.session, method="DELETE")
