"""Typos, wrong types, missing values and broken rules: each a clear error."""

from __future__ import annotations

import sys

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from visagent import cli
from visagent.config.schemas import TrainConfig
from visagent.config.validation import check_targets, unknown_key, validate
from visagent.errors import ConfigError


@pytest.fixture
def command(monkeypatch, capfd, tmp_path, dumps):
    """Run `visagent-train` in this process; its exit status and what it wrote to stderr."""

    def run(*arguments: str) -> tuple[int, str]:
        GlobalHydra.instance().clear()
        base = ["visagent-train", f"paths.outputs={tmp_path}", "logger=none", "progress=none"]
        monkeypatch.setattr(sys, "argv", [*base, *arguments])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        with pytest.raises(SystemExit) as stop:
            cli.train()
        return int(stop.value.code), capfd.readouterr().err

    return run


DAGGER = "experiment=navigation/dagger"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([DAGGER, "algorithm.label_smothing=0.1"], "did you mean algorithm.label_smoothing?"),
        ([DAGGER, "+algorithm.label_smothing=0.1"], "did you mean algorithm.label_smoothing?"),
        ([DAGGER, "+sed=3"], "did you mean seed?"),
        ([DAGGER, "+trainer.max_epoch=3"], "did you mean trainer.max_epochs?"),
        ([DAGGER, "+datamodule.batchsize=3"], "did you mean datamodule.batch_size?"),
        ([DAGGER, "+optimizer.learning_rate=1"], "known here: amsgrad"),
        ([DAGGER, "+progress.refresh=1"], "did you mean progress.refresh_rate?"),
        (["exeriment=ppo/cartpole"], "did you mean experiment=...?"),
        ([DAGGER, "optimizer.lr=fast"], "optimizer.lr: expected a number, such as 0.001, got 'fast'"),
        ([DAGGER, "trainer.max_epochs=1.5"], "trainer.max_epochs: expected a whole number, at least 1, got 1.5"),
        (["experiment=navigation/dager"], "did you mean experiment=navigation/dagger?"),
        ([DAGGER, "debug=smok"], "debug=smok: there is no such option; did you mean debug=smoke?"),
        ([DAGGER, "seed=0,1"], "seed=0,1: several values are a sweep, a run for each: type -m seed=0,1; where"),
        ([DAGGER, "algorithm.label_smoothing=choice(0.1,0.2)"], "type -m 'algorithm.label_smoothing=choice(0.1,0.2)'"),
        ([DAGGER, "optimizer=[adam,sgd]"], "optimizer=[adam,sgd]: expected one of adam"),
        ([DAGGER, "optimizer.lr=-1"], "optimizer.lr: expected 0 or a number above it, such as 0.001, got -1"),
        ([DAGGER, "optimizer.lr=[0.1,0.2]"], "optimizer.lr: expected a number, such as 0.001, got [0.1, 0.2]"),
        (["navigation/dagger"], "got 'navigation/dagger'; type experiment=navigation/dagger"),
        (
            ["experiment=ppo/cartpole", "datamodule.env.kwargs={a:1}"],
            "datamodule.env.kwargs is a dict of settings: type +datamodule.env.kwargs.KEY=VALUE",
        ),

        (["experiment=ppo/cartpole", "algorithm.epochs=3"], "type algorithm.passes=..."),
        ([DAGGER, "algorithm.label_smoothing=abc"], "algorithm.label_smoothing: expected a number, got abc"),
        ([DAGGER, "datamodule.batch_size=many"], "datamodule.batch_size: expected a whole number, got many"),
        (
            [DAGGER, "algorithm.label_smoothing=2"],
            "algorithm.label_smoothing: expected 0.1 or another number in [0, 1), got 2.0",
        ),
        (
            [DAGGER, "datamodule.batch_size=0"],
            "datamodule.batch_size: expected at least 1, got 0; for example datamodule.batch_size=1",
        ),
        ([DAGGER, "datamodule.action_modes=[greedy]"], "datamodule.action_modes"),
        ([DAGGER, "algorithm.retrain=never"], "expected scratch or continue, got 'never'"),
        ([DAGGER, "scale=huge"], "scale: expected smoke or laptop or paper"),
        (
            [DAGGER, "trainer.max_epochs=???"],
            "missing config value 'trainer.max_epochs': type trainer.max_epochs=VALUE",
        ),
        ([DAGGER, "optimizer._target_=torch.optim.Adm"], "optimizer._target_: cannot import 'torch.optim.Adm'"),
        ([DAGGER, "datamodule.scene_names=[]"], "zero scenes"),
        ([DAGGER, "datamodule.scene_names=[kitchn_01]"], "unknown embedded scene 'kitchn_01'"),
        ([DAGGER, "datamodule.scenes=/nowhere"], "scenes folder /nowhere: no such folder; set datamodule.scenes=DIR"),
        ([DAGGER, "seed=99999999999"], "seed: expected a whole number from 0 to 4294967295, got 99999999999"),
        ([DAGGER, "trainer.max_epochs=0"], "trainer.max_epochs: expected a whole number, at least 1, got 0"),
        ([DAGGER, "trainer.max_epochs=-1"], "trainer.max_epochs: expected a whole number, at least 1, got -1"),
        ([DAGGER, "datamodule.beta=exponential"], "beta schedule exponential: expected a parameter"),
        ([DAGGER, "datamodule.beta=sine", "datamodule.beta_parameter=1"], "unknown beta schedule 'sine'"),
        ([DAGGER, "trainer.accelerator=gup"], "trainer: "),
        ([DAGGER, "datamodule.targets.kitchen_02=[90]"], "type +datamodule.targets.kitchen_02=..."),
        (["--experiment=navigation/dagger"], "overrides have no dashes: type experiment=VALUE"),
        ([DAGGER, "foo"], "expected KEY=VALUE, got 'foo'"),
        ([], "no algorithm chosen: start from a preset, for example experiment=navigation/dagger"),
    ],
)  # fmt: skip
def test_mistakes_are_named(arguments, said, command, tmp_path):
    code, errors = command(*arguments)
    assert code == 2
    assert said in errors
    assert "Traceback" not in errors
    if "config key" in said or "did you mean" in said:
        assert not list(tmp_path.glob("runs/*"))  # a typo leaves no run behind


