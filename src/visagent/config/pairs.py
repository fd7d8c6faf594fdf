"""Which networks and data each method goes with, so that a wrong choice is named before anything is imported or
made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from visagent.config.navigation_schemas import (
    BehaviourCloningSettings,
    DAggerDataConfig,
    DAggerSettings,
    NavigationDataConfig,
    NavigationNetworkConfig,
    SafeDAggerDataConfig,
    SafeDAggerSettings,
)
from visagent.config.option_schemas import (
    MacDQNSettings,
    OptionActorCriticConfig,
    OptionDataConfig,
    OptionMAPPOSettings,
    OptionQConfig,
    OptionReplayDataConfig,
    RoundRobinConfig,
    ToolDeliveryConfig,
    UniformOptionsConfig,
    WaterFillingConfig,
)
from visagent.config.presets import conf_folder, presets
from visagent.config.reinforcement_schemas import (
    ActorCriticConfig,
    ActorDataConfig,
    DDPGSettings,
    DeterministicActorCriticConfig,
    EvolutionStrategiesSettings,
    EvolvedPolicyConfig,
    GymnasiumConfig,
    PerturbationDataConfig,
    PPOSettings,
    RandomPolicySettings,
    ReplayDataConfig,
    RobosuiteConfig,
    RolloutDataConfig,
    UniformPolicyConfig,
)
from visagent.config.schemas import GROUP_SCHEMAS, schema_of
from visagent.config.video_schemas import (
    ActionRecognitionDataConfig,
    ActionRecognitionSettings,
    BlockConfig,
    NetworkCostConfig,
    RandomClipsConfig,
    RubiksNetConfig,
    VideoResNetConfig,
)
from visagent.errors import ConfigError


@dataclass(frozen=True)
class Fit:
    """What goes with a method.

    Attributes:
        networks, data: schemas, the usual one first; one that derives from any of them fits as well, unless it is among
            `except_data`.
    """

    networks: tuple[type, ...]
    data: tuple[type, ...]
    except_data: tuple[type, ...] = ()


FITS: Mapping[type, Fit] = {
    BehaviourCloningSettings: Fit((NavigationNetworkConfig,), (NavigationDataConfig,)),
    DAggerSettings: Fit((NavigationNetworkConfig,), (DAggerDataConfig, NavigationDataConfig)),
    SafeDAggerSettings: Fit((NavigationNetworkConfig,), (SafeDAggerDataConfig,)),
    ActionRecognitionSettings: Fit((RubiksNetConfig, VideoResNetConfig), (ActionRecognitionDataConfig,)),
    NetworkCostConfig: Fit((RubiksNetConfig, VideoResNetConfig, BlockConfig), (RandomClipsConfig,)),
    PPOSettings: Fit((ActorCriticConfig,), (RolloutDataConfig,)),
    DDPGSettings: Fit((DeterministicActorCriticConfig,), (ReplayDataConfig,)),
    EvolutionStrategiesSettings: Fit((EvolvedPolicyConfig,), (PerturbationDataConfig,)),
    RandomPolicySettings: Fit(
        (UniformPolicyConfig, UniformOptionsConfig, RoundRobinConfig), (RolloutDataConfig, OptionDataConfig)
    ),
    OptionMAPPOSettings: Fit((OptionActorCriticConfig,), (OptionDataConfig,), (OptionReplayDataConfig,)),
    MacDQNSettings: Fit((OptionQConfig,), (OptionReplayDataConfig,)),
}
"""By the method's schema. What has no schema is the user's own, and fits if it says so itself."""
PRIMITIVE, OPTIONS = (GymnasiumConfig, RobosuiteConfig), (ToolDeliveryConfig, WaterFillingConfig)
"""Worlds of single actions, and worlds of options."""


def check_pairs(config: Mapping[str, Any]) -> None:
    """Refuse groups of a run's config that do not go together.

    Raises:
        ConfigError: naming what was chosen and what to type.
    """
    algorithm, network, data = (_schema(config.get(group)) for group in ("algorithm", "network", "datamodule"))
    if algorithm in FITS:
        assert algorithm is not None
        fit = FITS[algorithm]
        wrong = {}
        if network is not None and not issubclass(network, fit.networks):
            wrong["network"] = (network, fit.networks)
        if data is not None and (not issubclass(data, fit.data) or issubclass(data, fit.except_data)):
            wrong["datamodule"] = (data, fit.data)
        if wrong:
            raise _mismatch(wrong, algorithm)
    chosen = config.get("datamodule")
    env = _schema(chosen.get("env")) if isinstance(chosen, Mapping) else None
    if env is None or data is None or not issubclass(data, ActorDataConfig):
        return
    options = issubclass(data, OptionDataConfig)
    if env in (PRIMITIVE if options else OPTIONS):
        there = ", ".join(f"env={_name(schema)}" for schema in (OPTIONS if options else PRIMITIVE))
        raise ConfigError(
            f"env={_name(env)} does not go with datamodule={_name(data)}: expected a world of "
            f"{'options' if options else 'single actions'}, "
            f"{there} or one of your own (env=own)"
        )


def _mismatch(wrong: Mapping[str, tuple[type, Sequence[type]]], algorithm: type) -> ConfigError:
    method = _name(algorithm)
    got = " and ".join(f"{group}={_name(schema)}" for group, (schema, _) in wrong.items())
    names = {group: [f"{group}={_name(schema)}" for schema in fitting] for group, (_, fitting) in wrong.items()}
    expected = " and ".join(" or ".join(fitting) for fitting in names.values())
    preset = next((f", or experiment={name}" for name in presets() if method == _method_of(name)), "")
    return ConfigError(
        f"algorithm={method} does not go with {got}: expected {expected}; type "
        f"{' '.join(n[0] for n in names.values())}{preset}"
    )


def _method_of(preset: str) -> str | None:
    """The algorithm that a preset's file itself chooses."""
    defaults = yaml.safe_load((conf_folder() / "experiment" / f"{preset}.yaml").read_text()).get("defaults", [])
    return next(
        (
            entry["override /algorithm"]
            for entry in defaults
            if isinstance(entry, dict) and "override /algorithm" in entry
        ),
        None,
    )


def _schema(node: object) -> type | None:
    target = node.get("_target_") if isinstance(node, Mapping) else None
    return schema_of(target) if isinstance(target, str) else None


def _name(schema: type) -> str:
    return next(name for schemas in GROUP_SCHEMAS.values() for name, known in schemas.items() if known is schema)
