"""Tool Delivery against the reference world's episodes and timings that can be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from visagent.envs.option_worlds import IDLE
from visagent.envs.tool_delivery import GET_TOOL, GO_TO_ROOM, GO_TO_WORK, PASS, SEARCH, WAIT, ToolDeliveryWorlds

T0, T1, FETCH = range(3)
ONE = np.ones(1, bool)


def begin(count=1, **settings):
    world = ToolDeliveryWorlds(**settings).make(count)
    world.reset(np.ones(count, bool), range(count))
    return world


def play(world, changes, steps):
    """Steps of one episode; `changes` are (second, agent, option), from when on it runs.

    What ended by itself is chosen again until then.
    """
    running, found = np.array([[GO_TO_ROOM, GO_TO_ROOM, WAIT]]), []
    for second in range(1, steps + 1):
        for when, agent, option in changes:
            if when == second:
                running[0, agent] = option
        found.append(world.step(running, ONE))
    return found


def seconds_until(world, agent, option, at_most=20):
    running = np.full((1, 3), IDLE)
    running[0, agent] = option
    for second in range(1, at_most + 1):
        if world.step(running, ONE).done[0, agent]:
            return second
    return None


def test_the_reference_worlds_episodes_row_by_row(golden):
    kept = np.load(golden / "tool_delivery" / "trajectories.npz")
    world, row = begin(), 0
    for length in kept["episode_length"]:
        world.reset(ONE, [0])
        assert np.array_equal(np.concatenate([part[0] for part in world.observation]), kept["first_observation"])
        for _ in range(length):
            step = world.step(kept["options"][row : row + 1].astype(np.int64), ONE)
            assert np.array_equal(np.concatenate([part[0] for part in world.observation]), kept["observation"][row]), (
                row
            )
            assert step.reward[0] == kept["reward"][row] and np.array_equal(step.done[0], kept["option_done"][row]), row
            assert bool(step.terminated[0] | step.truncated[0]) == bool(kept["episode_done"][row]), row
            row += 1
    assert row == 4166


@pytest.mark.parametrize(
    ("agent", "option", "seconds"),
    [
        *[
            (T0, GO_TO_WORK, 6),
            (T1, GO_TO_WORK, 6),
            (T0, GO_TO_ROOM, 4),
            (T1, GO_TO_ROOM, 2),
            (T0, GET_TOOL, 15),
            (T1, GET_TOOL, 14),
        ],
        *[(FETCH, WAIT, 1), (FETCH, PASS, 4), (FETCH, SEARCH, 6)],
    ],
)
def test_seconds_from_the_start(agent, option, seconds):
    assert seconds_until(begin(), agent, option) == seconds


@pytest.mark.parametrize("robot", [T0, T1])
def test_seconds_between_places(robot):
    world = begin()
    assert seconds_until(world, robot, GO_TO_WORK) == 6
    assert seconds_until(world, robot, GET_TOOL) == 9 + 10  # arrives, and waits until it gives up
    assert seconds_until(world, robot, GO_TO_WORK) == 9
    assert seconds_until(world, robot, GO_TO_WORK) == 1  # is there already
    assert seconds_until(world, robot, GO_TO_ROOM) == 6


OPTIMUM = [
    *[
        (1, T0, GET_TOOL),
        (1, T1, GET_TOOL),
        (1, FETCH, SEARCH),
        (7, FETCH, PASS),
        (11, T0, GO_TO_WORK),
        (11, FETCH, WAIT),
        (12, FETCH, SEARCH + 1),
    ],
    *[
        (15, T1, GET_TOOL),
        (18, FETCH, PASS + 1),
        (20, T0, GET_TOOL),
        (22, T1, GO_TO_WORK),
        (22, FETCH, SEARCH + 2),
        (28, FETCH, PASS),
    ],
    *[(32, T0, GO_TO_WORK), (32, FETCH, WAIT)],
]


def test_the_optimal_schedule():
    world = begin()
    steps = play(world, OPTIMUM, 40)
    rewards = [float(step.reward[0]) for step in steps]
    assert sum(rewards) == 260 and [second for second, reward in enumerate(rewards, 1) if reward == 99] == [19, 30, 40]
    assert steps[-1].terminated[0] and not any(step.terminated[0] for step in steps[:-1]) and world.success[0]
    # a pass ends a GetTool in the same second
    assert [bool(steps[second - 1].done[0, T0]) for second in (10, 31)] == [True, True]
    assert steps[13].done[0, T1] and steps[20].done[0, T1]  # gives up; is handed the tool


def test_a_pass_to_nobody_costs_ten():
    steps = play(begin(), [(1, FETCH, SEARCH), (7, FETCH, PASS)], 10)
    assert [step.reward[0] for step in steps] == [-1.0] * 9 + [-11.0]


def test_a_pass_of_nothing_is_free_and_ends_the_waiting():
    steps = play(begin(), [(1, T0, GET_TOOL), (7, FETCH, PASS)], 10)
    assert steps[-1].reward[0] == -1.0 and steps[-1].done[0, T0]


def test_searching():
    world = begin()
    play(world, [(1, FETCH, SEARCH)], 6)
    assert world.observation[FETCH][0].tolist() == [1, 0, 0, 0]
    play(world, [(1, FETCH, SEARCH)], 6)  # found already
    assert world.observation[FETCH][0].tolist() == [1, 0, 0, 0] and world.staged[0].tolist() == [0, -1]
    play(world, [(1, FETCH, SEARCH + 2)], 6)
    assert world.observation[FETCH][0].tolist() == [0, 1, 0, 0]
    play(world, [(1, FETCH, SEARCH + 1)], 6)  # no room on the table
    assert world.staged[0].tolist() == [0, 2] and not world.found[0, 1]


def test_the_horizon_truncates():
    steps = play(begin(), [], 150)
    assert steps[-1].truncated[0] and not steps[-1].terminated[0] and not any(step.truncated[0] for step in steps[:-1])


def test_random_options():
    """Reference: -60.6 with a standard deviation of 137, 28 % succeed."""
    count, rng = 600, np.random.default_rng(0)
    world = begin(count)
    running, done = np.zeros((count, 3), np.int64), np.ones((count, 3), bool)
    active, total = np.ones(count, bool), np.zeros(count)
    won = np.zeros(count, bool)
    while active.any():
        running = np.where(done, np.stack([rng.integers(0, size, count) for size in (3, 3, 6)], axis=1), running)
        step = world.step(running, active)
        total += step.reward
        won |= step.terminated
        done = step.done
        active &= ~(step.terminated | step.truncated)
    assert abs(total.mean() + 60.6) < 4 * 137 / count**0.5 and abs(won.mean() - 0.28) < 0.08


def test_episodes_of_a_batch_do_not_touch_each_other():
    rng = np.random.default_rng(3)
    orders = rng.integers(0, 3, (60, 4, 3))
    together, apart = begin(4), [begin() for _ in range(4)]
    still = np.array([True, True, True, False])
    for order in orders:
        step = together.step(order, still)
        for index in range(3):
            alone = apart[index].step(order[index : index + 1], ONE)
            assert alone.reward[0] == step.reward[index] and np.array_equal(alone.done[0], step.done[index])
            for mine, other in zip(together.observation, apart[index].observation, strict=True):
                assert np.array_equal(mine[index], other[0])
        assert step.reward[3] == 0 and not step.done[3].any()
    assert together.steps.tolist() == [60, 60, 60, 0] and np.array_equal(together.position[3], begin().position[0])


def test_an_interrupted_turtlebot_is_nowhere_and_cannot_deliver():
    world = begin()
    play(world, OPTIMUM, 12)  # the first one carries a tool, on its way for two seconds
    world.interrupt(np.array([[True, False, True]]))
    assert world.observation[T0][0, :4].tolist() == [0, 0, 0, 1] and world.observation[T0][0, 8] == 1
    step = world.step(np.array([[GO_TO_WORK, IDLE, WAIT]]), ONE)
    assert step.reward[0] == -1.0 and not step.done[0, T0] and step.done[0, FETCH]


def test_low_level_actions():
    worlds = ToolDeliveryWorlds().primitives()
    assert worlds.spaces().sizes == (5, 5, 6)
    world = worlds.make(1)
    world.reset(ONE, [0])
    east, west, south = 1, 2, 4
    steps = []
    for _ in range(60):
        x, y = world.position[0, T0]
        carries = world.basket[0, T0].any()
        move = (
            (east if x < 5.7 else south if y > 3.4 else 3 if y < 2.6 else 0)
            if carries
            else (west if x > 1.1 else 3 if y < 2.6 else 0)
        )
        fetch = SEARCH if not world.found[0, 0] else PASS if not carries else WAIT
        steps.append(world.step(np.array([[move, 0, fetch]]), ONE))
        if steps[-1].reward[0] > 0:
            break
    assert steps[-1].reward[0] == 99.0 and len(steps) < 40 and all(step.done.all() for step in steps)
