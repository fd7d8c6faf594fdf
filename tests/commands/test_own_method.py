"""A method of one's own, in a package of one's own: examples/own_method, installed beside the suite."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from comparing import assert_same
from processes import checkpoint, kill_when, record, records, run

EXAMPLE = Path(__file__).parents[2] / "examples" / "own_method"


def test_it_is_as_small_as_it_is_said_to_be():
    """So that nobody needs more to begin with."""
    written = (path for ending in ("py", "toml", "yaml") for path in EXAMPLE.rglob(f"*.{ending}"))
    files = [path for path in written if "build" not in path.parts]
    assert 0 < len(files) <= 6
    assert sum(len(path.read_text().splitlines()) for path in files) <= 120


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package, as pip installs it."""
    folder = tmp_path_factory.mktemp("own") / "site"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "install", "--no-deps", "--target", str(folder), str(EXAMPLE)], check=True)
    return folder


@pytest.mark.slow
@pytest.mark.process
def test_it_is_found_trained_resumed_and_put_in_a_table(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(installed))
    assert "\n  own/awr " in run("visagent-train", "--help", cold=True).stdout
    shown = run("visagent-info", "algorithm=awr", cold=True).stdout
    assert "temperature" in shown and "of the weights, in standard deviations" in shown
    told = ["progress=none", "logger=none", "trainer.accelerator=cpu", "trainer.max_epochs=8"]
    told.append("datamodule.iterations_per_epoch=3")
    alone = tmp_path / "alone"
    train = ["visagent-train", "experiment=own/awr", "debug=smoke", f"paths.outputs={alone}", *told]

    def one_epoch():
        return any(json.loads(path.read_text())["history"] for path in alone.glob("runs/*/record.json"))

    kill_when(one_epoch, *train, cold=True)
    assert record(alone)["status"] != "FINISHED"
    run(*train, cold=True)
    assert record(alone)["status"] == "FINISHED" and record(alone)["attempts"] == 2
    outputs = tmp_path / "table"
    run("visagent-table", "own/track", "--run", "--scale", "smoke", f"paths.outputs={outputs}", *told, cold=True)
    assert len(records(outputs)) == 2
    (table,) = outputs.glob("tables/smoke/own/track*.md")
    assert "| AWR | PPO |" in table.read_text()
    unbroken = outputs / "runs" / record(alone)["signature"] / "checkpoints" / "last.ckpt"
    assert_same(checkpoint(alone)["state_dict"], torch.load(unbroken, weights_only=True)["state_dict"])


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("import visagent_is_missing\n", "cannot import broken (ModuleNotFoundError: No module named 'visagent_is_mi"),
        (None, "cannot import broken (there is no such module)"),
    ],
)
def test_an_extension_that_is_broken_is_named(module, said, tmp_path, monkeypatch):
    made = tmp_path / "broken-1.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (made / "entry_points.txt").write_text("[visagent.extensions]\nmine = broken\n")
    if module is not None:
        (tmp_path / "broken.py").write_text(module)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for command in (["visagent-train", "experiment=ppo/cartpole"], ["visagent-info"], ["visagent-table", "--list"]):
        done = run(*command, check=False, cold=True)
        assert done.returncode == 2 and f"error: extension mine: {said}" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
