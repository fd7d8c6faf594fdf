"""The command line of `visagent-table`, and what it hands to Hydra."""

from __future__ import annotations

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from tiny_table import make_spec

from visagent.tables.command import parse, sweep_arguments
from visagent.tables.grid import expand
from visagent.tables.results import collect
from visagent.tables.runs import plan

NASTY = ["datamodule.scenes=/a b/it's", "datamodule.scene_names=[a,b]", r"datamodule.cache=\\share\\x\\", "datamodule.cache=${paths.outputs}/x", 'x="y"']


def test_options_may_stand_anywhere_and_overrides_find_their_place():
    asked = parse(["nobody/tiny", "optimizer.lr=1", "--run", "confidence=0.9", "hydra/launcher=basic", "--seeds", "[3,4]", "+hydra.x=1", "--jobs", "3"])
    assert asked.table == "nobody/tiny" and asked.run and asked.seeds == (3, 4) and asked.jobs == 3 and asked.scale == "laptop"
    assert asked.overrides == ("optimizer.lr=1",) and asked.root == ("confidence=0.9",) and asked.hydra == ("hydra/launcher=basic", "+hydra.x=1")


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu"]])
def test_the_sweep_gets_every_override_unchanged(launcher, tmp_path, extra):
    asked = parse(["nobody/tiny", "--run", "--scale", "smoke", "--jobs", "4", "--seeds", "5", *launcher, *extra, *NASTY])
    grid = expand("nobody/tiny", make_spec(), "smoke", asked.seeds)
    arguments = sweep_arguments(asked, collect(grid, plan(grid, extra)))
    parsed = {o.get_key_element(): o.value() for o in OverridesParser.create().parse_overrides(arguments[1:])}
    assert arguments[0] == "-m" and parsed["hydra.sweeper.table"] == "nobody/tiny" and parsed["hydra.sweeper.seeds"] == [5]
    config = OmegaConf.create({"overrides": [str(o) for o in parsed["hydra.sweeper.overrides"]], "paths": {"outputs": "wrong"}})
    assert list(config.overrides) == [*extra, *NASTY, "progress=quiet"]
    assert parsed["paths.outputs"] == f"{tmp_path}/outputs"  # for the sweep itself
    assert parsed["hydra/launcher"] == ("submitit_slurm" if launcher else "joblib")
    assert parsed.get("hydra.launcher.n_jobs") == (None if launcher else 2)  # no more than there are runs
