"""`visagent-info runs`, `visagent-info run=`, `visagent-compare`: what there is, and side by side."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from matplotlib.image import imread

from visagent.errors import ConfigError
from visagent.runtime.compare import main as compare
from visagent.runtime.info import main as info
from visagent.runtime.record import Record
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.runs_list import age


@pytest.fixture
def outputs(tmp_path):
    """Three runs: a finished one, one that failed, one that was cut off; and a record that does not read."""
    for name, status, seed, history, metrics in (
        ("ppo/pendulum", "FINISHED", 0, [-900.0, -200.0], {"test/return": -180.0}),
        ("ppo/cartpole", "FAILED", 1, [20.0, 30.0], {}),
        ("rubiksnet/ucf101", "RUNNING", 0, [], {}),
    ):
        signature = f"r{len(name):x}{seed}"
        folder = RunFolder(tmp_path / "runs" / signature)
        folder.path.mkdir(parents=True)
        record = Record(signature, name, f"visagent-train experiment={name}", seed, "laptop", status=status)
        record.history = {str(epoch): {"val/return": value} for epoch, value in enumerate(history)}
        record.metrics = metrics
        record.error = "diverged" if status == "FAILED" else None
        folder.save(record)
        config = {"name": name, "seed": seed, "algorithm": {"clip": 0.1 * (seed + 1), "gamma": None}}
        (folder.path / "config.yaml").write_text(yaml.safe_dump(config | {"paths": {"outputs": str(seed)}}))
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "record.json").write_text("{")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"rc0", "rc1", "r100"}),
        (["ppo"], {"rc0", "rc1"}),
        (["ppo", "finished"], {"rc0"}),
        (["FAILED"], {"rc1"}),
        (["cut off"], {"r100"}),
        (["seed=0"], {"rc0", "r100"}),
        (["algorithm.clip=0.2"], {"rc1"}),
        (["algorithm.gamma=null", "rc"], {"rc0", "rc1"}),
        (["algorithm.missing=1"], set()),
    ],
)
def test_runs_by_words(words, expected, outputs, capsys):
    assert info(["runs", *words, "--outputs", str(outputs)]) == (0 if expected else 1)
    shown = capsys.readouterr().out
    found = {line.split()[0] for line in shown.splitlines() if re.match(r"r\w*\d\s", line)}
    assert found == expected
    assert "unreadable: " in shown
    if not expected:
        assert f"algorithm.missing=1: none of 3 runs in {outputs}/runs" in shown


def test_a_row_says_what_came_of_a_run(outputs, capsys):
    info(["runs", "--outputs", str(outputs)])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if re.match(r"r\w*\d\s", line)}
    assert "return -180" in lines["rc0"] and "finished" in lines["rc0"]
    assert "val/return 30" in lines["rc1"] and "failed" in lines["rc1"] and "cut off" in lines["r100"]


def test_ages():
    now = datetime.now(UTC)
    for seconds, expected in ((0, "0 s"), (59, "59 s"), (61, "1 min"), (7300, "2 h"), (200000, "2 d")):
        record = Record("r", "n", "c", 0, "laptop", created=(now - timedelta(seconds=seconds)).isoformat())
        assert age(record, now) == expected


def test_runs_side_by_side(outputs, capsys):
    assert compare(["rc0", "run=rc1", "--outputs", str(outputs)]) == 0
    rows = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:-1]]
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("│")
    }
    assert rows["algorithm.clip"] == ["0.1", "0.2"] and rows["seed"] == ["0", "1"]
    assert "algorithm.gamma" not in rows and "paths.outputs" not in rows
    assert list(rows).index("test/return") < list(rows).index("seed")
    assert rows["test/return"] == ["-180", "-"] and rows["state"] == ["finished", "failed"]
    assert imread(outputs / "comparisons" / "rc0-rc1.png").shape[1] > 400


def test_settings_that_some_runs_have_are_counted(outputs, capsys):
    path = outputs / "runs" / "rc1" / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"network": {"width": 3, "depth": 2}}))
    compare(["rc0", "rc1", "--outputs", str(outputs)])
    shown = capsys.readouterr().out
    assert "network.width" not in shown and "2 more, which not all of the runs have: --full" in shown
    compare(["rc0", "rc1", "--full", "--outputs", str(outputs)])
    shown = capsys.readouterr().out
    assert "network.width" in shown and "--full" not in shown
    assert compare(["rc0", "r100", "--outputs", str(outputs)]) == 0
    assert "no picture: no metric of validation is there for two epochs of each run" in capsys.readouterr().out


def test_mistakes_are_named(outputs):
    with pytest.raises(ConfigError, match="expected two different runs or more, got rc0"):
        compare(["rc0", "--outputs", str(outputs)])
    with pytest.raises(ConfigError, match=r"--metric: expected one of val/return, got 'val/x'"):
        compare(["rc0", "rc1", "--metric", "val/x", "--outputs", str(outputs)])
    with pytest.raises(
        ConfigError, match="expected presets, runs, run=SIGNATURE, or GROUP=NAME such as algorithm=ppo, got 'r'"
    ):
        info(["r"])
