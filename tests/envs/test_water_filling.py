"""Water Filling: leaks, reach, speeds, what the robots know."""

from __future__ import annotations

import numpy as np
import pytest

from visagent.envs.option_worlds import IDLE
from visagent.envs.water_filling import DRONE, JARS, VEHICLE, WaterFillingWorlds, distances, grid
from visagent.errors import ConfigError

ONE = np.ones(1, bool)
STAY = np.full((1, 2), IDLE)


def begin(count=1, seed=0, **settings):
    world = WaterFillingWorlds(**settings).make(count)
    world.reset(np.ones(count, bool), range(seed, seed + count))
    return world


def order(vehicle=IDLE, drone=IDLE):
    return np.array([[vehicle, drone]])


def test_leaks():
    """A drop every 10.5 steps on average, of 0.162; 0.0155 a step."""
    world = begin(200, horizon=10**6)
    stay, everywhere, drops, lost = np.full((200, 2), IDLE), np.ones(200, bool), 0, 0.0
    for _ in range(600):
        world.level[:] = 1.0
        world.step(stay, everywhere)
        drops += int((world.level < 1).sum())
        lost += float((1 - world.level).sum())
    per_step = 200 * 3 * 600
    assert per_step / drops == pytest.approx(10.5, rel=0.03) and lost / drops == pytest.approx(0.162, rel=0.03)
    assert lost / per_step == pytest.approx(0.0155, rel=0.05)


def test_rewards_of_full_and_empty_jars():
    world = begin()
    world.countdown[:] = 100
    assert float(world.step(STAY, ONE).reward[0]) == pytest.approx(0.003, abs=1e-5)
    world.level[0, 1] = 0.0
    assert float(world.step(STAY, ONE).reward[0]) == pytest.approx(-999 + 0.002, abs=1e-3)


def test_lengths_of_the_ways_between_jars():
    places = grid(True)
    neighbours = [[int(other) for other in row if other != index] for index, row in enumerate(places.moves)]
    goals = [int(np.flatnonzero(row)[0]) for row in places.arrived]
    assert [distances(neighbours, goals[a])[goals[b]] for a, b in ((0, 1), (1, 2), (0, 2))] == [19, 30, 43]


def test_speeds_and_where_a_way_ends():
    """The vehicle moves one cell a step, the drone four; the way ends within a metre of the jar."""
    world, places = begin(), grid(True)
    jar = 2
    before = world.place.copy()
    world.step(order(jar, jar), ONE)
    for robot, cells in ((VEHICLE, 1), (DRONE, 4)):
        moved = np.abs(places.position[world.place[0, robot]] - places.position[before[0, robot]]).sum() / 0.25
        assert moved == pytest.approx(cells)
    steps = 1
    while not (step := world.step(order(jar, jar), ONE)).done[0, DRONE]:
        steps += 1
    assert not step.done[0, VEHICLE]  # it is not there itself
    near = np.linalg.norm(places.position[world.place[0, DRONE]] - places.jars[jar])
    assert near <= 1.0 and steps < 15


def test_only_the_vehicle_fills_and_only_the_jar_that_it_goes_to():
    world = begin()
    world.countdown[:] = 10**6
    world.level[:] = 0.5
    for _ in range(40):
        world.step(order(drone=0), ONE)
    assert world.level[0].tolist() == [0.5] * 3 and world.known[0, 0] == 0.5 and world.age[0, 0] == 0.0
    step = None
    while step is None or not step.done[0, VEHICLE]:
        step = world.step(order(vehicle=0), ONE)
    # the others were never looked at
    assert world.level[0].tolist() == [1.0, 0.5, 0.5] and world.known[0].tolist() == [1.0, 1.0, 1.0]


def test_levels_are_known_to_both_and_grow_old():
    world = begin()
    world.countdown[:] = 10**6
    for _ in range(10):
        world.step(STAY, ONE)
    seen = [part[0] for part in world.observation]
    assert np.array_equal(seen[0], seen[1]) and len(seen[0]) == 8  # both are where they began
    assert world.age[0].max() == pytest.approx(10 / 200) and seen[0][5:] == pytest.approx(world.age[0])


