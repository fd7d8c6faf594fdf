"""Demonstrations: scripts that succeed, states that are gone back to, episodes that begin from them while training
alone.
"""

from __future__ import annotations

from importlib.util import find_spec

import h5py
import numpy as np
import pytest

from visagent.envs.demonstrations import Curriculum, Demonstration, load, save
from visagent.envs.robosuite_world import RobosuiteWorlds
from visagent.envs.scripted import script
from visagent.errors import UserError

robosuite = pytest.mark.skipif(find_spec("robosuite") is None, reason="robosuite is not installed")
SETTINGS = {
    "robot": None, "observe": ["proprioception", "objects"], "pixels": 0, "camera": "agentview",
    "render_quality": "fast", "max_steps": 200,
    "control_hz": 10.0, "max_velocity": 1.0, "reward_shaping": True, "action_repeat": 1, "frame_stack": 1,
}  # fmt: skip
UNIFORM = {
    "demonstrations": "scripted",
    "probability": 1.0,
    "uniform": 1.0,
    "forward": 0.0,
    "reverse": 0.0,
    "window": 5,
    "growth": 10,
}


def made_up(count=2, steps=40, size=7):
    return [
        Demonstration(np.arange(steps + 1.0)[:, None] + 100 * number + np.zeros(size), np.zeros((steps, 3)))
        for number in range(count)
    ]


def test_a_file_says_what_was_written_and_what_is_wrong_with_it(tmp_path):
    path = tmp_path / "demos" / "x.hdf5"
    save(path, made_up(12), "Lift", "Sawyer")
    found = load(path, 7, "FILE")
    # demo_10 after demo_9
    assert [demonstration.states[0, 0] for demonstration in found] == [100 * number for number in range(12)]
    assert found[3].states.shape == (41, 7) and found[3].actions.shape == (40, 3)
    with pytest.raises(
        UserError, match=r"FILE: expected states \[T, 9\] of this task and robot, got \[41, 7\] in demonstration 1"
    ):
        load(path, 9, "FILE")
    save(path, [], "Lift", "Sawyer")
    with pytest.raises(UserError, match="expected demonstrations, got none; type visagent-demos script TASK"):
        load(path, 7, "FILE")
    path.write_text("no")
    with pytest.raises(UserError, match="expected HDF5 with data/demo_1/states"):
        load(path, 7, "FILE")


def test_files_of_other_programs_are_read_or_named(tmp_path):
    def written(name, **content):
        path = tmp_path / f"{name}.hdf5"
        with h5py.File(path, "w") as file:
            for place, value in content.items():
                file[place.replace("__", "/")] = value
        return path

    states = np.zeros((3, 7))
    beside = written(
        "beside",
        data__demo_1__states=states,
        data__demo_1__actions=np.zeros((2, 7)),
        data__info=np.zeros(3),
        mask=np.zeros(1),
    )
    assert len(load(beside, 7, "FILE")) == 1  # notes beside the demonstrations are none
    wrong = {
        "array": {"data": states},
        "group": {"data__demo_1__states__x": states, "data__demo_1__actions": states},
        "nan": {"data__demo_1__states": states * np.nan, "data__demo_1__actions": states},
        "text": {"data__demo_1__states": np.full((3, 7), b"x"), "data__demo_1__actions": states},
        "flat": {"data__demo_1__states": np.zeros(7), "data__demo_1__actions": states},
        "none": {"data__demo_1__states": np.zeros((0, 7)), "data__demo_1__actions": states},
    }
    for name, content in wrong.items():
        with pytest.raises(UserError, match="FILE: expected"):
            load(written(name, **content), 7, "FILE")


