"""Building what a config names, with an error that a user can mend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from visagent.errors import ConfigError, UserError


def make_network(factory: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """The network that a factory makes.

    Raises:
        ConfigError: when the network takes other arguments than the method gives, so belongs to another method, or
            refuses its settings.
    """
    try:
        return factory(*arguments, **settings)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        name = getattr(getattr(factory, "func", factory), "__name__", "network")
        raise ConfigError(
            f"network: {name} cannot be made for this method and its data ({error}); choose another one with "
            "network=NAME"
        ) from error


def make_optimizer(factory: Callable[..., Any], parameters: Any) -> Any:
    """The optimizer that a factory makes of parameters, or of groups of them.

    Raises:
        ConfigError: when it refuses its settings.
    """
    try:
        return factory(parameters)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"optimizer: expected settings that it takes, got an error ({error}); --cfg job shows them"
        ) from error
