"""Spaces of gymnasium as the suite's, masks, wrappers, and environments that gymnasium steps together."""

from __future__ import annotations

import copy
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from visagent.envs.border import WorldError
from visagent.envs.episodes import Episodes, episodes_of
from visagent.envs.gymnasium_spaces import Actions, Observations, read_mask
from visagent.envs.gymnasium_world import GymnasiumWorlds
from visagent.envs.vector_episodes import VectorEpisodes
from visagent.errors import ConfigError

PICTURE = spaces.Box(0, 255, (12, 10, 3), np.uint8)
MIXED = spaces.Dict(
    {
        "place": spaces.Tuple([spaces.Discrete(3, start=1), spaces.Box(-1, 1, (2, 2))]),
        "flags": spaces.MultiBinary(4),
        "tools": spaces.MultiDiscrete([2, 3]),
        "camera": PICTURE,
    }
)


class Mixed(gymnasium.Env):
    """Shows and takes a bit of everything; the reward counts what was understood."""

    action_space = spaces.Dict(
        {
            "move": spaces.Discrete(3, start=5),
            "keys": spaces.MultiBinary(2),
            "each": spaces.Tuple([spaces.MultiDiscrete([2, 4], start=[1, 0])]),
        }
    )

    def __init__(self, says: str = "info", length: int = 6) -> None:
        self.says, self.length, self.steps = says, length, 0
        self.observation_space = copy.deepcopy(MIXED)  # its samples are what is shown

    def _info(self) -> dict[str, np.ndarray]:
        mask = np.array([1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0], np.int8)
        return {"action_mask": mask} if self.says == "info" else {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.steps = 0
        return self.observation_space.sample(), self._info()

    def step(self, action):
        self.steps += 1
        assert self.action_space.contains(action), action
        valid = action["move"] != 6 and action["keys"][1] != 0 and action["each"][0][1] in (1, 2)
        info = self._info() | {"is_success": self.steps % 2 == 0}
        return self.observation_space.sample(), float(valid), False, self.steps == self.length, info


@pytest.fixture(scope="module", autouse=True)
def mixed():
    gymnasium.register("Mixed-v0", Mixed)
    yield
    del gymnasium.registry["Mixed-v0"]


def test_everything_but_the_picture_is_flattened_as_gymnasium_does_it():
    reads = Observations("w", MIXED)
    MIXED.seed(3)
    shown = MIXED.sample()
    rest = spaces.Dict({name: part for name, part in MIXED.items() if name != "camera"})
    expected = spaces.flatten(rest, {name: shown[name] for name in rest})
    seen = reads.read(shown)
    assert reads.shapes == {"state": (len(expected),), "pixels": (3, 12, 10)} and len(expected) == 3 + 4 + 4 + 5
    np.testing.assert_allclose(seen["state"], expected)
    assert np.array_equal(seen["pixels"], shown["camera"].transpose(2, 0, 1))


def test_spaces_without_numbers_or_with_two_pictures_are_refused():
    with pytest.raises(ConfigError, match=r"at most one uint8 picture.*got pictures left, right; .*FilterObservation"):
        Observations("w", spaces.Dict({"left": PICTURE, "right": PICTURE}))
    with pytest.raises(ConfigError, match="got Sequence"):
        Observations("w", spaces.Dict({"a": spaces.Sequence(spaces.Discrete(2))}))
    with pytest.raises(ConfigError, match="all bounded Box, or all Discrete"):
        Actions("w", spaces.Tuple([spaces.Discrete(2), spaces.Box(-1, 1, (2,))]))
    with pytest.raises(ConfigError, match="all bounded Box, or all Discrete"):
        Actions("w", spaces.Box(-np.inf, 1, (2,)))


def test_an_observation_that_is_not_of_its_space_is_refused():
    reads = Observations("w", MIXED)
    shown = MIXED.sample()
    with pytest.raises(WorldError, match=r"w: expected place\.0 in observations"):
        reads.read({name: part for name, part in shown.items() if name != "place"})
    with pytest.raises(WorldError, match=r"w: expected flags in MultiBinary"):
        reads.read({**shown, "flags": "none"})


def test_actions_of_every_kind_lie_in_their_space():
    each = {
        "discrete": spaces.Discrete(4, start=-1),
        "multi": spaces.MultiDiscrete([[2, 3], [4, 5]]),
        "binary": spaces.MultiBinary((2, 2)),
        "both": spaces.Tuple([spaces.Discrete(2, start=3), spaces.Dict({"a": spaces.MultiDiscrete([3, 2])})]),
        "box": spaces.Box(-2, 3, (2, 3)),
        "boxes": spaces.Dict({"a": spaces.Box(0, 1, (2,)), "b": spaces.Box(-5, 5, ())}),
        "whole": spaces.Box(0, 9, (3,), np.int64),
    }
    rng = np.random.default_rng(0)
    for name, space in each.items():
        actions = Actions("w", space)
        said = actions.suite_space
        for _ in range(50):
            if said.kind == "continuous":
                given = rng.uniform(-1.2, 1.2, said.size).astype(np.float32)
            elif said.kind == "discrete":
                given = np.asarray(rng.integers(said.size))
            else:
                given = rng.integers(np.array(said.choices))
            assert space.contains(actions.write(given)), (name, actions.write(given))
    assert Actions("w", each["both"]).suite_space.choices == (2, 3, 2)
    assert np.array_equal(Actions("w", each["multi"]).write(np.array([1, 2, 3, 4])), [[1, 2], [3, 4]])
    assert Actions("w", each["both"]).write(np.array([1, 2, 0]))[0] == 4


def test_masks_in_info_observation_and_method():
    worlds = GymnasiumWorlds("Mixed-v0", action_mask=True)
    assert worlds.spaces().observation["mask"] == (13,) and worlds.spaces().action.choices == (2, 4, 2, 2, 3)
    world = worlds.make()
    shown = world.reset(0)
    assert shown["mask"].tolist() == [1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0]
    with pytest.raises(WorldError, match=r"it says nothing of them; type datamodule\.env\.action_mask=false"):
        GymnasiumWorlds("Mixed-v0", {"says": "nothing"}, action_mask=True).make().reset(0)
    with pytest.raises(ConfigError, match="expected discrete actions, got Box"):
        GymnasiumWorlds("Pendulum-v1", action_mask=True).make()

    class Offers(gymnasium.ObservationWrapper):
        """Says it in the observation."""

        def __init__(self, env):
            super().__init__(env)
            self.observation_space = spaces.Dict(
                {"seen": env.observation_space, "action_mask": spaces.Box(0, 1, (2,), np.int8)}
            )

        def observation(self, observation):
            return {"seen": observation, "action_mask": np.array([0, 1], np.int8)}

    class Asked(gymnasium.Wrapper):
        """Says it where it is asked."""

        def action_masks(self):
            return np.array([False, True])

    for wrapper in (Offers, Asked):
        globals()["_Wrapper"] = wrapper
        said = GymnasiumWorlds("CartPole-v1", wrappers=[{"name": f"{__name__}:_Wrapper"}], action_mask=True)
        world = said.make()
        assert world.spaces.observation == {"state": (4,), "mask": (2,)}
        assert world.reset(0)["mask"].tolist() == [0, 1] and world.step(np.array(1))[0]["mask"].tolist() == [0, 1]


class Strict(gymnasium.Env):
    """Bears no action that is not valid; it is asked which are."""

    observation_space, action_space = spaces.Box(0, 9, (1,)), spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def action_masks(self):
        return np.arange(4) == self.count % 4

    def step(self, action):
        assert self.action_masks()[action], action
        self.count += 1
        return np.full(1, self.count % 9, np.float32), 1.0, False, self.count == 5, {}


def test_an_environment_that_bears_valid_actions_alone_is_stepped_by_them():
    gymnasium.register("Strict-v0", Strict)
    try:
        worlds = GymnasiumWorlds("Strict-v0", action_mask=True)
        assert worlds.spaces().masked
        for episodes in (Episodes(worlds, 2), episodes_of(replace(worlds, vectorization="sync"), 2)):
            episodes.reset([0, 1])
            ends = []
            for _ in range(11):
                chosen = episodes.observation["mask"].argmax(axis=1)
                ends += episodes.step(chosen, np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))
            assert [end.total_reward for end in ends] == [5.0] * 4
            episodes.close()
    finally:
        del gymnasium.registry["Strict-v0"]


