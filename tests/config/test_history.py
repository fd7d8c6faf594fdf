"""Settings that are younger than stored runs: those keep their signatures, and read as if they had had the settings at
what they ran with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from omegaconf import MISSING, OmegaConf

from visagent.config import history, schemas
from visagent.config.history import completed
from visagent.config.schemas import TrainConfig
from visagent.config.settings import setting
from visagent.config.signature import difference, identity, signature
from visagent.config.trust import locate
from visagent.config.validation import validate
from visagent.errors import ConfigError

STORED = [json.loads(line) for line in (Path(__file__).parent / "stored_runs.jsonl").read_text().splitlines()]
"""Configs of runs as earlier commits resolved and named them."""
FIRST_RULED = "331a881"
"""From this commit on signatures stay."""


def _name(stored) -> str:
    return f"{stored['commit']} {stored['config']['name']}"


@pytest.mark.parametrize("stored", [s for s in STORED if s["commit"] == FIRST_RULED], ids=_name)
def test_runs_keep_their_signatures(stored):
    assert signature(stored["config"]) == signature(completed(stored["config"])) == stored["signature"]
    assert difference(stored["config"], completed(stored["config"])) == []


@pytest.mark.parametrize("stored", STORED, ids=_name)
def test_configs_of_earlier_commits_are_whole_again(stored):
    """A key that was added without a value that means as before fails here."""
    resolved = validate(OmegaConf.create(completed(stored["config"])), TrainConfig)
    assert resolved == completed(resolved)


@dataclass
class _Inner:
    depth: int = MISSING


@dataclass
class _Young:
    _target_: str = "young.Young"
    width: int = MISSING
    scale: float = setting("a number", as_before=1.0)
    names: list[str] = setting("words", as_before=[])
    inner: _Inner = setting("what is inside", as_before={"depth": 0}, nested=_Inner)
    old: int = setting("an old one", as_before=3, signed=True)
    width_now: int = setting("another name", formerly="width_then")


@pytest.fixture
def _young(monkeypatch):
    monkeypatch.setitem(schemas.GROUP_SCHEMAS, "test", {"young": _Young})
    monkeypatch.setitem(history.ELSEWHERE, "trainer", {"patience": None})


NEUTRAL = {"scale": 1.0, "names": [], "inner": {"depth": 0}}


def _config(settings, trainer):
    return {"algorithm": {"_target_": "young.Young", "width": 4, **settings}, "trainer": {"max_epochs": 1, **trainer}}


@pytest.mark.usefixtures("_young")
def test_the_value_that_means_as_before_is_no_part_of_the_identity():
    stored = _config({}, {})
    assert signature(_config(NEUTRAL, {"patience": None})) == signature(stored)
    assert difference(stored, _config(NEUTRAL, {"patience": None})) == []
    for settings, trainer in (
        ({"scale": 2.0}, {}),
        ({"names": ["a"]}, {}),
        ({"inner": {"depth": 1}}, {}),
        ({"old": 3}, {}),
        ({}, {"patience": 1}),
    ):
        assert signature(_config(NEUTRAL | settings, trainer)) != signature(stored), (settings, trainer)


@pytest.mark.usefixtures("_young")
def test_what_a_stored_config_lacks_is_filled_in():
    alone = {
        "learners": None, "training": True, "checkpoint": dict(schemas.UNWATCHED), "callbacks": {}, "extend": None,
        "objective": None, "prune": None, "allow_targets": [],
    }  # fmt: skip
    assert completed(_config({}, {})) == _config({**NEUTRAL, "old": 3}, {"patience": None}) | alone
    filled = completed(_config({"scale": 5.0, "inner": {"depth": 2}}, {"patience": 9}))
    assert filled == _config({**NEUTRAL, "old": 3, "scale": 5.0, "inner": {"depth": 2}}, {"patience": 9}) | alone
    assert identity(completed(_config({}, {})))["algorithm"] == {"_target_": "young.Young", "width": 4, "old": 3}


@pytest.mark.usefixtures("_young")
def test_a_setting_that_was_renamed_is_read_by_either_name_and_signed_by_the_former():
    then, now = _config({"width_then": 7}, {}), _config({"width_now": 7}, {})
    assert signature(then) == signature(now) and difference(then, now) == []
    assert identity(now, signed=True)["algorithm"]["width_then"] == identity(then)["algorithm"]["width_now"] == 7
    assert completed(then)["algorithm"]["width_now"] == 7 and "width_then" not in completed(then)["algorithm"]
    assert difference(then, _config({"width_now": 8}, {})) == ["algorithm.width_now: 7 -> 8"]


def test_a_class_that_has_moved_is_found_and_signed_where_it_was():
    target = "visagent.networks.option_policies.OptionActorCritic"
    former = "visagent.networks.options.OptionActorCritic"
    stored = next(run for run in STORED if run["config"]["network"]["_target_"] == former)
    assert completed(stored["config"])["network"]["_target_"] == target
    assert identity(stored["config"])["network"]["_target_"] == target
    assert identity(stored["config"], signed=True)["network"]["_target_"] == former
    with pytest.raises(ConfigError, match=f"{former} has moved: type {target}"):
        locate(former, "network")


@pytest.mark.usefixtures("_young")
def test_one_and_true_and_one_as_a_float_are_different_values():
    assert signature(_config({"scale": True}, {})) != signature(_config({"scale": 1.0}, {}))
