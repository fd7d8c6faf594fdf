"""Packages of others: what they add is found, and what would take the place of something else is refused."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from visagent.config import extensions as module
from visagent.config.messages import composition_message
from visagent.config.registry import FITS, GROUP_SCHEMAS, Fit, registered
from visagent.config.reinforcement_schemas import LearnerSettings
from visagent.config.settings import setting
from visagent.config.trust import refuse_foreign
from visagent.errors import ConfigError
from visagent.runtime.provenance import versions

FOUND = module.extensions.__wrapped__


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes packages that are found by their entry points; what they register is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = {group: dict(schemas) for group, schemas in GROUP_SCHEMAS.items()}, dict(FITS), set(sys.modules)

    def make(name, code="", **files):
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text(code)
        for path, text in files.items():
            place = package / "conf" / f"{path.replace('__', '/')}.yaml"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        about = tmp_path / f"{name}-2.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.0\n")
        (about / "entry_points.txt").write_text(f"[{module.GROUP}]\n{name} = {name}\n")
        monkeypatch.setattr(module, "extensions", FOUND)

    yield make
    for group in list(GROUP_SCHEMAS):
        if group not in before[0]:
            del GROUP_SCHEMAS[group]
        else:
            GROUP_SCHEMAS[group].clear()
            GROUP_SCHEMAS[group].update(before[0][group])
    FITS.clear()
    FITS.update(before[1])
    for name in set(sys.modules) - before[2]:
        if name.startswith("mine"):
            del sys.modules[name]


def load():
    module.load_extensions.__wrapped__()


def test_an_extension_is_found_with_its_folder_and_version(install, tmp_path, monkeypatch):
    install("mine", experiment__mine__one="")
    (found,) = module.extensions()
    assert (found.name, found.module, found.distribution) == ("mine", "mine", "mine")
    assert found.conf == tmp_path / "mine" / "conf"
    monkeypatch.setattr("visagent.runtime.provenance.extensions", module.extensions)
    assert versions()["mine"] == "2.0"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"experiment__ppo__cartpole": ""},
            r"extension mine: .*mine/conf/experiment/ppo/cartpole\.yaml has the name",
        ),
        ({"algorithm__ppo": ""}, r"which stands before it; rename it, or uninstall the package"),
    ],
)
def test_a_file_of_a_name_that_is_taken_is_refused(files, said, install):
    install("mine", **files)
    with pytest.raises(ConfigError, match=said):
        module.extensions()


def test_two_extensions_of_one_preset_are_refused(install):
    install("mine", experiment__mine__one="")
    install("mine_too", experiment__mine__one="")
    with pytest.raises(ConfigError, match=r"extension mine_too: .* has the name of .*mine/conf/experiment/mine/one"):
        module.extensions()


HEAD = """
from dataclasses import dataclass
from visagent.config.registry import Fit, registered
from visagent.config.reinforcement_schemas import LearnerSettings, PPOSettings
"""
OWN = "@dataclass\nclass Mine(LearnerSettings):\n    _target_: str = 'mine.A'"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise RuntimeError('boom')", r"cannot import mine \(RuntimeError: boom; .*mine/__init__.py, line 1\)"),
        ("import sys; sys.exit(3)", r"cannot import mine \(SystemExit: 3; "),
        (
            HEAD
            + "@registered('algorithm', 'ppo')\n@dataclass\nclass Mine(PPOSettings):\n    _target_: str = 'mine.A'",
            r"mine.Mine: algorithm=ppo is visagent.config.reinforcement_schemas.PPOSettings already; take another name",
        ),
        (
            HEAD + "@registered('algorithm', 'mine')\n@dataclass\nclass Mine(PPOSettings):\n    pass",
            r"mine\.Mine: algorithm=ppo makes lightning_modules\.ppo\.PPO already; .* conf/algorithm/mine\.yaml",
        ),
        (
            HEAD
            + "@registered('algoritm', 'mine')\n@dataclass\nclass Mine(LearnerSettings):\n    _target_: str = 'mine.A'",
            r"it registers algoritm=\.\.\.; expected algorithm, ",
        ),
        (
            HEAD + "@registered('algorithm', 'mine', Fit(('actor_crtic',), ('rollouts',)))\n" + OWN,
            r"mine\.Mine: Fit names network=actor_crtic; expected one of .*actor_critic",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(code, said, install):
    install("mine", code)
    with pytest.raises(ConfigError, match=said):
        load()


def test_a_schema_that_lacks_a_value_says_so(install):
    @registered("algorithm", "mine_lacking", Fit(("actor_critic",), ("rollouts",)))
    @dataclass
    class Lacking(LearnerSettings):
        _target_: str = "mine.A"
        gamma: float = setting("discount of a step")

    install("mine")
    try:
        error = ValueError("In 'train': Could not find 'algorithm/mine_lacking'\n\nAvailable options:\n\tppo")
        said = composition_message(error, "train")
        assert said.startswith("algorithm=mine_lacking: its schema has no value of gamma: give them one (default=...)")
        assert "/schema/algorithm@_here_: mine_lacking" in said
    finally:
        del GROUP_SCHEMAS["algorithm"]["mine_lacking"], FITS[Lacking]


def test_code_that_is_not_there_any_more_is_named():
    with pytest.raises(
        ConfigError, match=r"'gone_package\.method\.A' is not there: install the package that has gone_pa"
    ):
        refuse_foreign({"algorithm": {"_target_": "gone_package.method.A"}}, "run r1")
