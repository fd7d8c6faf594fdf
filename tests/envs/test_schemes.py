"""Who chooses when."""

from __future__ import annotations

import numpy as np
import pytest

from visagent.envs.option_worlds import IDLE, OptionSpaces, OptionStep
from visagent.envs.schemes import Scheme
from visagent.envs.tool_delivery import GET_TOOL, GO_TO_WORK, SEARCH, ToolDeliveryWorlds

ONE = np.ones(1, bool)


class Clock:
    """Two agents whose option o lasts o + 1 steps; what is ordered is written down."""

    def __init__(self):
        self.left, self.orders = np.zeros((1, 2), np.int64), []
        self.observation = [np.zeros((1, 1), np.float32)] * 2

    def spaces(self):
        return OptionSpaces(("a", "b"), (1, 1), (("1", "2", "3"),) * 2)

    def step(self, options, active):
        self.orders.append(options[0].tolist())
        fresh = (self.left == 0) & (options != IDLE)
        self.left = np.where(fresh, options + 1, self.left) - (options != IDLE)
        return OptionStep(np.zeros(1), (self.left == 0) & (options != IDLE), np.zeros(1, bool), np.zeros(1, bool))

    def waiting(self):
        return np.zeros((1, 2), bool)

    def absent(self):
        return np.zeros((1, 2), bool)

    def interrupt(self, which):
        self.left[which] = 0


def decisions(scheme, orders, steps):
    """Who chose, and when; `orders` are taken in turn."""
    found, orders = [], iter(orders)
    for second in range(steps):
        choosing = scheme.choosing()
        if choosing.any():
            found.append((second, choosing[0].tolist()))
            scheme.choose(choosing, np.array([0]), np.array([next(orders)]))
        scheme.step(ONE)
    return found


def test_async_has_those_choose_that_have_finished():
    world = Clock()
    scheme = Scheme(world, "async", 1, 2)
    assert decisions(scheme, [[0, 2], [1, 0], [0, 1]], 4) == [(0, [True, True]), (1, [True, False]), (3, [True, True])]
    assert world.orders == [[0, 2], [1, 2], [1, 2], [0, 1]]


def test_sync_wait_has_all_choose_when_all_have_finished():
    world = Clock()
    assert decisions(Scheme(world, "sync_wait", 1, 2), [[0, 2], [1, 1]], 5) == [(0, [True, True]), (3, [True, True])]
    assert world.orders == [[0, 2], [IDLE, 2], [IDLE, 2], [1, 1], [1, 1]]


def test_sync_cut_interrupts_the_others():
    world = Clock()
    assert decisions(Scheme(world, "sync_cut", 1, 2), [[0, 2], [1, 2], [2, 0]], 4) == [
        (0, [True, True]),
        (1, [True, True]),
        (3, [True, True]),
    ]
    assert world.orders == [[0, 2], [1, 2], [1, 2], [2, 0]]


def test_a_turtlebot_at_the_table_counts_as_finished_and_can_be_handed_a_tool():
    world = ToolDeliveryWorlds().make(1)
    world.reset(ONE, [0])
    scheme = Scheme(world, "sync_wait", 1, 3)
    orders = [[GET_TOOL, GO_TO_WORK, SEARCH], [GET_TOOL, GO_TO_WORK, 1], [GO_TO_WORK, GO_TO_WORK, 0]]
    found, total = [], 0.0
    for second in range(1, 20):
        choosing = scheme.choosing()
        if choosing.any():
            assert choosing.all()
            found.append(second)
            scheme.choose(choosing, np.array([0]), np.array([orders.pop(0)]))
        total += float(scheme.step(ONE).reward[0])
    # Search ends at 6 like the way to the human, the pass at 10, the first tool is delivered at 19.
    assert found == [1, 7, 11] and total == -19 + 100


def test_what_is_no_scheme_is_refused():
    with pytest.raises(ValueError, match="expected one of async, sync_wait, sync_cut, end2end, got 'sync'"):
        Scheme(Clock(), "sync", 1, 2)
