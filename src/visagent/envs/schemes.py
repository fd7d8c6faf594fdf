"""Who chooses when, if options last differently long (Lyu et al. 2023, Sections I and IV-B)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from visagent.envs.option_worlds import IDLE, OptionStep, OptionWorld

SCHEMES = ("async", "sync_wait", "sync_cut", "end2end")
"""The agents that have finished; all, once all have finished; all, as soon as one has finished, the others being
interrupted; all, in every step. All are those that are there."""


class Scheme:
    """Runs options in N episodes and says whose turn it is to choose.

    Args:
        world: the episodes.
        name: one of `SCHEMES`; `end2end` needs a world of primitive actions.
        episodes: N.
        agents: n.
    """

    def __init__(self, world: OptionWorld, name: str, episodes: int, agents: int) -> None:
        if name not in SCHEMES:
            raise ValueError(f"scheme: expected one of {', '.join(SCHEMES)}, got {name!r}")
        self.world, self.name = world, name
        self.running = np.zeros((episodes, agents), np.int64)
        self.finished = np.ones((episodes, agents), bool)
        self.taken = np.zeros((episodes, agents), np.int64)
        """Options that each agent has chosen in its episode."""

    def reset(self, which: NDArray[np.bool_]) -> None:
        """Episodes `[N]` that begin: every agent chooses, and nothing of before is left."""
        self.running[which], self.taken[which], self.finished[which] = 0, 0, True

    def choosing(self) -> NDArray[np.bool_]:
        """`[N, n]`: who chooses now (Z); all False where all options go on.

        `running` holds what the others go on with.
        """
        here = ~self.world.absent()
        finished = self.finished & here
        if self.name == "sync_wait":
            waiting = self.world.waiting() & here & ~finished
            due = (finished | waiting | ~here).all(axis=1)
            self._stop(waiting & due[:, None])
        elif self.name == "sync_cut":
            due = finished.any(axis=1)
            self._stop(here & ~finished & due[:, None])
        else:
            return finished
        chosen: NDArray[np.bool_] = due[:, None] & here
        return chosen

    def next_choosers(self) -> NDArray[np.bool_]:
        """`[N, n]`: who would choose if an episode that is cut off had a decision now."""
        here = ~self.world.absent()
        return self.finished & here if self.name in ("async", "end2end") else here

    def _stop(self, which: NDArray[np.bool_]) -> None:
        if which.any():
            self.world.interrupt(which)
            self.finished |= which

    def choose(self, choosing: NDArray[np.bool_], rows: NDArray[np.int64], options: NDArray[np.int64]) -> None:
        """In the episodes `rows` `[R]`, the agents `choosing` `[N, n]` begin those of the joint options `[R, n]` that
        are theirs.
        """
        begins = choosing[rows]
        self.running[rows] = np.where(begins, options, self.running[rows])
        self.finished[rows] &= ~begins
        self.taken[rows] += begins

    def step(self, active: NDArray[np.bool_]) -> OptionStep:
        """One low-level step of the episodes `active` `[N]`."""
        orders = self.running
        if self.name == "sync_wait":
            orders = np.where(self.finished | self.world.waiting(), IDLE, orders)
        step = self.world.step(orders, active)
        self.finished |= step.done
        return step
