"""Settings that would do nothing, or something else, in silence; groups that do not go together; what is said of keys
that are not there.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shlex
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import ConfigCompositionException, HydraException, OverrideParseException
from hydra.types import RunMode
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from visagent import cli
from visagent.config import messages
from visagent.config.composition import compose_root, config_folder, refuse_empty_groups
from visagent.config.history import completed
from visagent.config.messages import composition_message
from visagent.config.pairs import FITS, check_pairs
from visagent.config.quoting import quoted
from visagent.config.schemas import GROUP_SCHEMAS, PathsConfig, TrainConfig
from visagent.config.settings import info_of, refusal
from visagent.config.trainer_settings import OURS, check_numbers, check_trainer, signature_keys
from visagent.config.trust import TRAINER, refuse_shadowed
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime.failures import Failures

STORED = [json.loads(line)["config"] for line in (Path(__file__).parent / "stored_runs.jsonl").read_text().splitlines()]
PPO = "lightning_modules.ppo.PPO"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("limit_train_batches", 0), ("limit_train_batches", 0.0), ("limit_train_batches", True),
        ("limit_val_batches", -1), ("gradient_clip_val", -1),
        ("gradient_clip_val", True), ("max_epochs", True), ("logger", ""), ("logger", True), ("callbacks", []),
        ("plugins", None), ("default_root_dir", "x"),
        ("enable_checkpointing", False), ("enable_progress_bar", True), ("fast_dev_run", True), ("fast_dev_run", 3),
        ("max_steps", 0), ("devices", 0),
        ("devices", "0"), ("devices", True), ("check_val_every_n_epoch", 0), ("accumulate_grad_batches", 0),
        ("use_distributed_sampler", True),
        ("reload_dataloaders_every_n_epochs", 0), ("max_epoch", 1), ("num_sanity_val_steps", -5),
    ],
)  # fmt: skip
def test_settings_of_the_trainer_that_go_on_silently_are_refused(key, value):
    with pytest.raises(ConfigError, match=rf"trainer\.{key}'?[:;]"):
        check_trainer({"_target_": TRAINER, "max_epochs": 1, key: value}, PPO)


def test_settings_of_the_trainer_that_mean_something_are_taken():
    for stored in STORED:
        # methods that learn nothing have limit_train_batches=0
        check_trainer(stored["trainer"], stored["algorithm"]["_target_"])
    more = {
        "limit_train_batches": 0.5,
        "gradient_clip_val": None,
        "max_steps": -1,
        "limit_val_batches": 0,
        "max_time": "00:01:00:00",
        "devices": [0],
    }
    check_trainer({"_target_": TRAINER, **more}, PPO)
    check_trainer({"_target_": "mine.Trainer", "logger": 1}, PPO)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("name", "", "name: expected a name in one line"),
        ("name", "  ", "name: expected a name in one line"),
        ("name", "a\nb", "name: expected a name in one line"),
        ("trainer.max_epochs", True, "trainer.max_epochs: expected a whole number, at least 1, got True"),
        ("trainer.logger", "", "trainer.logger: visagent sets it itself"),
        ("trainer.max_epoch", 1, "did you mean trainer.max_epochs?"),
        ("trainer.max_epochs", 10**20, "trainer.max_epochs: expected a whole number of at most"),
        ("datamodule.actors", 10**6, "datamodule.actors: expected at least 1 and at most 1024"),
        ("datamodule.env", 5, "datamodule.env: expected worlds, chosen with env=NAME, got 5"),
        ("threads", 10**6, "threads: expected at least 1 and at most 1024"),
        ("optimizer.lr", float("nan"), "optimizer.lr: expected a finite number"),
        ("optimizer.learning_rate", 0.1, "unknown config key 'optimizer.learning_rate'; known here: amsgrad"),
        ("optimizer._target_", None, "optimizer._target_: expected the dotted name of what to make, got None"),
        ("network", None, "no network chosen"),
        ("paths.outputs", "", "paths.outputs: expected a folder"),
        ("paths.videos", "~/videos", "paths.videos: expected a folder from / on"),
    ],
)
def test_values_are_refused_with_their_keys(path, value, said):
    config = completed(json.loads(json.dumps(next(stored for stored in STORED if stored["name"] == "ppo/cartpole"))))
    *above, last = path.split(".")
    node = config
    for key in above:
        node = node[key]
    node[last] = value
    with pytest.raises(ConfigError) as error:
        validate(OmegaConf.create(config), TrainConfig)
    assert said in str(error.value)


def test_arguments_read_from_the_source_are_those_of_the_class():
    import inspect

    import pytorch_lightning
    import torch

    for target, made in (
        (TRAINER, pytorch_lightning.Trainer),
        *((f"torch.optim.{n}", getattr(torch.optim, n)) for n in ("Adam", "AdamW", "SGD", "RMSprop")),
    ):
        expected = [name for name in inspect.signature(made.__init__).parameters if name not in ("self", "params")]
        assert list(signature_keys(target)) == expected, target
    assert set(OURS) <= set(signature_keys(TRAINER))
    assert signature_keys("mine.Trainer") is None and signature_keys("torch.optim.Nothing") is None


def test_numbers_that_are_none_or_absurd_are_refused():
    for value in (float("nan"), float("inf"), 10**20, [64, 2**40], [0.5, float("-inf")]):
        with pytest.raises(ConfigError, match=r"algorithm\.x: expected a"):
            check_numbers({"x": value}, "algorithm")
    check_numbers({"seed": 2**40, "x": [1.0, 2], "flag": True, "text": "inf", "none": None}, "algorithm")


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: stored["name"])
def test_groups_of_presets_go_together(stored):
    check_pairs(stored)


def chosen(algorithm, network, data, env=None):
    node = {"_target_": GROUP_SCHEMAS["datamodule"][data]._target_}
    if env is not None:
        node["env"] = {"_target_": GROUP_SCHEMAS["env"][env]._target_}
    return {
        "algorithm": {"_target_": GROUP_SCHEMAS["algorithm"][algorithm]._target_},
        "network": {"_target_": GROUP_SCHEMAS["network"][network]._target_},
        "datamodule": node,
    }


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        (
            ("ddpg", "actor_critic", "rollouts"),
            "type network=deterministic datamodule=replay, or experiment=ddpg/half_cheetah",
        ),
        (
            ("ppo", "rubiksnet", "rollouts"),
            "algorithm=ppo does not go with network=rubiksnet: expected network=actor_critic; type "
            "network=actor_critic",
        ),
        (("dagger", "navigation", "rollouts"), "type datamodule=dagger, or experiment=navigation/dagger"),
        (("safe_dagger", "navigation", "dagger"), "type datamodule=safe_dagger, or experiment=navigation/safe_dagger"),
        (("option_mappo", "options", "option_replay"), "type datamodule=options"),
        (("action_recognition", "block", "action_recognition"), "expected network=rubiksnet or network=video_resnet"),
        (
            ("ppo", "actor_critic", "rollouts", "tool_delivery"),
            "expected a world of single actions, env=gymnasium, env=robosuite",
        ),
        (("mac_dqn", "option_q", "option_replay", "gymnasium"), "expected a world of options, env=tool_delivery"),
    ],
)
def test_groups_that_do_not_go_together_are_named_with_what_does(groups, said):
    with pytest.raises(ConfigError) as error:
        check_pairs(chosen(*groups))
    assert said in str(error.value)


def test_every_method_has_its_pairs_and_ones_own_fit_anywhere():
    assert set(FITS) == set(GROUP_SCHEMAS["algorithm"].values())
    config = chosen("ppo", "actor_critic", "rollouts")
    for group in config:
        check_pairs({**config, group: {"_target_": "mine.Own"}})


@pytest.mark.parametrize("group", ["optimizer", "env", "debug", "experiment", "trainer", "logger"])
def test_an_empty_group_is_refused_with_its_options(group):
    with pytest.raises(ConfigError, match=rf"^{group}=null: expected one of \w"):
        refuse_empty_groups([f"{group}=null"])
    refuse_empty_groups(["logger=none", "seed=null", "datamodule.scenes=null", "~debug", "paths=default"])


KNOWN = {
    "trainer": (False, {}), "trainer._target_": (False, TRAINER), "trainer.max_epochs": (False, 1),
    "optimizer": (False, {}),
    "optimizer._target_": (False, "torch.optim.Adam"), "optimizer.lr": (False, 0.1), "datamodule": (False, {}),
    "datamodule.batch_size": (False, 1),
    "datamodule.targets": (True, {}), "network": (False, {}), "network.width": (False, 1), "algorithm": (False, {}),
    "algorithm.seed": (False, 0),
    "seed": (False, 0),
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("trainer.limit_train_batches", "type +trainer.limit_train_batches=..."),
        ("trainer.limit_train_batch", "did you mean +trainer.limit_train_batches?"),
        ("trainer.max_epoch", "did you mean trainer.max_epochs?"),
        ("trainer.logger", "visagent sets it itself; type logger=mlflow or logger=none"),
        ("optimizer.amsgrad", "type +optimizer.amsgrad=..."),
        ("optimzer.lr", "did you mean optimizer.lr?"),
        ("batch_size", "did you mean datamodule.batch_size?"),
        ("datamodule.targets.room", "type +datamodule.targets.room=..."),
        ("network.seed", "known in network: width"),
        ("network.depth", "known in network: width"),
        ("model.width", "there is no model in this config"),
        ("sed", "did you mean seed?"),
    ],
)
def test_hints_are_keys_that_do_what_was_meant(path, said, monkeypatch):
    monkeypatch.setattr(messages, "composed_keys", lambda *_: KNOWN)
    message = composition_message(
        ConfigCompositionException(f"Could not override '{path}'.\nTo append to your config use +{path}=1"), "train"
    )
    assert said in message
    assert f"did you mean {path}?" not in message


def test_text_is_read_back_as_it_was_quoted():
    assert (
        quoted("room") == "room"
        and quoted("1_1") == "'1_1'"
        and quoted("001") == "'001'"
        and quoted("a/b (c)") == "'a/b (c)'"
        and quoted("") == "''"
    )


SIGNS = [
    "$",
    "{",
    "}",
    "\\",
    "a",
    ":",
    "'",
    '"',
    "${x}",
    " ",
    ",",
    "1",
    "_",
    "(",
    "[",
    "~",
    "é",
    "=",
    "#",
    "null",
    "\n",
]


@given(st.lists(st.sampled_from(SIGNS), max_size=8).map("".join) | st.text(max_size=6))
@example("1_1")
@example("a\\\n")
def test_what_is_quoted_is_typed_and_read_back(text):
    parser = OverridesParser.create()
    (word,) = shlex.split(shlex.quote(f"k={quoted(text)}"))
    for value in (
        parser.parse_override(word).value(),
        next(iter(parser.parse_override(f"k=[{quoted(text)}]").value())),
    ):
        read = OmegaConf.to_container(OmegaConf.create({"a": value}), resolve=True)
        assert read == {"a": text} or text == "???"


def test_the_home_folder_is_put_in_for_a_tilde_in_paths_alone(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me (x)")
    read = {
        "paths.outputs=~/out": "paths.outputs='/home/me (x)/out'",
        "paths.outputs='~/out'": "paths.outputs='/home/me (x)/out'",
        "+datamodule.scenes=~": "+datamodule.scenes='/home/me (x)'",
        "name=~/x": "name=~/x",
        "paths.outputs=~x": "paths.outputs=~x",
        "~debug": "~debug",
    }
    assert {argument: cli._at_home(argument) for argument in read} == read
    paths = PathsConfig(outputs="~/out")
    with pytest.raises(
        ConfigError, match=r"paths\.outputs: expected a folder from / on, /home/me \(x\)/out, got '~/out'"
    ):
        paths.check()


def test_a_package_of_the_users_with_the_name_of_ours_is_named(tmp_path, monkeypatch):
    (tmp_path / "lightning_modules").mkdir()
    (tmp_path / "lightning_modules" / "__init__.py").touch()
    refuse_shadowed("lightning_modules")
    for name in [name for name in sys.modules if name.partition(".")[0] == "lightning_modules"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "Editable" not in str(finder)])
    with pytest.raises(
        ConfigError,
        match=rf"the package lightning_modules is taken from {tmp_path}/lightning_modules, expected visagent's own",
    ):
        refuse_shadowed("lightning_modules")
    refuse_shadowed("mine")


@pytest.fixture
def command(monkeypatch, capfd, tmp_path):
    """Run a command in this process as far as it goes before it would import anything; its exit status and what it
    wrote to stderr.
    """

    def imports(*_):
        raise AssertionError("goes on to import")

    def run(name, *arguments):
        GlobalHydra.instance().clear()
        monkeypatch.setattr("visagent.runtime.train.check_targets", imports)
        monkeypatch.setattr(sys, "argv", [f"visagent-{name}", *arguments, f"paths.outputs={tmp_path}"])
        monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
        with pytest.raises(SystemExit) as stop:
            getattr(cli, name)()
        return int(stop.value.code), capfd.readouterr().err

    return run


@pytest.mark.parametrize(
    ("mode", "sweeper", "said"),
    [
        (RunMode.RUN, "BasicSweeper", ""),
        (RunMode.MULTIRUN, "BasicSweeper", "failed: seed=1 optimizer.lr=bad: no number\n"),
        (RunMode.MULTIRUN, "TableSweeper", ""),
    ],
)
def test_a_failed_job_says_its_message_alone_and_in_a_sweep_which_one_it_was(mode, sweeper, said, capfd):
    job = JobReturn(["seed=1", "optimizer.lr=bad"], status=JobStatus.FAILED)
    job.return_value = ConfigError("no number")
    Failures().on_job_end(OmegaConf.create({"hydra": {"mode": mode, "sweeper": {"_target_": f"x.{sweeper}"}}}), job)
    job = pickle.loads(pickle.dumps(job))  # as joblib's workers hand it back
    with pytest.raises(ConfigError, match="no number"):
        _ = job.return_value
    assert capfd.readouterr().err == said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "experiment=ppo/cartpole", "optimizer=null"], "error: optimizer=null: expected one of adam,"),
        (
            ["train", "experiment=ppo/cartpole", "algorithm=ddpg"],
            "error: algorithm=ddpg does not go with network=actor_critic and datamodule=rollouts",
        ),
        (["train", "experiment=ppo/cartpole", "name=a (b)"], "type \"name='a (b)'\""),
        (["train", "experiment=ppo/cartpole", "name=\udcff"], "which is not UTF-8"),
        (["evaluate", "run=**"], "error: no run '**' in"),
        (["export", "run=**"], "error: no run '**' in"),
    ],
)
def test_mistakes_are_said_alone_and_before_anything_is_imported(arguments, said, command):
    code, errors = command(*arguments)
    assert code == 2 and said in errors
    assert "Traceback" not in errors and "Error executing job" not in errors


def test_a_file_of_ones_own_that_is_not_utf8_is_named(command, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    path = tmp_path / "conf" / "experiment" / "mine.yaml"
    path.write_bytes("# @package _global_\nname: Übung\n".encode("latin-1"))
    code, errors = command("train", "experiment=mine", "--config-dir", str(tmp_path / "conf"))
    assert code == 2 and f"{path}: expected UTF-8, got byte 0xdc at 26" in errors


def test_a_file_of_ones_own_that_is_no_yaml_is_named(command, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text("a: [1")
    code, errors = command("train", "experiment=mine", "--config-dir", str(tmp_path / "conf"))
    assert code == 2 and "a config file is no YAML" in errors and "mine.yaml" in errors


def test_flags_may_stand_anywhere():
    given = ["experiment=a", "--config-dir", "my=conf", "seed=1,2", "-m", "~debug", "--cfg", "job"]
    assert cli._flags_first(given) == [
        "--config-dir",
        "my=conf",
        "-m",
        "--cfg",
        "job",
        "experiment=a",
        "seed=1,2",
        "~debug",
    ]


def test_a_reader_that_has_read_enough_is_no_error(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        with pytest.raises(SystemExit) as stop:
            cli._guarded(lambda: print("a line"))
        assert stop.value.code == 141


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("+datamodule.targets={'001':[3,9]}", {"001": [3, 9]}),
        ("+datamodule.targets={'kitchen (1)':[3,9], \"a:b\": [1]}", {"kitchen (1)": [3, 9], "a:b": [1]}),
        ("+datamodule.targets.001=[3,9]", {"001": [3, 9]}),
        ("name=a=b", "a=b"),
        ("name=cost_$5 (x)", "cost_$5 (x)"),
    ],
)
def test_what_does_not_read_is_followed_by_what_does(typed, read):
    parser = OverridesParser.create()
    with pytest.raises(OverrideParseException) as error:
        parser.parse_overrides([typed])
    (word,) = shlex.split(composition_message(error.value, "train").rpartition("; type ")[2])
    assert word != typed and parser.parse_override(word).value() == read


def test_presets_of_ones_own_are_listed_for_a_slip(tmp_path, monkeypatch):
    (tmp_path / "experiment" / "mine").mkdir(parents=True)
    (tmp_path / "experiment" / "mine" / "short.yaml").touch()
    monkeypatch.setattr(sys, "argv", ["visagent-train", "--config-dir", str(tmp_path), "experiment=mine/shorts"])
    text = "In 'train': Could not find 'experiment/mine/shorts'\n\nConfig search path:\n\tpkg"
    message = composition_message(ConfigCompositionException(text), "train")
    assert "unknown preset experiment=mine/shorts; did you mean experiment=mine/short?" in message
    assert "presets of navigation, baseline, " in message and ", mine are listed by visagent-train --help" in message
    monkeypatch.setattr(sys, "argv", ["visagent-train", "experiment=mine/shorts"])
    message = composition_message(ConfigCompositionException(text), "train")
    assert "did you mean" not in message and "of a folder of your own need --config-dir DIR" in message


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("algorithm.clip=abc", "algorithm.clip: expected a number, got abc; for example algorithm.clip=0.5"),
        ("algorithm.passes=1.5", "algorithm.passes: expected a whole number, got 1.5; for example algorithm.passes=1"),
        ("network.normalize=maybe", "network.normalize: expected true or false, got maybe; for example"),
        ("network.actor_hidden=[a]", "network.actor_hidden: expected a whole number, got a; for example"),
        (
            "algorithm.beta_range=3",
            "algorithm.beta_range: expected a list, got 3; for example 'algorithm.beta_range=[1,2]'",
        ),
        (
            "datamodule.env.wrappers=[ClipReward]",
            "datamodule.env.wrappers: expected a list of dicts, each with a name and its settings, got [ClipReward]; "
            "for example 'datamodule.env.wrappers=[{name: NAME}]'",
        ),
        ("algorithm.passes=null", "algorithm.passes: expected a value, which it cannot do without, got null; for"),
    ],
)
def test_values_of_another_type_are_told_in_plain_words(override, said):
    with config_folder(), pytest.raises(HydraException) as raised:
        compose_root("train", ["experiment=ppo/cartpole", override])
    assert composition_message(raised.value, "train").startswith(said)


def test_what_a_refusal_gives_for_an_example_is_taken():
    """Of every setting with bounds."""
    hints = {}
    for schema in (schema for schemas in GROUP_SCHEMAS.values() for schema in schemas.values()):
        for item in fields(schema):
            if (info := info_of(item)) is None or ("int" not in str(item.type) and "float" not in str(item.type)):
                continue
            said = str(refusal(item.name, -1, info.expectation("None" in str(item.type)), info.meaning))
            if shown := re.search(rf"for example {item.name}=([\d.]+)", said):
                hints[item.name] = float(shown.group(1))
                assert info.allows(hints[item.name]), said
    assert hints["clip"] == 0.2 and hints["passes"] == 1 and "timeout" not in hints
