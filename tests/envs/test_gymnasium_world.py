"""gymnasium environments as worlds, and worlds in step."""

from __future__ import annotations

import os
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from visagent.envs.episodes import Episodes
from visagent.envs.gymnasium_world import GymnasiumWorlds
from visagent.errors import ConfigError
from visagent.testing.worlds import CountingWorlds


def test_actions_fill_the_environments_range():
    world, env = GymnasiumWorlds("Pendulum-v1").make(), gymnasium.make("Pendulum-v1")
    assert world.spaces.action.kind == "continuous" and world.spaces.observation == {"state": (3,)}
    assert np.array_equal(world.reset(3)["state"], env.reset(seed=3)[0])
    for ours, theirs in ((0.5, 1.0), (-1.0, -2.0), (7.0, 2.0)):
        observation, reward, terminated, truncated = world.step(np.array([ours], np.float32))
        expected = env.step(np.array([theirs], np.float32))
        np.testing.assert_allclose(observation["state"], expected[0], rtol=1e-5)
        assert reward == pytest.approx(expected[1]) and (terminated, truncated) == (False, False)


def test_repeated_actions_add_up_and_stop_at_the_end():
    env, world = gymnasium.make("CartPole-v1"), GymnasiumWorlds("CartPole-v1", action_repeat=4, frame_stack=3).make()
    first, _ = env.reset(seed=0)
    assert np.array_equal(world.reset(0)["state"], np.tile(first, 3))
    total, steps, over = 0.0, 0, False
    while not over:
        observation, reward, over, _ = world.step(np.array(1))
        total, steps = total + reward, steps + 1
    for _ in range(int(total)):
        last, _, ended, _, _ = env.step(1)
    assert (
        ended
        and np.array_equal(observation["state"][-4:], last)
        and total < 4 * steps + 1
        and steps == -(-int(total) // 4)
    )


def test_a_time_limit_truncates():
    world = GymnasiumWorlds("Pendulum-v1", max_steps=5).make()
    world.reset(0)
    ends = [world.step(np.zeros(1))[2:] for _ in range(5)]
    assert ends[:4] == [(False, False)] * 4 and ends[4] == (False, True)


@pytest.mark.rendering
def test_a_world_in_mujoco_leaves_headless_rendering_possible():
    """mujoco chooses its OpenGL when it is imported first: here by gymnasium."""
    code = (
        "from visagent.envs.gymnasium_world import GymnasiumWorlds as W; W('Swimmer-v5').make(); from "
        "visagent.scenes.render import probe; print(probe())"
    )
    environment = {
        key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY")
    }
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert printed.stdout.strip() in ("egl", "osmesa"), printed.stderr


def test_what_cannot_be_a_world_is_refused():
    with pytest.raises(ConfigError, match=r"datamodule\.env\.id=CartPoll-v1: gymnasium cannot make it"):
        GymnasiumWorlds("CartPoll-v1").make()


def test_episodes_begin_again_at_once_and_keep_the_final_observation():
    episodes = Episodes(CountingWorlds(3, truncates=True), 2)
    episodes.reset([0, 1])
    reward, terminated, truncated = np.zeros(2), np.zeros(2, bool), np.zeros(2, bool)
    ends = [episodes.step(np.array([1, 0]), reward, terminated, truncated) for _ in range(3)]
    assert ends[:2] == [[], []] and truncated.all() and not terminated.any()
    assert [(end.index, end.total_reward, end.steps, end.truncated) for end in ends[2]] == [
        (0, 3.0, 3, True),
        (1, 0.0, 3, True),
    ]
    assert ends[2][0].final_observation["state"] == 3 and episodes.observation["state"].tolist() == [[0.0], [0.0]]


@pytest.mark.rendering
def test_rendered_pictures_as_observations():
    world = GymnasiumWorlds("CartPole-v1", observe="both", pixels=40, frame_stack=2).make()
    assert world.spaces.observation == {"state": (8,), "pixels": (6, 40, 40)}
    first = world.reset(1)
    then = world.step(np.array(1))[0]
    assert np.array_equal(then["pixels"][:3], first["pixels"][3:]) and np.array_equal(
        then["state"][:4], first["state"][4:]
    )
    for _ in range(5):
        later = world.step(np.array(1))[0]
    assert first["pixels"].dtype == np.uint8 and not np.array_equal(later["pixels"][3:], first["pixels"][3:])
    assert world.fps == 50 and world.picture().shape == (400, 600, 3)
