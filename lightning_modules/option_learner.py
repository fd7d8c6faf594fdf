"""What methods share that learn to choose options."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lightning_modules.reinforcement import ReinforcementModule
from visagent.errors import ConfigError
from visagent.networks.deploy import Exportable
from visagent.networks.deploy_policies import choosing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class OptionLearner(ReinforcementModule):
    """The part of a method that knows its network and data, and shows the options of its episodes."""

    def expect(self, network: type, whole_episodes: bool, remedy: str) -> None:
        """Refuse a network or data of another method; where they are the user's own, no schema has said so before.

        Args:
            network: the class that the method's network has.
            whole_episodes: whether the data are whole episodes, or what the newest policy did.
            remedy: overrides that choose what belongs to the method.

        Raises:
            ConfigError: naming what was got, and the remedy.
        """
        method, got = type(self).__name__, type(self.network).__name__
        if not isinstance(self.network, network):
            raise ConfigError(f"network: {method} expects a {network.__name__}, got {got}; type {remedy}")
        if hasattr(self.data, "buffer") != whole_episodes:
            kinds = ("what its newest policy did", "whole episodes")
            expected, given = kinds[whole_episodes], kinds[not whole_episodes]
            raise ConfigError(f"datamodule: {method} expects {expected}, got {given}; type {remedy}")

    def exported(self) -> Exportable:
        """The trained policy over options for other programs."""
        spaces: Any = self.data.spaces
        return choosing(copy.deepcopy(self.network).cpu(), spaces)

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """The options of the episodes that are filmed; none before `test`."""
        for name, film in self.films.items():
            timeline, episode = film.timeline()
            decisions = f"{episode.steps} low-level steps, {episode.option_steps} decisions"
            yield name, timeline.draw(f"return {episode.total_reward:.0f}, {decisions}")