def test_nothing_valid_is_refused_while_an_episode_lasts():
    actions = Actions("w", spaces.MultiDiscrete([2, 3]))
    with pytest.raises(WorldError, match="none of the choices 2 to 4 is valid"):
        read_mask("w", actions, np.array([1, 0, 0, 0, 0]), False)
    assert not read_mask("w", actions, np.zeros(5), True).any() and read_mask("w", actions, None, True).all()
    assert read_mask("w", actions, ([1, 0], [0, 0, 1]), False).tolist() == [1, 0, 0, 0, 1]
    with pytest.raises(WorldError, match="expected 5 numbers, one of each choice, got 2"):
        read_mask("w", actions, [1, 0], False)


def test_wrappers_by_name():
    wrappers = [
        {"name": "ClipReward", "min_reward": -0.5},
        {"name": "gymnasium.wrappers:TimeLimit", "max_episode_steps": 2},
    ]
    world = GymnasiumWorlds("Pendulum-v1", wrappers=wrappers).make()
    world.reset(5)
    assert [world.step(np.zeros(1))[1:] for _ in range(2)] == [(-0.5, False, False), (-0.5, False, True)]
    with pytest.raises(ConfigError, match=r"wrappers\[0\]: expected name=NAME of gymnasium.wrappers.*got 'Nothing'"):
        GymnasiumWorlds("Pendulum-v1", wrappers=[{"name": "Nothing"}]).make()
    with pytest.raises(ConfigError, match=r"wrappers\[0\]: TimeLimit cannot be put around Pendulum-v1 \(TypeError"):
        GymnasiumWorlds("Pendulum-v1", wrappers=[{"name": "TimeLimit", "steps": 3}]).make()


