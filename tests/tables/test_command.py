"""The command line of `visagent-table`, and what it hands to Hydra."""

from __future__ import annotations

import os
import shutil

import pytest
from hydra import compose
from hydra.utils import instantiate
from mlflow import MlflowClient
from tiny_table import make_spec

from chromium import free_port
from visagent.config.composition import config_folder
from visagent.runtime.record import PARENT_VARIABLE
from visagent.runtime.tracking import LOCK_TAG, hold
from visagent.tables import publish
from visagent.tables.command import launching, outputs_of, parse, sweep_arguments
from visagent.tables.grid import expand
from visagent.tables.results import collect
from visagent.tables.runs import plan


def compose_sweep(arguments):
    """The master config of the sweep, as Hydra makes it before it instantiates the sweeper."""
    with config_folder():
        return compose("train", arguments, return_hydra_config=True)


NASTY = [
    "datamodule.scenes=/a b/it's",
    "datamodule.scene_names=[a,b]",
    r"datamodule.cache=\\share\\x\\",
    "datamodule.cache=${paths.outputs}/x",
    'x="y"',
    "a=${oc.env:NOT_SET}",
    "ü=%20 %",
]


def test_options_may_stand_anywhere_and_overrides_find_their_place():
    asked = parse(
        [
            "nobody/tiny",
            "optimizer.lr=1",
            "--run",
            "confidence=0.9",
            "hydra/launcher=basic",
            "--seeds",
            "[3,4]",
            "+hydra.x=1",
            "--jobs",
            "3",
        ]
    )
    assert (
        asked.table == "nobody/tiny"
        and asked.run
        and asked.seeds == (3, 4)
        and asked.jobs == 3
        and asked.scale == "laptop"
    )
    assert (
        asked.overrides == ("optimizer.lr=1",)
        and asked.root == ("confidence=0.9",)
        and asked.hydra == ("hydra/launcher=basic", "+hydra.x=1")
    )


@pytest.mark.parametrize(
    ("launcher", "chosen"),
    [
        ([], "joblib"),
        (["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu"], "submitit_slurm"),
        (["launcher=slurm", "launcher.partition=gpu"], "visagent_cluster"),
    ],
)
def test_the_sweep_gets_every_override_unchanged(launcher, chosen, tmp_path, extra):
    asked = parse(
        ["nobody/tiny", "--run", "--scale", "smoke", "--jobs", "4", "--seeds", "5", *launcher, *extra, *NASTY]
    )
    grid = expand("nobody/tiny", make_spec(), "smoke", asked.seeds)
    arguments = sweep_arguments(asked, collect(grid, plan(grid, extra)))
    config = compose_sweep(arguments[1:])
    sweeper = instantiate(config.hydra.sweeper)
    assert arguments[0] == "-m" and sweeper.table == "nobody/tiny" and sweeper.seeds == [5] and sweeper.scale == "smoke"
    of_runs = [each for each in launcher if each.startswith("launcher")]
    assert sweeper.overrides == [*of_runs, *extra, *NASTY, "progress=quiet"]
    assert config.paths.outputs == f"{tmp_path}/outputs"  # for the sweep itself
    assert config.hydra.runtime.choices["hydra/launcher"] == chosen
    assert config.hydra.launcher.get("n_jobs") == (None if launcher else 2)  # no more than there are runs


def test_launching_goes_on_without_mlflow(grid, tmp_path, monkeypatch, caplog):
    """The server is gone: the runs are launched without a parent, and the table is rendered."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free_port()}")
    extra = (f"paths.outputs={tmp_path}/outputs", "logger=mlflow")
    results = collect(grid, plan(grid, extra), extra)
    with launching(results):
        assert PARENT_VARIABLE not in os.environ
    publish.track(outputs_of(results)[1], tmp_path / "outputs", results, publish.write(tmp_path / "outputs", results))
    assert (
        "the runs have no table to belong to there; logger=none" in caplog.text
        and "does not take the table (Connection refused)" in caplog.text
    )
    assert "secret" not in caplog.text


def test_a_tables_run_says_how_its_launching_ended(grid, tmp_path, empty_tracking):
    (tmp_path / "outputs").mkdir()
    shutil.copy(empty_tracking, tmp_path / "outputs" / "mlflow.db")
    extra = (f"paths.outputs={tmp_path}/outputs", "logger=mlflow")
    results = collect(grid, plan(grid, extra), extra)
    with pytest.raises(KeyboardInterrupt), launching(results):
        run = os.environ[PARENT_VARIABLE]
        client = MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow.db")
        assert (
            client.get_run(run).info.status == "RUNNING"
            and hold(tmp_path / "outputs", client.get_run(run).data.tags[LOCK_TAG]) is None
        )
        raise KeyboardInterrupt
    assert client.get_run(run).info.status == "KILLED" and PARENT_VARIABLE not in os.environ
