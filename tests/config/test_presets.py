"""Every preset composes, validates, binds; every YAML file is reachable."""

from __future__ import annotations

from functools import cache

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import OmegaConf

from slow import only
from visagent.config.extensions import conf_folder
from visagent.config.presets import options, presets
from visagent.config.schemas import TrainConfig, register
from visagent.config.signature import signature
from visagent.config.validation import check_targets, validate

FIRST = {name.split("/")[0]: name for name in reversed(presets())}.values()
"""Of each family."""
SIZES = [name.removesuffix("_paper") for name in presets()]
DEBUGGED = [name for name in presets() if not name.endswith("_paper") or SIZES.count(name.removesuffix("_paper")) == 1]
"""Those that are there at a smaller size too stand for those at the paper's, which differ from them in numbers."""
pytestmark = pytest.mark.xdist_group("presets")  # one worker composes each of them once


@cache
def resolved(preset, *overrides):
    """A preset's resolved config, composed once for all tests; none of them changes it."""
    register()
    with initialize_config_module("visagent.conf", version_base="1.3"):
        return validate(hydra_compose("train", [f"experiment={preset}", f"name={preset}", *overrides]), TrainConfig)


@pytest.mark.parametrize("preset", presets())
def test_preset_composes_validates_and_binds(preset):
    config = resolved(preset)
    check_targets(config)
    assert config["name"] == preset
    assert config["scale"] == ("paper" if preset.endswith("_paper") else "laptop")


@pytest.mark.parametrize("preset", only(lambda preset: preset in FIRST, DEBUGGED))
@pytest.mark.parametrize("debug", options("debug"))
def test_debug_presets_apply_to_every_preset(preset, debug):
    plain, debugged = resolved(preset), resolved(preset, f"debug={debug}")
    assert debugged["scale"] == "smoke"
    assert signature(plain) != signature(debugged)


def test_presets_are_differences_that_change_the_run():
    signatures = {preset: signature(resolved(preset)) for preset in presets()}
    assert len(set(signatures.values())) == len(signatures)


def test_large_and_paper_presets_are_the_papers():
    large = resolved("navigation/dagger_large_paper")
    names = large["datamodule"]["scene_names"]
    assert len(names) == 10 and sum(n.startswith("kitchen") for n in names) == 1
    assert large["datamodule"]["targets_per_scene"] == 8 and large["datamodule"]["max_steps"] == 200
    assert large["network"]["projection"] is None and large["optimizer"]["_target_"] == "torch.optim.SGD"
    small = resolved("navigation/dagger")
    assert len(small["datamodule"]["scene_names"]) == 4 and small["datamodule"]["max_steps"] == 300


def test_no_config_file_is_dead():
    """Every group folder is in a root's defaults list, every file of `debug_data` belongs to a debug preset and a
    DataModule.
    """
    folder = conf_folder()
    defaults = [
        entry
        for root in ("train.yaml", "table.yaml")
        for entry in yaml.safe_load((folder / root).read_text())["defaults"]
    ]
    defaults += [
        entry for path in folder.glob("env/*.yaml") for entry in yaml.safe_load(path.read_text()).get("defaults", [])
    ]
    named = {
        key.split()[-1].split("@")[0].lstrip("/") for entry in defaults if isinstance(entry, dict) for key in entry
    }
    for path in folder.rglob("*.yaml"):
        group = path.relative_to(folder).parts[0]
        assert group in named | {"train.yaml", "evaluate.yaml", "export.yaml", "table.yaml", "hydra"}, path
    pairs = {f"{debug}_{data}" for debug in options("debug") for data in options("datamodule")}
    assert set(options("debug_data")) == pairs
    assert set(options("debug_env")) == {f"{debug}_world" for debug in options("debug")}


def test_schemas_hold_no_values_that_the_yaml_holds():
    from dataclasses import MISSING as NO_DEFAULT
    from dataclasses import fields, is_dataclass

    from omegaconf import MISSING

    from visagent.config.schemas import GROUP_SCHEMAS

    def empty(schema):
        for item in fields(schema):
            if item.name.startswith("_") or item.default == MISSING or str(item.default).startswith("${"):
                continue
            assert item.default is NO_DEFAULT, (schema, item.name)
            made = item.default_factory()
            if is_dataclass(made):
                empty(made)
            else:
                assert made == {}, (schema, item.name)

    for schemas in GROUP_SCHEMAS.values():
        for schema in schemas.values():
            empty(schema)


def test_every_yaml_value_has_a_schema_field(compose):
    config = compose("navigation/safe_dagger", tiny=False)
    assert OmegaConf.get_type(config.datamodule).__name__ == "SafeDAggerDataSettings"
    assert OmegaConf.get_type(config.algorithm).__name__ == "SafeDAggerSettings"
