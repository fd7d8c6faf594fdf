"""The batched world against the rules of the dumps."""

from __future__ import annotations

import pytest
import torch

from visagent.envs.navigation import NavigationObservation, NavigationWorld, SceneTables
from visagent.errors import ConfigError

FORWARD, RIGHT, LEFT, BACK = range(4)


def test_tables_number_states_through_all_scenes(tables):
    first, second = tables.scenes
    assert tables.names == ("bathroom_01", "kitchen_01") and tables.count == len(first) + len(second)
    graph = tables.graph[len(first) :]
    assert ((graph == -1) | (graph >= len(first))).all()
    state, target = len(first) + 3, len(first) + 30
    assert int(tables.distance(torch.tensor([state]), torch.tensor([target]))) == second.distance[3, 30]
    assert int(tables.distance(torch.tensor([3]), torch.tensor([target]))) == -1  # another scene
    every = torch.arange(tables.count)
    column = tables.distance(every, torch.full_like(every, 7))
    assert column[: len(first)].tolist() == first.distance[:, 7].tolist() and (column[len(first) :] == -1).all()


def test_an_episode_by_hand(tables, device):
    """Turn right, walk forward onto the target: rewards, history, end."""
    scene = tables.scenes[0]
    start = next(
        s for s in range(len(scene)) if scene.graph[scene.graph[s, RIGHT], FORWARD] >= 0 and scene.graph[s, FORWARD] < 0
    )
    turned = int(scene.graph[start, RIGHT])
    target = int(scene.graph[turned, FORWARD])
    world = NavigationWorld(tables.to(device), max_steps=10)
    observation = world.reset(torch.tensor([start]), torch.tensor([target]))
    assert observation.history.tolist() == [[start] * 4] and observation.target.tolist() == [target]
    bump = world.step(torch.tensor([FORWARD], device=device))
    assert bump.collided.tolist() == [True] and bump.reward.tolist() == pytest.approx([-0.1])
    assert bump.observation.history.tolist() == [[start] * 4]
    turn = world.step(torch.tensor([RIGHT], device=device))
    assert turn.reward.tolist() == pytest.approx([-0.01]) and turn.observation.history.tolist() == [
        [start, start, start, turned]
    ]
    goal = world.step(torch.tensor([FORWARD], device=device))
    assert goal.terminated.tolist() == [True] and goal.truncated.tolist() == [False] and goal.reward.tolist() == [10.0]
    assert goal.observation.state.tolist() == [target]  # the final observation is delivered
    after = world.step(torch.tensor([FORWARD], device=device))
    assert after.observation.history.tolist() == goal.observation.history.tolist()
    assert not after.terminated.any() and after.reward.tolist() == [0.0] and world.steps.tolist() == [3]


def test_the_pose_must_match_exactly(tables):
    """Standing on the target's place with another heading is not the goal."""
    scene = tables.scenes[0]
    target = int(scene.graph[0, RIGHT])
    world = NavigationWorld(tables, 10)
    world.reset(torch.tensor([int(scene.graph[target, RIGHT])]), torch.tensor([target]))
    assert not world.finished.any()
    assert world.step(torch.tensor([LEFT])).terminated.all()


def test_truncation_is_not_termination(tables):
    scene = tables.scenes[0]
    far = int(scene.distance[0].argmax())
    world = NavigationWorld(tables, 2)
    world.reset(torch.tensor([0, int(scene.graph[far, LEFT])]), torch.tensor([far, far]))
    assert not world.step(torch.tensor([RIGHT, LEFT])).truncated.any()
    last = world.step(torch.tensor([RIGHT, RIGHT]))
    assert last.truncated[0] and not last.terminated[0]
    world.reset(torch.tensor([int(scene.graph[far, LEFT])]), torch.tensor([far]))
    world.step(torch.tensor([LEFT]))
    world.step(torch.tensor([RIGHT]))
    assert world.finished.all()


def test_reaching_the_target_in_the_last_step_is_success(tables):
    target = 0
    start = int(tables.scenes[0].graph[target, RIGHT])
    world = NavigationWorld(tables, 1)
    world.reset(torch.tensor([start]), torch.tensor([target]))
    step = world.step(torch.tensor([LEFT]))
    assert step.terminated.all() and not step.truncated.any()


def test_state_dict_continues_episodes(tables):
    world = NavigationWorld(tables, 5)
    world.reset(torch.tensor([0, 1]), torch.tensor([9, 9]))
    world.step(torch.tensor([RIGHT, FORWARD]))
    other = NavigationWorld(tables, 5)
    other.load_state_dict(world.state_dict())
    actions = torch.tensor([LEFT, BACK])
    one, two = world.step(actions), other.step(actions)
    assert torch.equal(one.observation.history, two.observation.history) and torch.equal(world.steps, other.steps)


def test_bad_input(tables):
    world = NavigationWorld(tables, 5)
    with pytest.raises(ValueError, match="scene bathroom_01: start 4 for target 4 is the target itself"):
        world.reset(torch.tensor([4]), torch.tensor([4]))
    with pytest.raises(ValueError, match="cannot reach it"):
        world.reset(torch.tensor([0]), torch.tensor([tables.count - 1]))
    world.reset(torch.tensor([0]), torch.tensor([9]))
    with pytest.raises(ValueError, match=r"expected values in 0\.\.3"):
        world.step(torch.tensor([4]))
    with pytest.raises(ValueError, match="expected shape"):
        world.step(torch.tensor([1, 1]))
    with pytest.raises(ValueError, match="max_steps"):
        NavigationWorld(tables, 0)
    with pytest.raises(ConfigError, match="zero"):
        SceneTables([])
    with pytest.raises(ValueError, match="history"):
        NavigationObservation(torch.zeros(2, 3), torch.zeros(2), torch.zeros(2))
    with pytest.raises(ConfigError, match="unknown scene"):
        tables.global_state("attic", 0)
