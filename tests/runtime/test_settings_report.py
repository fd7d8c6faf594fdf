"""`visagent-info algorithm=NAME` and `run=SIGNATURE`; what a field says of its setting."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

from visagent.config.help import help_text
from visagent.config.presets import description, presets
from visagent.config.schemas import GROUP_SCHEMAS, REQUIRED_GROUPS, TrainConfig
from visagent.config.settings import SettingInfo, Settings, info_of
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime.info import main
from visagent.runtime.settings_report import reference
from visagent.runtime.train import train

SAYING = [schema for schemas in GROUP_SCHEMAS.values() for schema in schemas.values() if issubclass(schema, Settings)]


@pytest.mark.parametrize("schema", SAYING, ids=lambda schema: schema.__name__)
def test_every_setting_says_what_it_means(schema):
    for item in fields(schema):
        if not item.name.startswith("_"):
            info = info_of(item)
            assert info is not None and info.meaning, item.name
            assert info.example is None or info.allows(info.example), item.name


def test_the_reference_says_what_every_setting_means():
    groups = dict(reference())
    assert list(groups) == ["run", *REQUIRED_GROUPS, "env", "learners"]
    told = {(group, option) for group, options in groups.items() for option, _, _ in options}
    assert {("algorithm", name) for name in GROUP_SCHEMAS["algorithm"]} <= told and ("env", "gymnasium") in told
    (gymnasium,) = (says for option, says, _ in groups["env"] if option == "gymnasium")
    assert "`pendulum`" in gymnasium
    for group, options in groups.items():
        for option, _, settings in options:
            silent = [item.key for item in settings if item.info is None or not item.info.meaning]
            assert not silent, (group, option, silent)


@pytest.mark.parametrize(
    ("info", "allowed", "refused", "bounds"),
    [
        (SettingInfo("m", least=0, most=1), (0, 0.5, 1), (-0.1, 1.1), "in [0, 1]"),
        (SettingInfo("m", above=0, below=1), (0.5,), (0, 1), "in (0, 1)"),
        (SettingInfo("m", least=1), (1, 7), (0,), "at least 1"),
        (SettingInfo("m", below=2), (1.9, -5), (2,), "below 2"),
        (SettingInfo("m", among=("a", "b", "c")), ("a",), ("d",), "a, b or c"),
        (SettingInfo("m", least=1), ([1, 2], []), ([1, 0],), "at least 1"),
        (SettingInfo("m"), (-1e9, "text", True), (), ""),
    ],
)
def test_bounds(info, allowed, refused, bounds):
    assert all(info.allows(value) for value in allowed) and not any(info.allows(value) for value in refused)
    assert info.bounds == bounds


def test_a_value_out_of_bounds_is_refused_in_the_fields_own_words(compose):
    expected = (
        r"algorithm\.clip: expected 0\.2 or another number above 0, got -1\.0; for example algorithm\.clip=0\.2 "
        r"\(algorithm\.clip is: how far "
    )
    with pytest.raises(ConfigError, match=expected):
        validate(compose("ppo/pendulum", "algorithm.clip=-1.0"), TrainConfig)
    with pytest.raises(
        ConfigError, match=r"algorithm\.budget: expected null, or 0\.125 or another number between 0 and 1, got 3"
    ):
        validate(compose("rubiksnet/something_v1", "algorithm.budget=3"), TrainConfig)


def line_of(text, key):
    (found,) = (line for line in text.splitlines() if line.split()[:1] == [key])
    return found


@pytest.mark.parametrize(
    ("asked", "key", "expected"),
    [
        ("algorithm=ppo", "clip", ("0.2", "above 0", "(epsilon)")),
        ("algorithm=option_mappo", "entropy", ("conditional, normalised or joint",)),
        ("datamodule=replay", "n_step", ("3",)),
        ("env=lift", "curriculum.probability", ("0.0",)),
        ("optimizer=adam", "lr", ("0.001",)),
    ],
)
def test_a_group_shows_its_settings(asked, key, expected, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "240")
    assert main([asked]) == 0
    line = line_of(capsys.readouterr().out, key)
    assert all(part in line for part in expected), line


def test_a_run_shows_where_each_setting_was_set(compose, tmp_path, capsys, monkeypatch):
    words = ["experiment=ppo/pendulum", "algorithm.clip=0.3", "actors=serial"]
    monkeypatch.setattr("visagent.runtime.train.command", lambda: f"visagent-train {' '.join(words)}")
    record = train(compose("ppo/pendulum", *words[1:], "trainer.max_epochs=1"))
    capsys.readouterr()
    monkeypatch.setenv("COLUMNS", "240")
    assert main(["--outputs", str(tmp_path / "outputs"), f"run={record.signature}", "--full"]) == 0
    shown = capsys.readouterr().out
    for key, value, set_by in (
        ("clip", "0.3", "override"),
        ("gamma", "0.9", "preset"),
        ("lam", "0.95", "default"),
        ("id", "Pendulum-v1", "default"),
        ("max_epochs", "1", "preset"),
    ):
        assert line_of(shown, key).split()[1:3] == [value, set_by]
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--outputs", str(tmp_path / "outputs"), f"run={record.signature}"]) == 0
    _, _, short = capsys.readouterr().out.partition("settings that differ from the defaults of these:\n")
    first, *others = short.splitlines()
    assert first.split() == ["algorithm.clip=0.3", "override", "above", "0"] and max(map(len, others[:-1])) <= 80
    assert any(line.split()[:2] == ["algorithm.gamma=0.9", "preset"] for line in others) and "lam" not in short
    assert re.match(rf"\d+ more, and all numbers: visagent-info run={record.signature} --full --outputs /", others[-1])


def test_presets_say_what_they_are(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert all(description(name) for name in presets())
    shown = help_text("train")
    line = line_of(shown, "navigation/dagger[_paper]")
    assert line.split(maxsplit=1)[1].startswith("DAgger (2) on the small set") and len(line) <= 100
    assert "navigation/dagger_paper" not in shown and line_of(shown, "rubiksnet/kinetics_paper")
    assert main(["presets", "pendulum", "lstm"]) == 0
    name, *said = capsys.readouterr().out.splitlines()
    assert name == "ppo/pendulum_pixels" and " ".join(map(str.strip, said)) == description(name)
    assert main(["presets", "of", "no-such"]) == 1
    assert "no preset has of and no-such" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"described by visagent-info presets ppo/pendulum"):
        main(["experiment=ppo/pendulum"])
    with pytest.raises(ConfigError, match=r"did you mean algorithm=ppo\?"):
        main(["algorithm=pppo"])


@pytest.mark.parametrize("columns", [80, 120])
def test_settings_fit_the_terminal(columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    for asked in ("algorithm=ppo", "datamodule=navigation", "network=rubiksnet"):
        assert main([asked]) == 0
        assert max(map(len, capsys.readouterr().out.splitlines())) <= columns


def test_a_run_whose_command_is_of_another_version(compose, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("visagent.runtime.train.command", lambda: "visagent-train experiment=ppo/of_yesterday")
    record = train(compose("ppo/pendulum", "actors=serial", "trainer.max_epochs=1"))
    capsys.readouterr()
    assert main([f"paths.outputs={tmp_path / 'outputs'}", f"run={record.signature}"]) == 0
    shown = capsys.readouterr().out
    assert "its command does not compose here (" in shown and "of_yesterday" in shown and "config.yaml" in shown
    assert line_of(shown, "test/return")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("algorithm=nothing", r"algorithm=nothing: expected one of .*ppo"),
        ("nothing=ppo", r"nothing=ppo: expected one of algorithm=NAME, .*or run=SIGNATURE"),
        ("ppo", r"expected presets, runs, run=SIGNATURE, or GROUP=NAME such as algorithm=ppo, got 'ppo'"),
        ("run=r0", r"no run 'r0'"),
    ],
)
def test_what_is_not_there(asked, expected, tmp_path):
    with pytest.raises(ConfigError, match=expected):
        main(["--outputs", str(tmp_path), asked])
