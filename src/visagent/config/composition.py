"""Compose configs inside a command that is not itself a Hydra application, and inside one that is."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict

from visagent.config.presets import groups, options, presets
from visagent.config.schemas import REQUIRED_GROUPS, TrainConfig, register
from visagent.config.signature import signature
from visagent.config.trained_weights import with_weights
from visagent.config.validation import validate
from visagent.errors import ConfigError

Composed = dict[tuple[str, ...], DictConfig]
"""Configs by what chose their groups."""
VALUE = re.compile(r"(?!hydra\.)(\w+(\.\w+)+|name|seed|scale|threads)=")
"""How overrides begin that set a value of what groups have brought, and choose none."""
SHARED = ("paths", "logger", "progress", "threads", "launcher", "machine")
DEVICES = ("accelerator", "devices", "num_nodes", "strategy")
"""What a run that another one needs has from that, of its trainer, too: where it happens, not what."""
PRESET_NAME = "${hydra:runtime.choices.experiment}"
"""What conf/train.yaml gives a run for a name; only a Hydra application can resolve it."""


@contextmanager
def config_folder() -> Iterator[None]:
    """Hydra ready to compose from conf/: the running application's own, or one for the block."""
    register()
    if GlobalHydra.instance().is_initialized():
        yield
        return
    with initialize_config_module("visagent.conf", version_base="1.3"):
        yield


def refuse_empty_groups(overrides: Sequence[str]) -> None:
    """Refuse `group=null`, which Hydra does not read, and `group=[a,b]`, of which it would make one option.

    Raises:
        ConfigError: with the group's options.
    """
    for override in overrides:
        group, _, value = override.partition("=")
        listed = value.startswith("[") and group != "callbacks"  # of which there may be several
        if (listed or value in ("null", "None", "''", '""')) and group in groups():
            there = ", ".join(presets() if group == "experiment" else options(group))
            instead = "" if group in REQUIRED_GROUPS else ", or to leave it out"
            raise ConfigError(f"{override}: expected one of {there}{instead}")


def compose_root(root: str, overrides: Sequence[str]) -> DictConfig:
    """The composed config of a root, within `config_folder()`."""
    return compose(root, list(overrides))


def compose_run(overrides: Sequence[str], known: Composed | None = None) -> dict[str, Any]:
    """The resolved, validated config that `visagent-train OVERRIDES` would run, within `config_folder()`.

    Args:
        overrides: of the command line.
        known: filled; many runs that choose the same groups are composed once.

    Raises:
        ConfigError: when it cannot be run.
        HydraException: when it does not compose.
    """
    refuse_empty_groups(overrides)
    config = composed(overrides, {} if known is None else known)
    return signed(validate(config, TrainConfig), known)


def composed(overrides: Sequence[str], known: Composed) -> DictConfig:
    """The named config of a run, within `config_folder()`. What chooses groups is composed once, values are set in a
    copy of that.

    Args:
        overrides: of the command line.
        known: filled.

    Raises:
        HydraException: when it does not compose.
    """
    groups = tuple(override for override in overrides if not VALUE.match(override))
    values = [override for override in overrides if VALUE.match(override)]
    parsed = OverridesParser.create().parse_overrides(values)
    if any(override.is_sweep_override() for override in parsed):
        return _loaded(overrides)  # which refuses it
    if groups not in known:
        known[groups] = _loaded(groups)
    config = copy.deepcopy(known[groups])
    ConfigLoaderImpl._apply_overrides_to_config(parsed, config)
    return config


def _loaded(overrides: Sequence[str]) -> DictConfig:
    config = compose("train", list(overrides), return_hydra_config=True)
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    choices = config.hydra.runtime.choices
    with open_dict(config):
        del config["hydra"]
        if raw["name"] == PRESET_NAME:
            config.name = choices["experiment"]
    return config


def expert_overrides(config: Mapping[str, Any]) -> list[str]:
    """What `visagent-train` is told to train the expert that a run imitates."""
    smoke = ["debug=smoke"] if config["scale"] == "smoke" else []
    return [*map(str, config["algorithm"]["expert"]["overrides"]), *smoke]


def expert_config(config: Mapping[str, Any], known: Composed | None = None) -> dict[str, Any] | None:
    """The resolved config of the run that a run needs, the expert that it imitates; None where it needs none.

    It is told the same folders, tracking, threads and devices, and is a smoke run where the other one is.

    Args:
        config: resolved, of the run that needs it.
        known: see `compose_run`.

    Raises:
        ConfigError: when its overrides do not compose one.
    """
    expert = config["algorithm"].get("expert")
    if expert is None or config["algorithm"].get("expert_checkpoint") is not None:
        return None
    try:
        with config_folder():
            composed = compose_run(expert_overrides(config), known)
    except (ConfigError, HydraException) as error:
        told = ",".join(f'"{override}"' for override in expert["overrides"])
        raise ConfigError(f"'algorithm.expert.overrides=[{told}]': {error}") from error
    devices = {key: config["trainer"][key] for key in DEVICES if key in config["trainer"]}
    return {**composed, **{key: config[key] for key in SHARED}, "trainer": {**composed["trainer"], **devices}}


def is_shared(key: str) -> bool:
    """Whether an override sets what a needed run takes over from the run that needs it."""
    first, _, rest = key.partition(".")
    return first in SHARED or (first == "trainer" and rest in DEVICES)


def signed(config: dict[str, Any], known: Composed | None = None) -> dict[str, Any]:
    """A resolved config with all that its own signature takes from elsewhere: of the run that it needs, of the weights
    that it begins with.

    Raises:
        ConfigError: when one of them is not there.
    """
    return with_weights(with_expert(config, known))


def with_expert(config: dict[str, Any], known: Composed | None = None) -> dict[str, Any]:
    """A resolved config that says the signature of the run that it needs, or the hash of a policy from elsewhere: both
    are part of its own signature.

    Raises:
        ConfigError: when the run cannot be composed, or there is no such file.
    """
    algorithm = config["algorithm"]
    if (path := algorithm.get("expert_checkpoint")) is not None:
        return {**config, "algorithm": {**algorithm, "expert_hash": _hash(path)}}
    needed = expert_config(config, known)
    if needed is None:
        return config
    expert = {**algorithm["expert"], "signature": signature(needed)}
    return {**config, "algorithm": {**algorithm, "expert": expert}}


def _hash(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise ConfigError(
            f"algorithm.expert_checkpoint: expected a file, got {path} ({error.strerror}); type "
            "algorithm.expert_checkpoint=FILE.pt2, or null for the run of algorithm.expert"
        ) from error