def test_rewards_are_clipped_for_those_that_learn():
    world = GymnasiumWorlds("Pendulum-v1", clip_reward=True).make()
    world.reset(0)
    assert world.step(np.zeros(1))[1] not in (-1.0, 0.0)
    world.epoch = 0
    assert world.step(np.zeros(1))[1] == -1.0


@pytest.mark.parametrize(
    ("worlds", "steps"),
    [
        (GymnasiumWorlds("CartPole-v1", frame_stack=2), 60),
        (GymnasiumWorlds("CartPole-v1"), 60),
        (GymnasiumWorlds("Pendulum-v1", max_steps=7), 20),
        (GymnasiumWorlds("Mixed-v0", {"length": 4}, action_mask=True), 11),
    ],
    ids=["stacked", "direct", "continuous", "everything"],
)
@pytest.mark.parametrize("how", ["sync", "async"])
def test_stepped_together_as_one_by_one(worlds, steps, how):
    """To the bit, with the ends of episodes."""
    if how == "async" and worlds.id == "Mixed-v0":
        pytest.skip("registered in this process alone")
    alone, together = Episodes(worlds, 3), episodes_of(replace(worlds, vectorization=how), 3)
    assert isinstance(together, VectorEpisodes) and together.spaces == worlds.spaces()
    rng = np.random.default_rng(0)
    try:
        for episodes in (alone, together):
            episodes.reset([5, 6, 7])
        ended = 0
        for _ in range(steps):
            action = worlds.spaces().action
            if action.kind == "continuous":
                given = rng.uniform(-1, 1, (3, action.size)).astype(np.float32)
            elif action.kind == "discrete":
                given = rng.integers(action.size, size=3)
            else:
                given = np.stack([rng.integers(np.array(action.choices)) for _ in range(3)])
            results = []
            for episodes in (alone, together):
                out = np.zeros(3), np.zeros(3, bool), np.zeros(3, bool)
                ends = episodes.step(given, *out)
                results.append((out, ends, {name: part.copy() for name, part in episodes.observation.items()}))
            (one, one_ends, one_seen), (two, two_ends, two_seen) = results
            assert all(np.array_equal(*both) for both in zip(one, two, strict=True))
            assert all(np.array_equal(one_seen[name], two_seen[name]) for name in one_seen)
            assert [(e.index, e.total_reward, e.steps, e.truncated, e.success) for e in one_ends] == [
                (e.index, e.total_reward, e.steps, e.truncated, e.success) for e in two_ends
            ]
            for mine, theirs in zip(one_ends, two_ends, strict=True):
                assert all(
                    np.array_equal(mine.final_observation[name], theirs.final_observation[name]) for name in one_seen
                )
            ended += len(one_ends)
        assert ended >= 3
    finally:
        alone.close(), together.close()


