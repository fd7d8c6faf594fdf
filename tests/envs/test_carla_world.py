"""Driving, on a stand-in for the simulator: what is seen, what is rewarded, what is asked of the server."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from visagent.config.composition import compose_run, config_folder
from visagent.envs import carla_simulator
from visagent.envs.carla_world import WEATHERS, CarlaWorld, CarlaWorlds, Moment, reward
from visagent.errors import ConfigError
from visagent.runtime.building import make

WORLDS = CarlaWorlds(pixels=8, max_steps=20, action_repeat=8, frame_stack=2)


class StandIn:
    """A straight road along x, on which thrust is acceleration; whoever steers hits something."""

    def __init__(self) -> None:
        self.told, self.begun, self.closed = [], [], False

    def moment(self, impulse=0.0):
        pictures = [np.full((8, 8, 3), 10 * number + len(self.told), np.uint8) for number in range(5)]
        return Moment(pictures, np.array([self.speed, 0.3, 0.0]), np.array([1.0, 0.0, 0.0]), impulse)

    def begin(self, weather, seed):
        self.begun.append((weather, seed))
        self.speed, self.told = 0.0, []
        return self.moment()

    def tick(self, thrust, steer):
        self.told.append((thrust, steer))
        self.speed += thrust
        return self.moment(1000.0 * abs(steer))

    def close(self):
        self.closed = True


@pytest.fixture
def stand_in():
    return StandIn()


@pytest.fixture
def world(stand_in):
    return CarlaWorld(WORLDS, stand_in)


def test_five_cameras_are_a_panorama(world):
    seen = world.reset(0)["pixels"]
    assert seen.shape == (6, 8, 40) and world.spaces.observation == {"pixels": (6, 8, 40)}
    assert [seen[-1, 0, 8 * number] for number in range(5)] == [0, 10, 20, 30, 40]
    assert CarlaWorlds().spaces().observation == {"pixels": (9, 84, 420)}


def test_the_reward_by_hand():
    """Equation 5.4: 16 m/s along the road are 0.8 m in a tick; 500 N s cost 0.05; steering 0.2 as much."""
    moment = Moment([], np.array([12.0, 16.0, 0.0]), np.array([0.0, 1.0, 0.0]), 500.0)
    assert reward(moment, -0.2) == pytest.approx(0.8 - 0.05 - 0.2)


def test_an_action_is_eight_ticks_and_their_rewards_add_up(world, stand_in):
    world.reset(0)
    _, total, terminated, truncated = world.step(np.array([0.5, 0.0]))
    assert stand_in.told == [(0.5, 0.0)] * 8
    assert total == pytest.approx(sum(0.5 * tick * 0.05 for tick in range(1, 9)))
    assert not terminated and not truncated and world.fps == pytest.approx(2.5)
    _, total, *_ = world.step(np.array([0.0, 7.0]))  # cut at 1
    assert stand_in.told[-1] == (0.0, 1.0) and total == pytest.approx(8 * (4.0 * 0.05 - 0.1 - 1.0))
    assert world.step(np.zeros(2))[2:] == (False, True)  # after 20 ticks, four in the last action
    assert len(stand_in.told) == 20


def test_weathers_are_carlas_and_an_episode_follows_from_its_seed(stand_in):
    for look, weather in WEATHERS.items():
        world = CarlaWorld(replace(WORLDS, look=look), stand_in)
        world.reset(5)
        assert stand_in.begun[-1][0] == weather
    seeds = {seed for _, seed in stand_in.begun}
    assert len(seeds) == 1
    world.reset(None)
    assert stand_in.begun[-1][1] not in seeds
    world.close()
    assert stand_in.closed


def test_without_the_simulator_it_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "carla", None)
    with pytest.raises(ConfigError, match=r"env=carla: CARLA's Python package cannot be imported .* pip install carla"):
        WORLDS.make()


def test_without_a_server_it_says_so(monkeypatch):
    class Client:
        def __init__(self, host, port):
            self.told = host, port

        def set_timeout(self, seconds):
            pass

        def load_world(self, town):
            raise RuntimeError("time-out of 20000ms while waiting for the simulator")

    monkeypatch.setitem(sys.modules, "carla", SimpleNamespace(Client=Client))
    with pytest.raises(ConfigError, match=r"expected a CARLA server at 127.0.0.1:2000, got none .* \(time-out"):
        WORLDS.make()


def test_pictures_come_from_bgra():
    simulator = carla_simulator.CarlaSimulator.__new__(carla_simulator.CarlaSimulator)
    simulator.side = 2
    raw = np.arange(16, dtype=np.uint8).reshape(2, 2, 4)
    picture = simulator._picture(SimpleNamespace(raw_data=raw.tobytes()))
    assert picture.tolist() == raw[..., [2, 1, 0]].tolist()


def test_looks_that_are_none_and_the_config():
    with pytest.raises(ConfigError, match=r"env=carla: expected one of train, wet_sunset, .*, got 'fog'"):
        replace(WORLDS, look="fog")
    with config_folder():
        config = compose_run(["env=carla", "experiment=ddpg/pendulum"])
    assert make("env", config["datamodule"]["env"]) == CarlaWorlds()
