"""What worlds return is copied and checked, and whoever returns nonsense is named."""

from __future__ import annotations

import logging
import os

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from visagent.actors.evaluation import run_episodes
from visagent.actors.pool import SerialActors
from visagent.actors.roles import Task
from visagent.actors.segments import RolloutRoleFactory
from visagent.envs import border
from visagent.envs.border import Border, WorldError, WorldFailure
from visagent.envs.episodes import Episodes, make_all
from visagent.envs.gymnasium_world import _CHECKED, GymnasiumWorlds
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.errors import ConfigError
from visagent.networks.actor_critic import ActorCritic
from visagent.networks.deterministic import DeterministicActorCritic
from visagent.networks.uniform import UniformPolicy
from visagent.testing.worlds import CountingWorlds, ReusingWorlds


class Walker(gymnasium.Env):
    """Shows three numbers, for `length` steps; what a test wants otherwise it gives to `odd`."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = spaces.Discrete(3)

    def __init__(self, length=20, seen=None, reward=1.0, render_mode=None):
        self.length, self.odd, self.paid, self.steps, self.closed = length, seen, reward, 0, 0

    def seen(self):
        return np.array([0.5, self.steps, 1.0]) if self.odd is None or self.steps < 2 else self.odd

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self.seen(), {}

    def step(self, action):
        self.steps += 1
        return self.seen(), self.paid if self.steps > 1 else 1.0, self.steps == self.length, False, {}

    def close(self):
        self.closed += 1


class InPlace(Walker):
    """Hands out its own array; truncates after 5 steps."""

    observation_space = spaces.Box(-100, 100, (1,), np.float32)

    def __init__(self, render_mode=None):
        super().__init__(5)
        self.array = np.zeros(1, np.float32)

    def seen(self):
        self.array[0] = self.steps
        return self.array

    def step(self, action):
        seen, reward, over, _, info = super().step(action)
        return seen, reward, False, over, info


class OldStep(Walker):
    def step(self, action):
        seen, reward, over, _, info = super().step(action)
        return seen, reward, over, info


class OldReset(Walker):
    def reset(self):
        return super().reset()[0]


class NoInfo(Walker):
    def reset(self, seed=None, options=None):
        return super().reset(seed=seed)[0]


class BadManners(Walker):
    """Works, but its observations are not what its space says."""

    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)


class Picture(Walker):
    """Shows how many steps it took as the brightness of a picture."""

    def __init__(self, shape, render_mode=None):
        super().__init__()
        self.observation_space = spaces.Box(0, 255, tuple(shape), np.uint8)

    def seen(self):
        return np.full(self.observation_space.shape, self.steps, np.uint8)


class WholeActions(Walker):
    action_space = spaces.Box(-1, 3, (1,), np.int64)

    def step(self, action):
        assert self.action_space.contains(action)
        self.paid = float(action[0])
        return super().step(action)


@pytest.fixture
def registered(monkeypatch):
    """A class as gymnasium worlds of an id of its own."""

    def make(kind, **settings):
        monkeypatch.setitem(gymnasium.registry, f"{kind.__name__}-v0", EnvSpec(f"{kind.__name__}-v0", entry_point=kind))
        _CHECKED.clear()
        return GymnasiumWorlds(f"{kind.__name__}-v0", **settings)

    return make


def begun(worlds, count=1):
    episodes = Episodes(worlds, count)
    episodes.reset(range(count))
    reward, over, cut = np.zeros(count), np.zeros(count, bool), np.zeros(count, bool)
    return episodes, lambda action=1: episodes.step(np.full(count, action), reward, over, cut)


def test_an_environment_that_writes_in_one_place(registered):
    world = registered(InPlace, frame_stack=3).make()
    world.reset(0)
    assert [world.step(np.array(1))[0]["state"].tolist() for _ in range(3)][-1] == [1, 2, 3]
    episodes, step = begun(registered(InPlace))
    ends = [step() for _ in range(5)]
    assert ends[-1][0].final_observation["state"].tolist() == [5.0] and episodes.observation["state"].tolist() == [
        [0.0]
    ]


def test_worlds_that_write_in_one_place_make_the_batches_of_those_that_do_not():
    found = []
    for worlds in (CountingWorlds(4, truncates=True), ReusingWorlds(4, truncates=True)):
        policy = ActorCritic(worlds.spaces(), [8], [8], "tanh", False, -0.5, True, 16, 0, True)
        policy.load_state_dict(found[0][1] if found else policy.state_dict())
        actors = SerialActors(RolloutRoleFactory(worlds, policy, 2, 6, 0), 1)
        actors.publish(policy.state_dict(), 0)
        found.append((actors.collect(Task(0, 0, True)).arrays, policy.state_dict()))
    (ours, _), (theirs, _) = found
    assert ours["final_value"][3].all() and all(np.array_equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize(
    ("odd", "message"),
    [
        (
            {"seen": np.array([1.0])},
            r"Walker-v0: expected observations of shape \[3\], as its observation_space says, got \[1\]",
        ),
        ({"seen": np.zeros(4)}, r"expected observations of shape \[3\], as its observation_space says, got \[4\]"),
        (
            {"seen": np.array([0.0, np.nan, 1.0])},
            r"datamodule\.env\.id=Walker-v0: expected finite numbers of float32, got nan as number 1 of its state",
        ),
        (
            {"seen": np.array([0.0, 1e300, 1.0])},
            r"expected finite numbers of float32, got inf as number 1 of its state in step",
        ),
        ({"seen": np.array([0, np.inf, 1], np.float16)}, r"got inf as number 1 of its state in step"),
        ({"seen": np.array(["a", "b", "c"])}, r"expected state of numbers, got <U1 in step"),
        ({"reward": float("nan")}, r"datamodule\.env\.id=Walker-v0: expected a finite reward of float32, got nan"),
        ({"reward": np.zeros(2)}, r"expected a number for a reward, got an array of float64 \[2\]"),
        ({"reward": None}, r"expected a number for a reward, got NoneType None"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_what_an_environment_returns_is_checked(odd, message, registered):
    _, step = begun(registered(Walker, kwargs=odd))
    step()
    with pytest.raises(WorldError, match=message):
        step()


def test_what_ones_own_worlds_return_is_checked():
    class Odd(CountingWorlds):
        def make(self, drawn=False):
            return next(made)

    class Returning:
        def __init__(self, first, then=None):
            self.reset, self.step = lambda _: first, lambda _: then

        def close(self):
            pass

    right = {"state": np.zeros(1)}
    cases = [
        (
            Returning({"state": np.zeros(2)}),
            r"Odd: expected state of shape \[1\], as its spaces say, got \[2\] in reset",
        ),
        (Returning({"pixels": np.zeros(2)}), "Odd: expected reset to show state by name, got a dict of pixels"),
        (Returning({"state": [[1.0], [2.0, 3.0]]}), "Odd: expected reset to show state by name"),
        (Returning(np.zeros(1)), r"expected reset to show state by name, got an array of float64 \[1\]"),
        (
            Returning(right, (right, 0.0, False)),
            r"expected a step to return \(observation, reward, terminated, truncated\), got a tuple of 3",
        ),
        (Returning(right, (right, np.inf, False, False)), "expected a finite reward of float32, got inf"),
    ]
    made = iter([world for world, _ in cases])
    for _, message in cases:
        episodes = Episodes(Odd(3), 1)
        with pytest.raises(WorldError, match=message):
            episodes.reset([0])
            episodes.step(np.array([0]), np.zeros(1), np.zeros(1, bool), np.zeros(1, bool))


def test_large_numbers_pass():
    """Their squares are beyond float32."""
    worlds = CountingWorlds(3)
    world = worlds.make()
    world.reset = lambda _: {"state": np.array([1e30])}
    assert Border.of(worlds, world).reset(world, 0)["state"] == np.float32(1e30)


def test_an_error_of_a_world_is_its_own_and_named():
    worlds = CountingWorlds(9, fails_at=1)
    world = worlds.make()
    world.reset(0)
    with pytest.raises(
        WorldFailure,
        match=r"(?s)^visagent\.testing\.worlds\.CountingWorlds raised an error in step:\nTraceback.*RuntimeError: the "
        r"world is broken$",
    ):
        Border.of(worlds, world).step(world, np.array(0))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            OldStep,
            r"OldStep-v0: expected step to return 5 values, \(observation, reward, terminated, truncated, info\).*; "
            r"got 4 values, as before gym 0\.26",
        ),
        (
            OldReset,
            r"OldReset-v0: expected reset\(\*, seed=None, options=None\) as in gymnasium, got reset\(\), as before "
            r"gym 0\.26",
        ),
        (
            NoInfo,
            r"NoInfo-v0: expected reset to return 2 values, \(observation, info\), as gymnasium's do; got ndarray",
        ),
    ],
)
def test_environments_of_before_are_refused(kind, message, registered):
    with pytest.raises(WorldError, match=message):
        registered(kind).spaces()


def test_gymnasiums_checker_advises_once(registered, caplog):
    worlds = registered(BadManners)
    with caplog.at_level(logging.WARNING):
        worlds.spaces()
        worlds.spaces()
    said = [record.message for record in caplog.records if "gymnasium's checker says" in record.message]
    assert len(said) == len(set(said)) and any(
        "datamodule.env.id=BadManners-v0" in message and "float64" in message for message in said
    )


@pytest.mark.parametrize(
    ("shape", "shown"),
    [((3, 48, 64), (3, 48, 64)), ((4, 84, 84), (4, 84, 84)), ((48, 64, 3), (3, 48, 64)), ((7, 7, 3), (3, 7, 7))],
)
def test_pictures_come_with_channels_first_wherever_they_were(shape, shown, registered):
    worlds = registered(Picture, kwargs={"shape": shape})
    assert worlds.spaces().observation == {"pixels": shown}
    episodes, step = begun(worlds)
    step()
    assert episodes.observation["pixels"].shape == (1, *shown) and episodes.observation["pixels"].min() == 1


def test_pictures_that_are_too_small_for_a_network_are_refused():
    tiny = WorldSpaces({"pixels": (3, 7, 7)}, ActionSpace("continuous", 2))
    with pytest.raises(
        ConfigError,
        match="expected pictures of at least 20 x 20 pixels for its convolutions, got 7 x 7 with 3 channels",
    ):
        ActorCritic(tiny, [8], [8], "tanh", False, -0.5, True, 16, 0, True)
    with pytest.raises(ConfigError, match="expected pictures of at least 11 x 11 pixels"):
        DeterministicActorCritic(tiny, [8], [8], 1, [4, 4], [5, 4], [2, 2], 8, False)


def test_whole_numbers_are_chosen_alike(registered):
    worlds = registered(WholeActions)
    border, world = Border.of(worlds, made := worlds.make()), made
    border.reset(world, 0)
    paid = [border.step(world, np.array([action], np.float32))[1] for action in np.linspace(-1, 1, 11)[:-1] + 0.05] + [
        border.step(world, np.ones(1))[1]
    ]
    assert paid[1:] == [-1, 0, 0, 1, 1, 2, 2, 3, 3, 3]


def test_a_world_that_draws_nothing_is_named(registered):
    class Blank(Walker):
        metadata = {"render_modes": ["rgb_array"]}
        render_mode = "rgb_array"

        def render(self):
            return None

    world = registered(Blank, observe="pixels").make(drawn=True)
    with pytest.raises(
        WorldError,
        match=r"Blank-v0: expected render\(\) to return a picture \[H, W, 3\], got NoneType; type "
        r"datamodule\.film_episodes=0",
    ):
        world.reset(0)


def test_an_episode_without_an_end_is_no_evaluation(registered, monkeypatch):
    monkeypatch.setattr(border, "LONGEST", 50)
    worlds = registered(Walker, kwargs={"length": 0})
    policy = UniformPolicy(worlds.spaces())
    with pytest.raises(
        WorldError,
        match=r"Walker-v0: expected an episode to end, got 50 steps without an end; .*datamodule\.env\.max_steps=1000",
    ):
        run_episodes(policy, worlds, (1, 2), False)
    longer = registered(Walker, kwargs={"length": 0}, max_steps=70)  # whoever asked for it gets it
    assert [episode.steps for episode in run_episodes(policy, longer, (1, 2), False)] == [70, 70]
    monkeypatch.setattr(gymnasium.registry["Walker-v0"], "max_episode_steps", 60)  # and an environment knows its own
    assert [episode.steps for episode in run_episodes(policy, worlds, (1, 2), False)] == [60, 60]


def test_worlds_are_closed_when_another_one_cannot_be_made():
    closed = []

    class Some(CountingWorlds):
        def make(self, drawn=False):
            if made:
                raise OSError("no more of them")
            made.append(super().make())
            made[0].close = lambda: closed.append(os.getpid())
            return made[0]

    made = []
    with pytest.raises(OSError, match="no more"):
        make_all(Some(3), 2)
    assert closed == [os.getpid()]
