"""From a command line to a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from visagent.config.composition import Composed, compose_run, config_folder
from visagent.config.signature import signature
from visagent.errors import ConfigError
from visagent.search.space import Space
from visagent.search.study import Search, SearchSettings


def search_of(settings: Mapping[str, Any], arguments: Sequence[str], config: DictConfig) -> Search:
    """The search that a command means.

    Args:
        settings: of the sweeper.
        arguments: overrides; those with several values are searched.
        config: composed, for `objective` and where outputs lie.

    Raises:
        ConfigError: for a search that cannot be.
    """
    parsed = OverridesParser.create().parse_overrides(list(arguments))
    space = Space.of(parsed)
    fixed = [
        argument
        for argument, override in zip(arguments, parsed, strict=True)
        if not override.is_sweep_override() and override.get_key_element() != "objective"
    ]
    objective = config.get("objective")
    if objective is None:
        raise ConfigError("objective: expected the metric that is searched by, got null; type objective=val/return")
    chosen = SearchSettings(**settings)
    if chosen.prune != "none" and not str(objective).startswith("val/"):
        raise ConfigError(
            f"hydra.sweeper.prune={chosen.prune}: expected an objective that is known after every epoch, such as "
            f"objective=val/return, got {objective}"
        )
    known: Composed = {}

    def compose(overrides: Sequence[str]) -> tuple[dict[str, Any], str]:
        with config_folder():
            resolved = compose_run(overrides, known)
        return resolved, signature(resolved)

    return Search(chosen, space, fixed, str(objective), compose, Path(str(config.paths.outputs)))
