"""Rooms with a lamp: how the robot moves, what it is rewarded for, which rooms there are."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from visagent.config.composition import compose_run, config_folder
from visagent.envs.rooms_world import IN_A_ROW, LOOKS, SPEED, RoomsWorlds, blocked, places
from visagent.errors import ConfigError
from visagent.runtime.building import make

WORLDS = RoomsWorlds(pixels=48, max_steps=40, frame_stack=2)


@pytest.fixture(scope="module")
def world():
    made = WORLDS.make()
    yield made
    made.close()


def lamp(world):
    return world.renderer.model.geom("lamp").pos[:2]


def face(world, distance):
    """Stand so far from the lamp, on a free place, and look at it."""
    x, z = lamp(world)
    for angle in range(0, 360, 10):
        way = math.radians(angle)
        there = x + distance * math.sin(way), z + distance * math.cos(way)
        if not blocked(world.room, *there):
            world.x, world.z, world.heading = *there, (angle + 180.0) % 360
            return
    pytest.skip("nothing is free around the lamp")


def test_the_lamps_share_is_the_reward_and_ten_steps_near_it_are_success(world):
    world.reset(0)
    face(world, 3.0)
    far = world.step(np.zeros(2))[1]
    face(world, 1.2)
    near = world.step(np.zeros(2))[1]
    assert 0 < far < 0.02 and near > 0.05 and world.success is False
    for number in range(2, IN_A_ROW + 1):
        assert world.success is False
        _, _, terminated, _ = world.step(np.zeros(2))
        assert not terminated, number
    assert world.success is True
    world.heading += 180.0
    assert world.step(np.zeros(2))[1] == 0.0 and world.success is True  # it was done


def test_a_share_is_that_of_the_globes_outline(world):
    """From a distance d a globe of radius r covers a disc of tan(asin(r / d)) at distance 1."""
    world.reset(0)
    face(world, 1.5)
    world.renderer.frame(world.x, world.z, world.heading, 1.4, 0.0)  # at its height
    radius = math.tan(math.asin(0.25 / 1.5)) / (2 * math.tan(math.radians(36.0)))
    assert world.renderer.share_of_lamp() == pytest.approx(math.pi * radius**2, rel=0.12)  # drawn with twelve corners


def test_it_moves_as_it_is_told_and_stops_at_walls(world):
    world.reset(0)
    world.heading = 90.0
    before = world.x
    world.step(np.array([1.0, 0.0]))
    assert world.x in (before, pytest.approx(before + SPEED / 10))
    world.step(np.array([0.0, 1.0]))
    assert world.heading == 99.0
    world.step(np.array([0.0, -7.0]))  # cut at -1
    assert world.heading == 90.0
    for _ in range(400):
        world._move(0.05, 0.03)
    assert not blocked(world.room, world.x, world.z)
    assert blocked(world.room, 0.1, 1.0) and blocked(world.room, world.room.width, world.room.depth)
    piece = next(each for each in world.room.placed if not each.piece.flat and each.piece.bottom == 0)
    left, near, right, far = piece.footprint()
    assert blocked(world.room, (left + right) / 2, (near + far) / 2)


def test_a_seed_is_an_episode(world):
    def episode(seed):
        seen = [world.reset(seed)["pixels"]]
        for action in np.random.default_rng(1).uniform(-1, 1, (3, 2)):
            observation, reward, _, _ = world.step(action)
            seen += [observation["pixels"], np.full(1, reward)]
        return seen

    one, other, again = episode(5), episode(6), episode(5)
    assert all(np.array_equal(*both) for both in zip(one, again, strict=True))
    assert not np.array_equal(one[0], other[0]) and one[0].shape == (6, 48, 48)


def test_the_time_limit_is_no_end(world):
    world.reset(0)
    ends = [world.step(np.zeros(2))[2:] for _ in range(40)]
    assert ends[-1] == (False, True) and set(ends[:-1]) == {(False, False)}


def test_rooms_of_tests_are_others_than_the_trainings():
    assert [len(places(look)) for look in LOOKS] == [1, 10, 10, 10]
    (trained,) = places("train")
    easy, hard = places("easy"), places("hard")
    assert len({*easy, *hard, trained}) == 21 and not any(place.grey for place in [*easy, *hard])
    assert all(place.kind == trained.kind for place in easy) and all(place.kind != trained.kind for place in hard)
    assert {(place.layout, place.grey) for place in places("narrow")} == {(trained.layout, True)}
    assert len({place.style for place in places("narrow")}) == 10


def test_an_episodes_room_follows_from_its_seed_and_lamps_have_other_colours():
    worlds = replace(WORLDS, look="easy")
    world = worlds.make()
    rooms, colours = [], []
    for seed in (3, 4, 13):
        world.reset(seed)
        rooms.append((world.room.width, world.room.depth, len(world.room.placed)))
        face(world, 1.0)
        picture = world._frame()["pixels"]
        colours.append(picture[:, 10:20, 20:28].mean(axis=(1, 2)))
    world.close()
    assert rooms[0] == rooms[2] != rooms[1]
    assert np.abs(colours[0] - colours[1]).max() > 10


def test_looks_that_are_none():
    with pytest.raises(ConfigError, match="env=rooms: expected one of train, narrow, easy, hard, got 'night'"):
        replace(WORLDS, look="night")
    with config_folder():
        config = compose_run(["env=rooms", "experiment=ddpg/pendulum"])
    assert make("env", config["datamodule"]["env"]) == RoomsWorlds()
