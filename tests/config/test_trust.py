"""A stored config, perhaps of someone else, runs no code of others; nothing that it names is imported before that is
sure.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from visagent.config.trust import literal, refuse_foreign, registered
from visagent.config.validation import check_targets
from visagent.errors import ConfigError

STORED = [json.loads(line)["config"] for line in (Path(__file__).parent / "stored_runs.jsonl").read_text().splitlines()]
LOAD = {"_target_": "torch.load", "f": "payload.pt", "weights_only": False}


@pytest.mark.parametrize("stored", STORED, ids=lambda stored: stored["name"])
def test_runs_of_our_own_are_accepted(stored):
    refuse_foreign(stored, "the run")
    with pytest.raises(ConfigError, match="algorithm"):  # the same one with a single target of another's
        refuse_foreign({**stored, "algorithm": LOAD}, "the run")


def put(path, value):
    """A stored config of PPO with something else at a place."""
    stored = copy.deepcopy(next(s for s in STORED if s["name"] == "ppo/cartpole"))
    *above, last = path.split(".")
    node = stored
    for key in above:
        node = node[key]
    node[last] = value
    return stored


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("algorithm._target_", "torch.load"),
        ("network._target_", "os.system"),
        ("network", LOAD),
        ("optimizer", {**LOAD, "_partial_": True}),
        ("datamodule.env", LOAD),
        ("datamodule.env.kwargs", {"x": {"y": [[LOAD]]}}),
        ("trainer.callbacks", [LOAD]),
        ("trainer.callbacks", [{"_target_": "pytorch_lightning.Trainer", "_args_": [LOAD]}]),
        ("name", LOAD),
        ("whatever", {"else": LOAD}),
        ("trainer._target_", "pytorch_lightning.Trainer.from_argparse_args"),
        ("trainer._target_", "pytorch_lightning.trainer.trainer.torch.load"),
        ("optimizer._target_", "torch.optim.adam.torch.load"),
        ("optimizer._target_", "torch.optim.lr_scheduler.warnings.sys.modules"),
        ("optimizer._target_", "torch.optim.Adam\n"),
        ("optimizer._target_", "torch.optimised.Adam"),
        ("algorithm._target_", "lightning_modules.ppo.torch.load"),
        ("algorithm._target_", "lightning_modules.ppo.PPO.load_from_checkpoint"),
        ("algorithm._target_", "visagent.networks.weights.read_checkpoint"),
        ("algorithm._target_", "${oc.env:HOME}"),
        ("algorithm._target_", "hydra.utils.get_method"),
        ("algorithm._target_", "hydra.utils.instantiate"),
        ("algorithm._target_", ["torch", "load"]),
        ("algorithm._target_", None),
        ("algorithm._target_", {"_target_": "torch.load"}),
        ("algorithm._args_", [1]),
        ("algorithm._recursive_", False),
        ("algorithm._convert_", "all"),
        ("datamodule.env.id", "my_worlds:World-v0"),
        ("datamodule.env.id", "os:World-v0"),
        ("datamodule.env.wrappers", [{"name": "ClipReward"}, {"name": "os:system"}]),
    ],
)
def test_every_way_to_other_code_is_refused_before_an_import(path, value, monkeypatch):
    def nothing_is_imported(*_):
        raise AssertionError("imported")

    monkeypatch.setattr("visagent.config.trust.importlib.import_module", nothing_is_imported)
    with pytest.raises(ConfigError, match=r"^the run: \w"):
        refuse_foreign(put(path, value), "the run", ["my", "world", "my_world"])


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A package of the user's, `own_worlds`, that has imported something as well."""
    (tmp_path / "own_worlds.py").write_text(
        "from subprocess import run\n\n\nclass Worlds: ...\n\n\ndef make(): ...\n\n\nelsewhere = run\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("own_worlds", None)


@pytest.mark.usefixtures("own")
def test_what_the_user_allows_is_accepted_and_what_it_has_imported_is_not():
    for target in ("own_worlds.Worlds", "own_worlds.make"):
        stored = put("datamodule.env", {"_target_": target, "_args_": [1]})
        refuse_foreign(stored, "the run", ["own_worlds"])
        refuse_foreign(stored, "the run", [target])
        with pytest.raises(
            ConfigError, match=r"got 'own_worlds\.\w+', whose code would run; .*type --allow-targets own_worlds$"
        ):
            refuse_foreign(stored, "the run", ["own_world", "worlds"])
    refuse_foreign(put("datamodule.env.id", "own_worlds:World-v0"), "the run", ["own_worlds"])
    for target in ("own_worlds.run", "own_worlds.elsewhere"):
        with pytest.raises(ConfigError, match="type --allow-targets subprocess"):
            refuse_foreign(put("datamodule.env", {"_target_": target}), "the run", ["own_worlds"])
    with pytest.raises(ConfigError, match="cannot import"):
        refuse_foreign(put("datamodule.env", {"_target_": "own_worlds.Worlds.__init__"}), "the run", ["own_worlds"])
    for wrong in ("", "a b", "own.", "*"):
        with pytest.raises(ConfigError, match="--allow-targets: expected the dotted name"):
            refuse_foreign(STORED[0], "the run", [wrong])


def test_targets_within_lists_are_checked_too():
    with pytest.raises(ConfigError, match=r"trainer\.callbacks\[0\]\[0\]\._target_: cannot import 'nowhere\.Nothing'"):
        check_targets({"trainer": {"callbacks": [[{"_target_": "nowhere.Nothing"}]]}})


def test_what_schemas_name_is_registered():
    assert {
        "lightning_modules.ppo.PPO",
        "visagent.envs.demonstrations.Curriculum",
        "visagent.actors.exploration.Exploration",
    } <= registered()
    assert all(target.startswith(("visagent.", "datamodules.", "lightning_modules.")) for target in registered())


@given(
    st.lists(st.sampled_from(["$", "{", "}", "\\", "a", ":", "'", '"', "${oc.env:HOME}", " ", "["]), max_size=9).map(
        "".join
    )
)
def test_text_stays_text(text):
    plain = {"a": [text, {"b": text}], "c": 1}
    assert OmegaConf.to_container(OmegaConf.create(literal(plain)), resolve=True) == plain