class OneAfterTheOther(gymnasium.Wrapper):
    """Lets its actions be taken in turns; it says so where it is asked."""

    def reset(self, **given):
        self.count = 0
        return self.env.reset(**given)

    def step(self, action):
        self.count += 1
        return self.env.step(action)

    def action_masks(self):
        return np.arange(2) == self.count % 2


@pytest.mark.parametrize("how", ["sync", "async"])
def test_environments_that_are_stepped_together_are_asked_for_valid_actions(how):
    worlds = GymnasiumWorlds(
        "CartPole-v1", wrappers=[{"name": f"{__name__}:OneAfterTheOther"}], action_mask=True, vectorization=how
    )
    episodes = episodes_of(worlds, 3)
    try:
        episodes.reset([0, 1, 2])
        counts = np.zeros(3, int)
        for _ in range(40):
            assert np.array_equal(episodes.observation["mask"], np.arange(2) == (counts % 2)[:, None])
            ends = episodes.step(np.ones(3, int), np.zeros(3), np.zeros(3, bool), np.zeros(3, bool))
            counts += 1
            counts[[end.index for end in ends]] = 0
        assert len(ends) < 3 and counts.max() < 20
    finally:
        episodes.close()


def test_one_that_cannot_be_asked_is_named():
    worlds = GymnasiumWorlds("CartPole-v1", action_mask=True, vectorization="async")
    episodes = episodes_of(worlds, 1)
    try:
        with pytest.raises(WorldError, match="it says nothing of them"):
            episodes.reset([0])
    finally:
        episodes.close()


def test_an_authors_own_vector_environment():
    """CartPole's resets a step late, which is said; one that does so at once is taken."""
    with pytest.raises(ConfigError, match=r"SameStep\), got AutoresetMode.NEXT_STEP of CartPole-v1; type .*=sync"):
        GymnasiumWorlds("CartPole-v1", vectorization="vector_entry_point").spaces()

    def vector(num_envs, **kwargs):
        made = [lambda: gymnasium.make("CartPole-v1", **kwargs)] * num_envs
        return SyncVectorEnv(made, autoreset_mode=AutoresetMode.SAME_STEP)

    gymnasium.register("Together-v0", entry_point=None, vector_entry_point=vector)
    try:
        worlds = GymnasiumWorlds("Together-v0", vectorization="vector_entry_point")
        assert worlds.spaces().observation == {"state": (4,)}
        episodes = episodes_of(worlds, 2)
        episodes.reset([1, 2])
        ends = []
        for _ in range(40):
            ends += episodes.step(np.ones(2, int), np.zeros(2), np.zeros(2, bool), np.zeros(2, bool))
        assert len(ends) >= 4 and all(end.total_reward == end.steps < 15 for end in ends)
        episodes.close()
    finally:
        del gymnasium.registry["Together-v0"]


@pytest.mark.parametrize(
    ("setting", "value"), [("observe", "pixels"), ("action_repeat", 2)]
)  # fmt: skip
def test_what_is_for_single_environments_alone_is_refused(setting, value):
    worlds = GymnasiumWorlds("CartPole-v1", vectorization="sync", **{setting: value})
    with pytest.raises(ConfigError, match=rf"datamodule\.env\.{setting}: expected"):
        episodes_of(worlds, 2)


def test_atari_as_it_is_usually_played():
    pytest.importorskip("ale_py")
    wrappers = [{"name": "AtariPreprocessing", "grayscale_newaxis": True}]
    worlds = GymnasiumWorlds("ALE/Pong-v5", {"frameskip": 1}, frame_stack=4, wrappers=wrappers)
    assert worlds.spaces().observation == {"pixels": (4, 84, 84)} and worlds.spaces().action.size == 6
    world = worlds.make()
    first, (second, reward, over, cut) = world.reset(0), world.step(np.array(2))
    assert np.array_equal(second["pixels"][:3], first["pixels"][1:]) and (reward, over, cut) == (0.0, False, False)