def test_scene_mistakes_name_what_is_there(command, dumps, tmp_path):
    own = [DAGGER, "debug=smoke", f"datamodule.scenes={dumps}"]
    code, errors = command(*own, "datamodule.scene_names=[kitchen_1]")
    assert (
        code == 2
        and "unknown scene 'kitchen_1'" in errors
        and "did you mean datamodule.scene_names=[kitchen_01]?" in errors
    )
    (tmp_path / "empty").mkdir()
    code, errors = command(DAGGER, f"datamodule.scenes={tmp_path}/empty")
    assert code == 2 and "found zero" in errors and "visagent-scenes make" in errors
    code, errors = command(*own, "datamodule.scene_names=[]", "+datamodule.targets.kitchen_01=[999]")
    assert code == 2 and "scene kitchen_01: expected a state in 0.." in errors and "got 999" in errors


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["algorithm=safe_dagger"], "type datamodule=safe_dagger, or experiment=navigation/safe_dagger"),
        (
            ["+datamodule.targets.kitchen_01=[]"],
            "datamodule.targets.kitchen_01: expected at least one target and each once, got []",
        ),
        (["+datamodule.targets.kitchen_01=[4,4]"], "each once, got [4, 4]"),
        (["+optimizer.betas=[2,0.9]"], "settings that it takes, got an error (Invalid beta parameter at index 0: 2)"),
        (["+optimizer.betas=fast"], "optimizer: expected settings that it takes"),
        (["network.projection=5000"], "network.projection: expected 1..2048 or null, got 5000"),
    ],
)
def test_mistakes_that_only_the_data_or_the_network_can_see(overrides, said, command, dumps):
    code, errors = command(DAGGER, "debug=smoke", f"datamodule.scenes={dumps}", "datamodule.scene_names=[]", *overrides)
    assert code == 2 and said in errors and "Traceback" not in errors


def test_unreachable_target_is_refused(command, tmp_path):
    from visagent.testing.scenes import write_grid_dump

    write_grid_dump(tmp_path / "split", "kitchen_01", ("..#.",))
    code, errors = command(
        DAGGER,
        "debug=smoke",
        f"datamodule.scenes={tmp_path}/split",
        "datamodule.scene_names=[]",
        "datamodule.targets_per_scene=1",
    )
    assert code == 2 and "95 % of the states can reach, found 0" in errors
    one_way = tmp_path / "one_way"
    path = write_grid_dump(one_way, "kitchen_01", ("...",))
    import h5py

    with h5py.File(path, "r+") as file:  # state 0 can be left but never entered
        graph = file["graph"][()]
        graph[graph == 0] = -1
        file["graph"][...] = graph
    from visagent.scenes.dump import write_distances

    write_distances(path)
    code, errors = command(
        DAGGER,
        "debug=smoke",
        f"datamodule.scenes={one_way}",
        "datamodule.scene_names=[]",
        "+datamodule.targets.kitchen_01=[0]",
    )
    assert code == 2 and "target 0 is unreachable from every other state" in errors


def test_nothing_is_composed_away(compose):
    config = compose("navigation/dagger", tiny=False)
    resolved = validate(config, TrainConfig)
    assert resolved == OmegaConf.to_container(config, resolve=True)


class Base:
    def __init__(self, seed):
        self.seed = seed


class Derived(Base):
    def __init__(self, beta, **settings):
        super().__init__(**settings)
        self.beta = beta


def test_check_targets_accepts_inherited_arguments_and_refuses_others():
    check_targets({"a": {"_target_": f"{__name__}.Derived", "seed": 1, "beta": "x"}})
    with pytest.raises(ConfigError, match=r"a\.b\.sed.*did you mean a\.b\.seed"):
        check_targets({"a": {"b": {"_target_": f"{__name__}.Derived", "sed": 1}}})


def test_unknown_key_without_a_near_one_lists_what_is_known():
    assert "known here: alpha, beta" in str(unknown_key("group.zzz", ["beta", "alpha", "_target_"]))
