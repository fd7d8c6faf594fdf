"""What methods share that learn to choose options."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lightning_modules.reinforcement import ReinforcementModule

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class OptionLearner(ReinforcementModule):
    """The part of a method that shows the options of its episodes."""

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """The options of the episodes that are filmed; none before `test`."""
        for name, film in self.films.items():
            timeline, episode = film.timeline()
            yield (
                name,
                timeline.draw(
                    f"return {episode.total_reward:.0f}, {episode.steps} low-level steps, {episode.option_steps} "
                    "decisions"
                ),
            )
