"""The command line of `visagent-table`, and what it hands to Hydra."""

from __future__ import annotations

import pytest
from hydra import compose
from hydra.utils import instantiate
from tiny_table import make_spec

from visagent.config.composition import config_folder
from visagent.tables.command import parse, sweep_arguments
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
    asked = parse(["nobody/tiny", "optimizer.lr=1", "--run", "confidence=0.9", "hydra/launcher=basic", "--seeds", "[3,4]", "+hydra.x=1", "--jobs", "3"])
    assert asked.table == "nobody/tiny" and asked.run and asked.seeds == (3, 4) and asked.jobs == 3 and asked.scale == "laptop"
    assert asked.overrides == ("optimizer.lr=1",) and asked.root == ("confidence=0.9",) and asked.hydra == ("hydra/launcher=basic", "+hydra.x=1")


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu"]])
def test_the_sweep_gets_every_override_unchanged(launcher, tmp_path, extra):
    asked = parse(["nobody/tiny", "--run", "--scale", "smoke", "--jobs", "4", "--seeds", "5", *launcher, *extra, *NASTY])
    grid = expand("nobody/tiny", make_spec(), "smoke", asked.seeds)
    arguments = sweep_arguments(asked, collect(grid, plan(grid, extra)))
    config = compose_sweep(arguments[1:])
    sweeper = instantiate(config.hydra.sweeper)
    assert arguments[0] == "-m" and sweeper.table == "nobody/tiny" and sweeper.seeds == [5] and sweeper.scale == "smoke"
    assert sweeper.overrides == [*extra, *NASTY, "progress=quiet"]
    assert config.paths.outputs == f"{tmp_path}/outputs"  # for the sweep itself
    assert config.hydra.runtime.choices["hydra/launcher"] == ("submitit_slurm" if launcher else "joblib")
    assert config.hydra.launcher.get("n_jobs") == (None if launcher else 2)  # no more than there are runs
