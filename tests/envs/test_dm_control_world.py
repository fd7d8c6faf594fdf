"""The Control Suite's tasks: seeds, time limits, observations, pictures, messages."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest

from visagent.envs.dm_control_world import DMControlWorlds
from visagent.errors import ConfigError

if find_spec("dm_control") is None:  # not imported here: the first import of mujoco chooses its OpenGL
    pytest.skip("dm_control is not installed", allow_module_level=True)
TASKS = {
    ("cheetah", "run"): (17, 6), ("ball_in_cup", "catch"): (8, 2), ("cartpole", "swingup"): (5, 1),
    ("cartpole", "balance"): (5, 1), ("walker", "walk"): (24, 6), ("walker", "stand"): (24, 6),
    ("finger", "spin"): (9, 2), ("reacher", "easy"): (6, 2),
}  # fmt: skip


@pytest.mark.parametrize(("domain", "task"), TASKS)
def test_a_seed_is_an_episode_in_every_task(domain, task):
    world = DMControlWorlds(domain, task, action_repeat=4, max_steps=10).make()
    state, size = TASKS[domain, task]
    assert world.spaces.observation == {"state": (state,)} and world.spaces.action.size == size
    actions = np.random.default_rng(0).uniform(-1, 1, (3, size))
    episodes = []
    for seed in (5, 2**40 + 6, 5):
        seen = [world.reset(seed)["state"]]
        for number, action in enumerate(actions):
            observation, reward, terminated, truncated = world.step(action)
            seen += [observation["state"], np.array([reward])]
            assert not terminated and truncated == (number == 2)
        episodes.append(np.concatenate(seen))
    world.close()
    assert np.isfinite(episodes[0]).all()
    assert np.array_equal(episodes[0], episodes[2]) and not np.array_equal(episodes[0], episodes[1])


def test_the_suites_own_episode_is_that_of_a_world():
    """Rewards of 40 control steps, against the suite's environment driven by hand."""
    world = DMControlWorlds("cartpole", "swingup", action_repeat=8, max_steps=40).make()
    world.reset(3)
    mine = [world.step(np.array([action]))[1] for action in (1.0, -0.5, 0.0, 2.0, 0.3)]
    world.close()
    from dm_control import suite

    env = suite.load("cartpole", "swingup", task_kwargs={"random": 3})
    env.reset()
    theirs = [sum(env.step([action]).reward for _ in range(8)) for action in (1.0, -0.5, 0.0, 1.0, 0.3)]
    env.close()
    np.testing.assert_allclose(mine, theirs, rtol=1e-12)


@pytest.mark.rendering
def test_pictures_show_the_task():
    plain = DMControlWorlds("cartpole", "swingup", observe="both", pixels=48, frame_stack=3, action_repeat=8)
    world, reference = plain.make(), DMControlWorlds(
        "cartpole", "swingup", observe="pixels", pixels=48, render_quality="reference"
    ).make()  # fmt: skip
    seen = world.reset(0)
    assert {name: (part.shape, part.dtype) for name, part in seen.items()} == {
        "state": ((15,), np.float32),
        "pixels": ((9, 48, 48), np.uint8),
    }
    assert world.spaces.frame == {"state": (5,), "pixels": (3, 48, 48)} and world.fps == pytest.approx(12.5)
    first = seen["pixels"][:3]
    assert np.array_equal(first, seen["pixels"][6:])  # the first stands for those before it
    later = world.step(np.array([1.0]))[0]["pixels"]
    assert np.array_equal(later[3:6], first) and not np.array_equal(later[6:], first)
    pole = np.abs(first.astype(int) - np.array([178, 127, 76])[:, None, None]).max(axis=0) < 60  # the colour `self`
    assert 20 < pole.sum() < 400  # the cart and the pole, which is thinner than two pixels
    other = reference.reset(0)["pixels"]
    assert other.shape == (3, 48, 48) and 0 < np.abs(other.astype(int) - first).mean() < 20
    assert world.picture().shape == (240, 240, 3) and world.drawing > 0
    world.close(), reference.close()


def test_unknown_tasks_and_cameras():
    with pytest.raises(ConfigError, match=r"domain=cartpole datamodule\.env\.task=fly: expected a domain and a task"):
        DMControlWorlds("cartpole", "fly").make()
    with pytest.raises(ConfigError, match="camera: expected a camera of cartpole, 0 to 1, got 2"):
        DMControlWorlds("cartpole", "swingup", observe="pixels", camera=2).make()
