"""PettingZoo both ways: our worlds for other libraries, and an environment that is neither of ours with options of its
own.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import warnings

import gymnasium
import numpy as np
import pytest
from pettingzoo import ParallelEnv

from visagent.actors.option_actors import run_option_episodes
from visagent.envs import border, tool_delivery, water_filling
from visagent.envs.border import WorldError
from visagent.envs.parallel import ParallelWorlds
from visagent.envs.schemes import Scheme
from visagent.errors import ConfigError
from visagent.networks.scripted_options import UniformOptions

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of PettingZoo's own environments, which its tests import
    from pettingzoo.test import parallel_api_test


class Corridor(ParallelEnv):
    """Two walkers on a line of nine places; both are paid for each step in which they stand at the same one, the
    episode is over after 20.
    """

    metadata = {"name": "corridor", "render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self):
        self.possible_agents, self.agents = ["left", "right"], []

    @functools.cache  # noqa: B019
    def observation_space(self, agent):
        return gymnasium.spaces.MultiDiscrete([9, 9])

    @functools.cache  # noqa: B019
    def action_space(self, agent):
        return gymnasium.spaces.Discrete(3)

    def _seen(self):
        return {"left": np.array(self.place), "right": np.array(self.place[::-1])}

    def reset(self, seed=None, options=None):
        self.agents, self.steps = list(self.possible_agents), 0
        self.place = [0, 8]
        return self._seen(), {agent: {} for agent in self.agents}

    def step(self, actions):
        self.place = [
            min(8, max(0, place + actions[agent] - 1))
            for place, agent in zip(self.place, self.possible_agents, strict=True)
        ]
        self.steps += 1
        met, over = self.place[0] == self.place[1], self.steps >= 20
        found = [dict.fromkeys(self.agents, value) for value in (float(met), False, over)]
        infos = {agent: {} for agent in self.agents}
        if over:
            self.agents = []
        return self._seen(), *found, infos

    def render(self):
        return np.zeros((4, 9, 3), np.uint8)


class CorridorThatOneLeaves(Corridor):
    """The left walker is out after five steps."""

    def step(self, actions):
        seen, rewards, ended, cut, infos = super().step({"left": 1, **actions})
        if self.steps >= 5 and self.agents:
            self.agents = ["right"]
        ended["left"] = self.steps == 5
        shown = [
            {agent: part[agent] for agent in part if agent in actions} for part in (seen, rewards, ended, cut, infos)
        ]
        return tuple(shown)


class CorridorThatEndsTwice(Corridor):
    """Both walkers terminate in the step in which the time is over."""

    def step(self, actions):
        seen, rewards, _, cut, infos = super().step(actions)
        return seen, rewards, dict(cut), cut, infos


class CorridorWithState(Corridor):
    """A corridor that tells a critic where both are."""

    state_space = gymnasium.spaces.Box(0, 8, (2,), np.float32)

    def state(self):
        return np.array(self.place, np.float32)


class Shifts(ParallelEnv):
    """Agents who are there in some of twelve steps alone; each sees the step, in an array that is written anew."""

    metadata = {"name": "shifts", "render_modes": []}
    shifts = {"first": range(13), "late": range(4, 13), "away": [*range(3), *range(6, 13)], "early": range(8)}
    open = 0

    def __init__(self, shows=lambda step: step, pays=1.0):
        self.possible_agents, self.agents, self.shows, self.pays = list(self.shifts), [], shows, pays
        self.seen = {agent: np.zeros(1, np.float32) for agent in self.shifts}
        Shifts.open += 1

    def close(self):
        Shifts.open -= 1

    def observation_space(self, agent):
        return gymnasium.spaces.Box(-99, 99, (1,), np.float32)

    def action_space(self, agent):
        return gymnasium.spaces.Discrete(2)

    def _now(self):
        self.agents = [agent for agent, shift in self.shifts.items() if self.steps in shift]
        for shown in self.seen.values():
            shown[:] = self.steps
        return {agent: self.shows(self.seen[agent]) for agent in self.agents}

    def reset(self, seed=None, options=None):
        self.steps = 0
        return self._now(), {agent: {} for agent in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents), f"actions of {sorted(actions)}, agents {self.agents}"
        self.steps += 1
        shown = self._now()
        over = self.steps == 12
        found = shown, *(dict.fromkeys({**actions, **shown}, value) for value in (self.pays, False, over, {}))
        self.agents = [] if over else self.agents
        return found


class Undecided(Shifts):
    """Knows its agents after reset only."""

    def __init__(self):
        super().__init__()
        del self.possible_agents

    def reset(self, seed=None, options=None):
        self.possible_agents = list(self.shifts)
        return super().reset(seed, options)


class Last:
    """An option of some steps."""

    def __init__(self, steps):
        self.name, self.steps = f"{steps}", steps

    def available(self, observation):
        return True

    def act(self, observation, elapsed):
        return 0

    def ends(self, observation, elapsed):
        return elapsed == self.steps


def shifts(env=Shifts, steps=(2, 3)):
    return ParallelWorlds(
        env, {agent: tuple(map(Last, steps)) for agent in Shifts.shifts}, idle=dict.fromkeys(Shifts.shifts, 1)
    )


class WalkTo:
    """Walks until it is there."""

    def __init__(self, place):
        self.name, self.place = f"WalkTo({place})", place

    def available(self, observation):
        return self.place != 4 or observation[0] != 4  # who is in the middle may not begin to go there

    def act(self, observation, elapsed):
        return 1 + int(np.sign(self.place - observation[0]))

    def ends(self, observation, elapsed):
        return observation[0] == self.place


class Stay:
    """Three steps."""

    name = "Stay"

    def available(self, observation):
        return True

    def act(self, observation, elapsed):
        return 1

    def ends(self, observation, elapsed):
        return elapsed == 3


def corridor(**settings):
    return ParallelWorlds(
        Corridor, {agent: (WalkTo(0), WalkTo(4), WalkTo(8), Stay()) for agent in ("left", "right")}, **settings
    )


@pytest.mark.parametrize(
    "make", [tool_delivery.parallel_env, water_filling.parallel_env], ids=["tool_delivery", "water_filling"]
)
def test_pettingzoos_own_test(make):
    parallel_api_test(make(horizon=30), num_cycles=100)


def test_tool_delivery_as_a_parallel_environment(golden):
    kept, env = np.load(golden / "tool_delivery" / "trajectories.npz"), tool_delivery.parallel_env()
    assert env.possible_agents == ["turtlebot_0", "turtlebot_1", "fetch"] and [
        env.observation_space(a).shape for a in env.possible_agents
    ] == [
        (13,),
        (13,),
        (4,),
    ]
    row = 0
    for length in kept["episode_length"][:3]:
        seen, infos = env.reset(seed=0)
        assert all(info["option_done"] for info in infos.values())
        for _ in range(length):
            options = dict(zip(env.possible_agents, kept["options"][row].tolist(), strict=True))
            seen, rewards, terminated, truncated, infos = env.step(options)
            assert np.array_equal(np.concatenate(list(seen.values())), kept["observation"][row]) and set(
                rewards.values()
            ) == {float(kept["reward"][row])}
            assert [info["option_done"] for info in infos.values()] == kept["option_done"][row].astype(bool).tolist()
            row += 1
        assert not env.agents and all(terminated.values()) != all(truncated.values())


def test_state_for_a_critic():
    """PettingZoo's `state`, of our worlds and through somebody else's."""
    env = tool_delivery.parallel_env()
    env.reset(seed=0)
    assert env.state().shape == env.state_space.shape == (22,) and env.state()[:5].tolist() == [1, 0, 0, 0, 1]
    assert corridor().spaces().state == 0
    worlds = dataclasses.replace(corridor(), env=CorridorWithState)
    assert worlds.spaces().state == 2
    world = worlds.make(3)
    world.reset(np.ones(3, bool), (0, 1, 2))
    assert world.state.tolist() == [[0.0, 8.0]] * 3


@pytest.mark.parametrize("name", ["async", "sync_wait", "sync_cut"])
def test_an_agent_that_has_left_chooses_no_more(name):
    worlds = dataclasses.replace(corridor(idle={"left": 1, "right": 1}), env=CorridorThatOneLeaves)
    world, one = worlds.make(1), np.ones(1, bool)
    world.reset(one, [0])
    scheme, decisions = Scheme(world, name, 1, 2), []
    for step in range(20):
        choosing = scheme.choosing()
        if choosing.any():
            decisions.append((step, choosing[0].tolist()))
            ways = [0 if world.seen[0][agent][0] == 8 else 2 for agent in world.agents]  # from one end to the other
            scheme.choose(choosing, np.arange(1), np.array([ways]))
        result = scheme.step(one)
    assert result.truncated[0] and not result.terminated[0]
    late = [(step, who) for step, who in decisions if step > 5]
    # the ways of the right walker alone
    assert late and all(later - step >= 8 for (step, _), (later, _) in itertools.pairwise(late))
    assert all(who == [False, True] for _, who in late)


def test_who_terminates_when_the_time_is_over_has_terminated():
    world, one = dataclasses.replace(corridor(), env=CorridorThatEndsTwice).make(1), np.ones(1, bool)
    world.reset(one, [0])
    steps = [world.step(np.array([[3, 3]]), one) for _ in range(20)]
    assert steps[-1].terminated[0] and not any(step.truncated[0] for step in steps)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="expected observation to be state or rgb"):
        water_filling.parallel_env(observation="sate")
    with pytest.raises(ValueError, match="expected horizon at least 1"):
        tool_delivery.parallel_env(horizon=0)
    env = tool_delivery.parallel_env()
    with pytest.raises(ValueError, match="call reset first"):
        env.step({})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"got none of \['turtlebot_0', 'fetch'\]"):
        env.step({"turtlebot_1": 0})
    with pytest.raises(
        ConfigError, match=r"idle: expected an action of each agent of \['left', 'right'\], got those of \['left'\]"
    ):
        corridor(idle={"left": 1}).spaces()
    with pytest.raises(ConfigError, match="options: expected at least one of right"):
        ParallelWorlds(Corridor, {"left": (Stay(),), "right": ()}).spaces()


def test_a_running_option_goes_on_whatever_is_given():
    env = tool_delivery.parallel_env()
    env.reset(seed=0)
    env.step({"turtlebot_0": 0, "turtlebot_1": 0, "fetch": 3})
    *_, infos = env.step({"turtlebot_0": 1, "turtlebot_1": 2, "fetch": 0})
    assert [info["option"] for info in infos.values()] == [0, 0, 3]
    with pytest.raises(ValueError, match=r"expected options from 0 to below \[3, 3, 6\], got \[3, 0, 0\]"):
        env.step({"turtlebot_0": 3, "turtlebot_1": 0, "fetch": 0})


def test_somebody_elses_environment_with_options():
    world = corridor().make(2)
    world.reset(np.ones(2, bool), [0, 1])
    assert world.observation[0].shape == (2, 18) and world.available()[0].tolist() == [True] * 8
    one = np.array([True, False])
    durations = {0: 0, 1: 0}
    for second in range(1, 5):
        step = world.step(np.array([[1, 1], [0, 0]]), one)
        durations = {
            agent: second if step.done[0, agent] and not durations[agent] else durations[agent] for agent in durations
        }
    assert durations == {0: 4, 1: 4} and step.reward.tolist() == [1.0, 0.0]
    assert world.available()[0].tolist() == [True, False, True, True] * 2 and world.available()[1].all()
    for _ in range(16):
        step = world.step(np.array([[3, 3], [0, 0]]), one)
    assert (
        step.truncated.tolist() == [True, False] and not step.terminated.any() and world.picture(0).shape == (4, 9, 3)
    )


@pytest.mark.parametrize("name", ["async", "sync_wait", "sync_cut", "end2end"])
def test_schemes_come_for_nothing(name):
    worlds = corridor(idle={"left": 1, "right": 1})
    worlds = worlds.primitives() if name == "end2end" else worlds
    world = worlds.make(1)
    scheme = Scheme(world, name, 1, 2)
    world.reset(np.ones(1, bool), [0])
    choices = 0
    for _ in range(20):
        choosing = scheme.choosing()
        if choosing.any():
            choices += 1
            # the first one walks for four steps, the second one is where it wants to be
            scheme.choose(choosing, np.array([0]), np.array([[1, 2]]))
        scheme.step(np.ones(1, bool))
    assert choices == {"async": 20, "sync_wait": 17, "sync_cut": 20, "end2end": 20}[name]


def test_what_is_missing_is_named():
    with pytest.raises(ConfigError, match=r"ParallelWorlds\(idle=...\), got none"):
        world = corridor().make(1)
        world.reset(np.ones(1, bool), [0])
        world.step(np.array([[-1, 0]]), np.ones(1, bool))
    with pytest.raises(
        ConfigError, match=r"expected some of each agent of \['left', 'right'\], got those of \['left'\]"
    ):
        ParallelWorlds(Corridor, {"left": (Stay(),)}).spaces()


@pytest.mark.parametrize("name", ["async", "sync_wait", "sync_cut", "end2end"])
@pytest.mark.parametrize("env", [Shifts, Undecided])
def test_who_is_not_there_chooses_nothing_and_who_comes_chooses(name, env):
    worlds = shifts(env).primitives() if name == "end2end" else shifts(env)
    world, one = worlds.make(1), np.ones(1, bool)
    scheme, chosen = Scheme(world, name, 1, 4), []
    for _ in range(2):  # episodes
        world.reset(one, [0])
        scheme.reset(one)
        chosen.append([])
        assert [part[0, 0] for part in world.observation] == [0.0] * 4
        for step in range(12):
            choosing = scheme.choosing()
            there = [step in shift for shift in Shifts.shifts.values()]
            assert not (choosing[0] & ~np.array(there)).any() and world.absent()[0].tolist() == [
                not here for here in there
            ]
            if choosing.any():
                scheme.choose(choosing, np.arange(1), np.array([[0, 1, 0, 1]]))  # options of 2, 3, 2, 3 steps
                chosen[-1].append((step, "".join("flae"[agent] for agent in np.flatnonzero(choosing))))
            result = scheme.step(one)
        assert (
            result.truncated[0]
            and not result.terminated[0]
            and [part[0, 0] for part in world.observation] == [12.0, 12.0, 12.0, 8.0]
        )
    assert chosen[0] == chosen[1]
    expected = {
        "async": [(0, "fae"), (2, "fa"), (3, "e"), (4, "fl"), (6, "fae"), (7, "l"), (8, "fa"), (10, "fla")],
        "sync_wait": [(0, "fae"), (3, "fe"), (6, "flae"), (9, "fla")],
        "sync_cut": [(0, "fae"), (2, "fae"), (4, "fle"), (6, "flae"), (8, "fla"), (10, "fla")],
        "end2end": [
            (step, "".join(name[0] for name, shift in Shifts.shifts.items() if step in shift)) for step in range(12)
        ],
    }
    assert chosen[0] == expected[name]
    world.close()


@pytest.mark.parametrize("name", ["async", "sync_wait", "sync_cut", "end2end"])
def test_policies_act_in_teams_that_change_and_every_environment_is_closed(name):
    worlds = shifts().primitives() if name == "end2end" else shifts()
    policy, open_before = UniformOptions(worlds.spaces()), Shifts.open
    episodes = run_option_episodes(policy, worlds, name, (1, 2, 3), False)
    assert [episode.steps for episode in episodes] == [12] * 3 and Shifts.open == open_before

    def stop(through, over):
        if through.steps.max() == 3:
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        run_option_episodes(policy, worlds, name, (1, 2), False, stop)
    assert Shifts.open == open_before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"shows": lambda _: np.zeros(2)},
            r"expected observation of first of shape \[1\], as its spaces say, got \[2\] in reset",
        ),
        ({"shows": lambda _: "far"}, r"expected observation of first in Box\(.*\), got str 'far' in reset"),
        (
            {"shows": lambda step: np.where(step > 1, np.nan, step)},
            "expected finite numbers of float32, got nan as number 0 of its observation of first in step",
        ),
        ({"pays": float("inf")}, "expected a finite reward of float32, got inf"),
        ({"pays": "a lot"}, "expected a number for a reward, got str 'a lot'"),
    ],
)
def test_what_a_parallel_environment_returns_is_checked(settings, message):
    worlds = shifts(functools.partial(Shifts, **settings))
    policy = UniformOptions(worlds.spaces())
    with pytest.raises(WorldError, match=message):
        run_option_episodes(policy, worlds, "async", (1,), False)


def test_episodes_and_options_without_an_end_are_refused(monkeypatch):
    monkeypatch.setattr(border, "LONGEST", 8)
    worlds = shifts(steps=(10**6,))
    policy = UniformOptions(worlds.spaces())
    message = (
        r"test_parallel\.Shifts: expected its episodes and options to end, got 8 steps without an end while these "
        r"run: 1000000 of first, 1000000 of late"
    )
    with pytest.raises(WorldError, match=message):
        run_option_episodes(policy, worlds, "async", (1,), False)
