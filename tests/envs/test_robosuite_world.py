"""robosuite's tasks under joint velocities: seeds, the servo, observations, pictures, messages."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from visagent.envs.robosuite_world import TASKS, RobosuiteWorlds
from visagent.errors import ConfigError

if find_spec("robosuite") is None:  # not imported here: the first import of mujoco chooses its OpenGL
    pytest.skip("robosuite is not installed", allow_module_level=True)
SETTINGS = {
    "task": "Lift", "robot": None, "observe": ["proprioception", "objects"], "pixels": 0, "camera": "agentview",
    "render_quality": "fast", "max_steps": 200,
    "control_hz": 10.0, "max_velocity": 1.0, "reward_shaping": True, "action_repeat": 1, "frame_stack": 1,
}  # fmt: skip


def worlds(**changed):
    return RobosuiteWorlds(**{**SETTINGS, **changed})


def joints(world):
    model, data = world.env.sim.model._model, world.env.sim.data._data
    chosen = [model.actuator_trnid[motor, 0] for _, motors, _, _ in world.arms for motor in motors]
    return data.qpos[model.jnt_qposadr[chosen]].copy(), data.qvel[model.jnt_dofadr[chosen]].copy()


@pytest.mark.parametrize("task", list(TASKS))
def test_a_seed_is_an_episode_in_every_task(task):
    world = worlds(task=task, max_steps=3).make()
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (3, world.spaces.action.size))
    episodes = []
    for seed in (5, 6, 5):
        found = [world.reset(seed)["state"]]
        for number, action in enumerate(actions):
            observation, reward, terminated, truncated = world.step(action)
            found += [observation["state"], np.array([reward])]
            assert not terminated and truncated == (number == 2)
        episodes.append(np.concatenate(found))
    world.close()
    arms = 2 if TASKS[task] == "Baxter" else 1
    assert world.spaces.action.size == arms * (7 if task == "TwoArmPegInHole" else 8)
    assert (
        np.isfinite(episodes[0]).all()
        and np.array_equal(episodes[0], episodes[2])
        and not np.array_equal(episodes[0], episodes[1])
    )


def test_joints_take_the_velocity_that_is_asked_for_and_hold_still_otherwise():
    """Within a tenth of a second, against gravity and the drag of the air; Sawyer's first joint is not held by its
    base.
    """
    world = worlds().make()
    world.reset(0)
    still = np.zeros(8)
    before = joints(world)[0]
    for _ in range(20):
        world.step(still)
    assert np.abs(joints(world)[0] - before).max() < 0.01
    for joint in range(7):
        world.reset(0)
        action = still.copy()
        action[joint] = -0.4
        for _ in range(3):
            world.step(action)
        velocity = joints(world)[1]
        assert velocity[joint] == pytest.approx(-0.4, rel=0.1) and np.abs(np.delete(velocity, joint)).max() < 0.05
    world.close()


def test_the_gripper_closes():
    world = worlds(observe=["robot0_gripper_qpos"]).make()
    closing = np.array([0.0] * 7 + [1.0])
    world.reset(0)
    for _ in range(15):
        shut = world.step(closing)[0]["state"]
    for _ in range(15):
        opened = world.step(-closing)[0]["state"]
    world.close()
    assert opened[0] - opened[1] > 0.015 > -0.015 > shut[0] - shut[1]


def test_the_time_limit_counts_control_steps():
    """As gymnasium's does: seven of them are two actions of three each, and one."""
    world = worlds(observe=["proprioception"], max_steps=7, action_repeat=3).make()
    world.reset(0)
    ends = [world.step(np.zeros(8))[3] for _ in range(3)]
    assert ends == [False, False, True] and world.env.timestep == 7
    world.close()


@pytest.mark.rendering
def test_pixels_and_states_stacked_and_repeated():
    made = worlds(pixels=84, observe=["proprioception"], frame_stack=3, action_repeat=2)
    world = made.make()
    assert world.spaces.observation == {"state": (3 * 25,), "pixels": (9, 84, 84)} and world.spaces.frames == 3
    first = world.reset(0)
    assert np.array_equal(first["pixels"][:3], first["pixels"][6:]) and first["pixels"].dtype == np.uint8
    action = np.array([0.0, 1.0, 0, 0, 0, 0, 0, 0])
    then = world.step(action)[0]
    assert np.array_equal(then["pixels"][3:6], first["pixels"][6:]) and not np.array_equal(
        then["pixels"][6:], first["pixels"][6:]
    )
    slow = worlds(observe=["proprioception"]).make()
    slow.reset(0)
    slow.step(action)
    np.testing.assert_allclose(slow.step(action)[0]["state"], then["state"][-25:], atol=1e-5)
    slow.close()
    world.close()
    pictures = {}
    for quality in ("fast", "reference"):
        drawn = worlds(pixels=84, render_quality=quality).make()
        pictures[quality] = drawn.reset(0)["pixels"].astype(int)
        drawn.close()
    apart = np.abs(pictures["fast"] - pictures["reference"])
    assert 0.2 < apart.mean() < 20 and pictures["fast"].std() > 20  # the same scene, drawn otherwise
    red = pictures["fast"][0] - pictures["fast"][1] > 60
    assert 10 < red.sum() < 400  # the cube


def test_what_robosuite_does_not_have_is_refused():
    for changed, message in (
        ({"task": "Lfit"}, r"datamodule\.env\.task: expected one of Lift, Stack.*got 'Lfit'"),
        ({"robot": "Sawyr"}, r"datamodule\.env\.robot: expected one of .*Sawyer.*got 'Sawyr'"),
        (
            {"observe": ["proprio"]},
            r"datamodule\.env\.observe: expected proprioception, objects or one of .*cube_pos.*got 'proprio'",
        ),
        ({"observe": []}, r"datamodule\.env\.observe: expected parts of the state .*got neither"),
    ):
        with pytest.raises(ConfigError, match=message):
            worlds(**changed).make()


@pytest.mark.rendering
def test_looks_that_nobody_sees_are_left_out_and_change_nothing():
    found = []
    for drawn in (False, True):
        world = worlds().make(drawn)
        states = [world.reset(3)["state"]]
        rng = np.random.default_rng(0)
        states += [world.step(rng.uniform(-1, 1, 8))[0]["state"] for _ in range(10)]
        found.append((np.array(states), world.env.sim.model._model.nmeshvert))
        if drawn:
            assert world.picture().std() > 20
        world.close()
    assert np.array_equal(found[0][0], found[1][0]) and found[0][1] == 0 < found[1][1]
