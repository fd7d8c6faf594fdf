"""MLflow's UI in headless Chromium shows a run's parameters, curves and path pictures; skips where Chromium is not
installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from chromium import free_port, needs_chromium, request, wait_for
from visagent.runtime.train import train

pytestmark = [pytest.mark.process, pytest.mark.slow, needs_chromium]


def test_the_ui_shows_parameters_curves_and_pictures(browser, compose, tmp_path):
    record = train(compose("navigation/dagger", "logger=mlflow"))
    port = free_port()
    command = [
        str(Path(sys.executable).parent / "mlflow"),
        "ui",
        "--backend-store-uri",
        record.tracking_uri,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    server = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    shots = Path(os.environ.get("VISAGENT_SCREENSHOTS", tmp_path))
    try:
        wait_for(lambda: request(f"http://127.0.0.1:{port}/health"), "MLflow's UI")
        run = f"http://127.0.0.1:{port}/#/experiments/1/runs/{record.mlflow_run_id}"
        text = "return document.body.innerText"
        browser.open(run)
        # The page's parts come one after the other, in no certain order.
        expected = ("navigation/dagger-s0", "Finished", "optimizer.lr", "datamodule.batch_size", "train/loss")
        wait_for(
            lambda: all(part in (browser.run(text) or "") for part in expected),
            f"{', '.join(expected)} on the run's page",
        )
        browser.picture(shots / "overview.png")
        browser.open(f"{run}/model-metrics")
        wait_for(lambda: browser.run("return document.querySelectorAll('.js-plotly-plot .main-svg').length"), "a curve")
        browser.picture(shots / "metrics.png")
        browser.open(f"{run}/artifacts/figures/path_failure.png")
        loaded = (
            "return [...document.images].some(i => i.naturalWidth > 500) || [...document.querySelectorAll('svg "
            "image')].length > 0"
        )
        loaded += " || document.querySelectorAll('.js-plotly-plot image').length > 0"
        wait_for(lambda: browser.run(loaded), "the path picture")
        browser.picture(shots / "artifacts.png")
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)