@pytest.mark.parametrize(
    ("ratios", "epoch", "lowest", "highest"),
    [
        ((1, 0, 0), 0, 0, 40),
        ((0, 1, 0), 0, 0, 4),
        ((0, 1, 0), 2, 0, 24),
        ((0, 0, 1), 0, 36, 40),
        ((0, 0, 1), 1, 26, 40),
        ((0, 0, 1), 9, 0, 40),
    ],
)
def test_schemes(ratios, epoch, lowest, highest):
    curriculum = Curriculum(
        **{
            **UNIFORM,
            "probability": 0.8,
            **dict(zip(("uniform", "forward", "reverse"), map(float, ratios), strict=True)),
        },
        cache="",
    )
    rng = np.random.default_rng(0)
    drawn = [curriculum.choose(made_up(), epoch, rng) for _ in range(3000)]
    numbers = [choice[1] for choice in drawn if choice is not None]
    assert len(numbers) / 3000 == pytest.approx(0.8, abs=0.03)
    assert min(numbers) == lowest and max(numbers) == highest
    shares = np.bincount(numbers, minlength=41)[lowest : highest + 1] / len(numbers)
    assert shares == pytest.approx(1 / (highest - lowest + 1), abs=0.03)
    assert {choice[0].states[0, 0] for choice in drawn if choice is not None} == {0.0, 100.0}


@robosuite
@pytest.mark.parametrize("task", ["Lift", "Stack"])
def test_a_script_does_its_task(task):
    world = RobosuiteWorlds(task=task, **SETTINGS).make()
    (demonstration,) = script(world, 1, 3)
    assert world.success and 20 < len(demonstration.actions) < 100 and np.abs(demonstration.actions).max() <= 1.0
    world.reset(4)
    assert not world.success
    # From a state in the middle its own actions go where they went, what is held stays held.
    middle = len(demonstration.actions) // 2
    world.restore(demonstration, middle)
    np.testing.assert_allclose(world.state(), demonstration.states[middle], atol=1e-12)
    for action in demonstration.actions[middle:]:
        world.step(action)
    np.testing.assert_allclose(world.state()[1:8], demonstration.states[-1, 1:8], atol=0.02)
    assert world.success
    world.close()


@robosuite
def test_a_task_without_a_script_says_what_to_do():
    world = RobosuiteWorlds(task="PickPlace", **SETTINGS).make()
    with pytest.raises(UserError, match=r"no script for PickPlace; expected Lift or Stack.*visagent-demos record RUN"):
        next(script(world, 1, 0))
    world.close()


@robosuite
def test_training_begins_from_demonstrations_and_evaluating_does_not(tmp_path):
    plain = RobosuiteWorlds(task="Lift", **SETTINGS)
    world = plain.make()
    demonstrations = list(script(world, 2, 0))
    save(tmp_path / "lift.hdf5", demonstrations, "Lift", "Sawyer")
    begins = [world.reset(seed)["state"] for seed in range(4)]
    made = RobosuiteWorlds(
        task="Lift",
        **SETTINGS,
        curriculum=Curriculum(**{**UNIFORM, "demonstrations": str(tmp_path / "lift.hdf5")}, cache=""),
    )
    trained = made.make()
    assert all(np.array_equal(trained.reset(seed)["state"], begin) for seed, begin in enumerate(begins))
    known = np.concatenate([demonstration.states for demonstration in demonstrations])
    trained.epoch = 0
    for seed in range(8):
        first = trained.reset(seed)["state"]
        assert np.abs(known - trained.state()).max(axis=1).min() < 1e-9
        assert np.array_equal(trained.reset(seed)["state"], first)
    trained.close()
    world.close()


@robosuite
def test_scripted_demonstrations_are_made_once(tmp_path, monkeypatch):
    monkeypatch.setattr("visagent.envs.robosuite_world.SCRIPTED", 2)
    made = RobosuiteWorlds(
        task="Lift", **{**SETTINGS, "max_steps": 10}, curriculum=Curriculum(**UNIFORM, cache=str(tmp_path))
    )
    made.make().close()
    (path,) = tmp_path.iterdir()
    with h5py.File(path) as file:
        assert len(file["data"]) == 2 and file["data"].attrs["env"] == "Lift"
    monkeypatch.setattr("visagent.envs.scripted.script", None)  # not called again
    made.make().close()