def test_the_state_has_what_nobody_sees():
    world = begin()
    world.level[0], world.countdown[0] = (0.5, 0.25, 1.0), (7, 14, 0)
    assert world.state.shape == (1, world.factory.spaces().state)
    assert world.state[0, :6].tolist() == [0.5, 0.25, 1.0, 0.5, 1.0, 0.0] and np.allclose(
        world.state[0, 6:], world.drop[0]
    )


def test_moves_last_a_step_and_stop_at_walls():
    world = begin()
    for _ in range(40):
        step = world.step(order(len(JARS), len(JARS) + 1), ONE)  # east, west
        assert step.done.all()
    x = grid(True).position[world.place[0], 0]
    assert x[VEHICLE] == pytest.approx(4.0) and x[DRONE] == pytest.approx(0.5)  # a wall at 4.25, the edge of the map
    assert not world.step(order(0, IDLE), ONE).done[0, DRONE]


def test_low_level_actions_fill_by_themselves():
    world = WaterFillingWorlds().primitives().make(1)
    world.reset(ONE, [0])
    world.countdown[:] = 10**6
    world.level[:] = 0.5
    places = grid(True)
    for _ in range(40):
        place = int(world.place[0, VEHICLE])
        move = (
            1 + int(np.flatnonzero(places.moves[place] == places.towards[0, place])[0])
            if not places.arrived[0, place]
            else 0
        )
        step = world.step(np.array([[move, 0]]), ONE)
        assert step.done.all()
    assert world.level[0].tolist() == [1.0, 0.5, 0.5]


def test_the_horizon_truncates_and_episodes_are_their_seeds():
    first, again, other = begin(1, 3, horizon=30), begin(1, 3, horizon=30), begin(1, 4, horizon=30)
    totals = []
    for world in (first, again, other):
        total = 0.0
        for second in range(1, 31):
            step = world.step(order(second % 7, second % 5), ONE)
            total += float(step.reward[0])
            assert bool(step.truncated[0]) == (second == 30) and not step.terminated[0]
        totals.append(total)
    assert totals[0] == totals[1] != totals[2]


TURNS = np.array([0, 1, 2, 1])


@pytest.mark.parametrize(
    ("walls", "options", "steps", "reward"),
    [
        (True, 7, 420, -718),
        (False, 7, 312, -369),
        (True, 3, 755, -704),
        (True, None, 892, -386),
        (False, None, 567, -117),
    ],
)
def test_200_decisions(walls, options, steps, reward):
    """Low-level steps and their mean reward: uniform options, ways to jars alone, jars in turn (means of a reference
    prototype over 20 episodes).
    """
    count, rng = 60, np.random.default_rng(0)
    world = begin(count, walls=walls, horizon=10**6)
    running, done = np.zeros((count, 2), np.int64), np.ones((count, 2), bool)
    active, decisions, taken = np.ones(count, bool), np.zeros(count, np.int64), np.zeros((count, 2), np.int64)
    total = 0.0
    while active.any():
        due = done.any(axis=1) & active
        active &= ~(due & (decisions >= 200))
        decisions += due
        chosen = TURNS[taken % 4] if options is None else rng.integers(0, options, (count, 2))
        begins = done & active[:, None]
        running, taken = np.where(begins, chosen, running), taken + begins
        step = world.step(running, active)
        done = np.where(active[:, None], step.done, done)
        total += float(step.reward.sum())
    assert world.steps.mean() == pytest.approx(steps, rel=0.05) and total / world.steps.sum() == pytest.approx(
        reward, rel=0.2
    )


def test_a_room_that_was_rendered(dumps):
    world = begin(observation="rgb", scene=str(dumps / "kitchen_01.h5"))
    places = world.places
    assert world.observation[0].shape == (1, 2048 + 6) and np.array_equal(
        world.observation[0][0, :-6], places.features[world.place[0, 0]]
    )
    for jar in range(3):
        steps = 0
        while not world.step(order(jar, jar), ONE).done[0, VEHICLE]:
            steps += 1
            assert steps < 60
        assert places.within[jar, world.place[0, VEHICLE]] and world.level[0, jar] == 1.0
    assert world.picture(0).shape[2] == 3


def test_a_room_that_is_not_known():
    with pytest.raises(ConfigError, match=r"unknown embedded scene 'attic_01': expected ROOM_NN"):
        WaterFillingWorlds(observation="rgb", scene="attic_01").spaces()
