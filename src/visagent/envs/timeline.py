"""Which option each agent had when, in one episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from visagent.envs.option_worlds import OptionSpaces

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
"""Of options, by their number (Okabe and Ito's, for all kinds of colour vision)."""

SHOWN = 60
"""Steps of a film's strip."""


@dataclass(frozen=True)
class Bar:
    """An option in an episode.

    Attributes:
        agent, option: their numbers.
        begins, ends: low-level steps, the first and the one after the last.
    """

    agent: int
    option: int
    begins: int
    ends: int


class Timeline:
    """Grows with an episode.

    Args:
        spaces: of the world.
    """

    def __init__(self, spaces: OptionSpaces) -> None:
        self.spaces = spaces
        self.bars: list[Bar] = []
        self._open: list[tuple[int, int] | None] = [None] * len(spaces.agents)
        self.now = 0

    def show(self, running: NDArray[np.int64], chose: NDArray[np.bool_], finished: NDArray[np.bool_]) -> None:
        """What each agent is about to do in the next step, `[n]` each: its option, whether it chose it now, whether it
        only waits for others.
        """
        for agent, option in enumerate(running):
            if chose[agent] or finished[agent]:
                self._close(agent)
            if chose[agent]:
                self._open[agent] = (int(option), self.now)
        self.now += 1

    def end(self) -> None:
        """The episode is over after the steps that were shown."""
        for agent in range(len(self.spaces.agents)):
            self._close(agent)

    def _close(self, agent: int) -> None:
        opened = self._open[agent]
        if opened is not None:
            self.bars.append(Bar(agent, opened[0], opened[1], self.now))
            self._open[agent] = None

    def draw(self, title: str) -> Figure:
        """One row of bars for each agent, with the names of their options."""
        from matplotlib.figure import Figure

        agents = self.spaces.agents
        figure = Figure(figsize=(11, 1.2 + 0.7 * len(agents)), layout="constrained")
        axes = figure.add_subplot()
        for bar in self.bars:
            axes.barh(
                bar.agent,
                bar.ends - bar.begins,
                left=bar.begins,
                height=0.7,
                color=COLOURS[bar.option % len(COLOURS)],
                edgecolor="white",
                linewidth=1.0,
            )
            name = self.spaces.options[bar.agent][bar.option]
            if bar.ends - bar.begins >= 0.012 * self.now * len(name):  # where it fits
                axes.text((bar.begins + bar.ends) / 2, bar.agent, name, ha="center", va="center", fontsize=8)
        axes.set_yticks(range(len(agents)), agents)
        axes.invert_yaxis()
        axes.set_xlim(0, self.now)
        axes.set_xlabel("low-level step")
        axes.set_title(title)
        return figure

    def strip(self, width: int) -> NDArray[np.uint8]:
        """The newest `SHOWN` steps as a picture `[H, width, 3]`, for below a film."""
        from PIL import Image, ImageDraw

        row, margin = 26, 90
        image = Image.new("RGB", (width, row * len(self.spaces.agents) + 6), "white")
        draw = ImageDraw.Draw(image)
        begins = max(0, self.now - SHOWN)
        scale = (width - margin) / SHOWN
        running = [
            Bar(agent, opened[0], opened[1], self.now) for agent, opened in enumerate(self._open) if opened is not None
        ]
        for agent, name in enumerate(self.spaces.agents):
            draw.text((4, row * agent + row / 2 + 3), name, fill="black", anchor="lm")
        for bar in [*self.bars, *running]:
            if bar.ends <= begins:
                continue
            left, right = margin + (max(bar.begins, begins) - begins) * scale, margin + (bar.ends - begins) * scale
            draw.rectangle(
                (left, row * bar.agent + 4, right, row * (bar.agent + 1)),
                fill=COLOURS[bar.option % len(COLOURS)],
                outline="white",
            )
            name = self.spaces.options[bar.agent][bar.option]
            if draw.textlength(name) < right - left - 4:
                draw.text(((left + right) / 2, row * bar.agent + row / 2 + 2), name, fill="black", anchor="mm")
        return np.asarray(image)
