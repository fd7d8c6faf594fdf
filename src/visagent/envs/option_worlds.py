"""Worlds whose agents choose options: actions that last, each as long as it takes (Sutton et al. 1999)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

IDLE = -1
"""In place of an option: the agent waits for others where it is."""


@dataclass(frozen=True)
class OptionSpaces:
    """What the agents of a world see and choose from.

    Attributes:
        agents: their names.
        observations: numbers that each of them sees.
        options: names of each one's options.
        state: numbers of the world's own state, which a critic may see in training.
    """

    agents: tuple[str, ...]
    observations: tuple[int, ...]
    options: tuple[tuple[str, ...], ...]
    state: int = 0

    def __post_init__(self) -> None:
        counts = {len(self.agents), len(self.observations), len(self.options)}
        if len(counts) > 1 or not self.agents or min(self.observations) < 1 or not all(self.options):
            raise ValueError(
                f"OptionSpaces: expected observations and options of each agent, got {len(self.agents)} agents, "
                f"observations {self.observations} and "
                f"{[len(names) for names in self.options]} options"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Options of each agent, m_i."""
        return tuple(len(names) for names in self.options)


@dataclass(frozen=True)
class OptionStep:
    """What a low-level step of N episodes with n agents brought; zeros and False in episodes that stood still.

    Attributes:
        reward: `[N]`, shared by all agents.
        done: `[N, n]` bool, the agent is to choose: its option ended with this step, or it came.
        terminated, truncated: `[N]` bool, the episode ended with this step.
    """

    reward: NDArray[np.float64]
    done: NDArray[np.bool_]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]


class OptionWorld(Protocol):
    """N episodes with n agents in step.

    An agent's observation is made anew when its option ends or is interrupted, and stays as it is meanwhile (a
    macro-observation). The end of an episode ends no option; what `observation` shows then is its final observation,
    until `reset`, which comes before the next step.
    """

    @property
    def observation(self) -> Sequence[NDArray[np.float32]]:
        """The observation of each agent, `[N, d_i]`."""
        ...

    @property
    def state(self) -> NDArray[np.float32]:
        """`[N, S]`, what the agents do not see."""
        ...

    def reset(self, which: NDArray[np.bool_], seeds: Sequence[int]) -> None:
        """Begin anew where `which` `[N]`, with a seed for each of those."""
        ...

    def step(self, options: NDArray[np.int64], active: NDArray[np.bool_]) -> OptionStep:
        """One low-level step.

        Args:
            options: `[N, n]`, each agent's running one, or `IDLE`. What runs may only change where it ended or was
                interrupted.
            active: `[N]`, the other episodes stand still.
        """
        ...

    def available(self) -> NDArray[np.bool_]:
        """`[N, m_1 + ... + m_n]`, which options may be chosen now; at least one of each agent."""
        ...

    def waiting(self) -> NDArray[np.bool_]:
        """`[N, n]`, agents whose option goes on until another agent does something: those that wait for all count them
        as finished.
        """
        ...

    def absent(self) -> NDArray[np.bool_]:
        """`[N, n]`, agents that are not there: not yet, no more, or not just now.

        They choose nothing and nobody waits for them; who comes is to choose.
        """
        ...

    def interrupt(self, which: NDArray[np.bool_]) -> None:
        """Stop running options where `which` `[N, n]`, and show their agents what they see now."""
        ...

    @property
    def success(self) -> NDArray[np.bool_] | None:
        """`[N]`, whether the task is done now; None where the world does not say."""
        ...

    def picture(self, episode: int) -> NDArray[np.uint8]:
        """`[H, W, 3]`, an episode as a person would see it."""
        ...

    def close(self) -> None:
        """Give back what the world holds."""
        ...


class OptionWorldFactory(Protocol):
    """Makes worlds; it crosses process borders, so it is small and can be pickled."""

    def spaces(self) -> OptionSpaces:
        """What the agents see and choose from."""
        ...

    def make(self, count: int) -> OptionWorld:
        """`count` episodes, which begin with `reset`."""
        ...

    def primitives(self) -> OptionWorldFactory:
        """The same task with low-level actions in place of options, each of which lasts one step.

        Raises:
            ConfigError: where the world has none.
        """
        ...
