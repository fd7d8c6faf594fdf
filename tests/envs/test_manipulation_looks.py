"""SECANT's tasks of robosuite: hands are told how to move, and scenes change what is seen, nothing else."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from visagent.config.composition import compose_run, config_folder
from visagent.envs.manipulation_looks import GRADES, LOOKS, SCENES, pattern
from visagent.errors import ConfigError
from visagent.runtime.building import make

if find_spec("robosuite") is None:  # not imported here: the first import of mujoco chooses its OpenGL
    pytest.skip("robosuite is not installed", allow_module_level=True)
ACTIONS = {"door_opening": 7, "nut_assembly_round": 7, "two_arm_lifting": 14, "two_arm_peg_in_hole": 12}
"""Dissertation Section 5.5.3."""


def worlds(task, *overrides):
    with config_folder():
        config = compose_run([f"env={task}", "experiment=ddpg/pendulum", "datamodule.env.pixels=48", *overrides])
    return make("env", config["datamodule"]["env"])


def episode(world, seed, steps=3):
    """Observations and rewards of an episode with actions of its own."""
    rng = np.random.default_rng(0)
    seen, rewards = [world.reset(seed)["pixels"]], []
    for _ in range(steps):
        observation, reward, _, _ = world.step(rng.uniform(-1, 1, world.spaces.action.size))
        seen.append(observation["pixels"])
        rewards.append(reward)
    return np.stack(seen), np.array(rewards), world.state()


@pytest.mark.parametrize("task", ACTIONS)
def test_the_four_tasks(task):
    world = worlds(task).make()
    assert world.spaces.action.size == ACTIONS[task]
    assert world.spaces.observation == {"pixels": (9, 48, 48)} and world.fps == 20.0
    first, other, again = (episode(world, seed) for seed in (3, 4, 3))
    world.close()
    assert all(np.array_equal(*both) for both in zip(first, again, strict=True))
    assert not np.array_equal(first[2], other[2]) and np.isfinite(first[1]).all()


def test_hands_go_where_they_are_told():
    world = worlds("nut_assembly_round").make()
    world.reset(0)

    def height():
        return world.env.sim.data._data.site("gripper0_right_grip_site").xpos[2]

    before = height()
    for _ in range(10):
        world.step(np.array([0, 0, 1, 0, 0, 0, 0]))
    above = height()
    for _ in range(10):
        world.step(np.zeros(7))
    assert above > before + 0.05 and abs(height() - above) < 0.03  # and hold against gravity
    world.close()


def test_a_scene_changes_what_is_seen_and_nothing_else():
    stock = worlds("two_arm_lifting")
    pictures, ends = {}, {}
    for look in LOOKS:
        world = replace(stock, look=look).make()
        world.reset(8)  # another scene before
        pictures[look], rewards, state = episode(world, 3)
        ends[look] = np.concatenate([rewards, state])
        world.close()
    assert all(np.array_equal(ends[look], ends["train"]) for look in LOOKS)
    from_stock = {look: np.abs(pictures[look].astype(int) - pictures["train"].astype(int)).mean() for look in GRADES}
    assert 1 < from_stock["narrow"] < from_stock["easy"] < from_stock["hard"] < from_stock["extreme"]


def test_a_grade_has_ten_scenes_and_an_episodes_follows_from_its_seed():
    world = replace(worlds("two_arm_peg_in_hole"), look="extreme").make()
    floors = {seed: world.reset(seed)["pixels"][-3:, -10:].copy() for seed in (0, 1, SCENES, 0)}
    world.close()
    same = np.abs(floors[0].astype(int) - floors[SCENES].astype(int)).mean()  # robots stand elsewhere
    other = np.abs(floors[0].astype(int) - floors[1].astype(int)).mean()
    assert same < 0.3 * other


def test_robots_keep_their_colours():
    world = replace(worlds("door_opening"), look="extreme").make()
    world.reset(0)
    model = world.env.sim.model._model
    robot = [
        number for number in range(model.ngeom) if model.body(model.geom_bodyid[number]).name.startswith("robot0_link")
    ]
    before = model.geom_rgba[robot].copy()
    world.reset(1)
    assert len(robot) > 5 and np.array_equal(model.geom_rgba[robot], before)
    world.close()


@pytest.mark.parametrize("vivid", [False, True])
def test_patterns_are_pictures(vivid):
    woven = [pattern(np.random.default_rng(seed), vivid) for seed in range(12)]
    assert all(one.shape == (128, 128, 3) and one.min() >= 0 and one.max() <= 1 for one in woven)
    plain = sum(len(np.unique(one.reshape(-1, 3), axis=0)) == 2 for one in woven)
    assert plain >= 4 if vivid else plain == 0  # checks and stripes have two colours


def test_what_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="env=robosuite: expected one of train, narrow, easy, hard, extreme"):
        replace(worlds("door_opening"), look="video_easy")
    with pytest.raises(ConfigError, match=r"look=easy: expected worlds that show pictures, got the state alone"):
        replace(worlds("door_opening"), look="easy", pixels=0)
    with pytest.raises(ConfigError, match="demonstrations are of joint velocities, got controller=osc_pose"):
        worlds("door_opening", "datamodule.env.curriculum.probability=0.5")
