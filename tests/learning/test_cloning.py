"""Demonstrations of Minari as a first stage of PPO."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import RescaleAction

from comparing import assert_same, checkpoint
from visagent.envs.demonstrated import Demonstrated
from visagent.envs.gymnasium_world import GymnasiumWorlds
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.errors import ConfigError
from visagent.learning.cloning import Cloning
from visagent.networks.actor_critic import ActorCritic

minari = pytest.importorskip("minari")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


def balance(shown):
    """Keeps CartPole's pole up for 500 steps."""
    return int(shown[2] + 0.3 * shown[3] + 0.02 * shown[1] + 0.02 * shown[0] > 0)


def swing(shown):
    return np.clip(-2.0 * shown[2:3], -2.0, 2.0).astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder of Minari's data sets, with two of them."""
    from minari.data_collector import EpisodeBuffer

    root = tmp_path_factory.mktemp("minari")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(root))
        for id_, name, policy in (
            ("CartPole-v1", "cartpole/rule-v0", balance),
            ("Pendulum-v1", "pendulum/rule-v0", swing),
            ("Pendulum-v1", "pendulum/weak-v0", lambda shown: swing(shown) / 2),
        ):
            env, buffers = gymnasium.make(id_), []
            env = RescaleAction(env, np.float32(-1.0), np.float32(1.0)) if "weak" in name else env
            for number in range(4):
                shown, _ = env.reset(seed=number)
                columns = {"observations": [shown], "actions": [], "rewards": [], "terminations": [], "truncations": []}
                over = False
                while not over:
                    action = policy(shown)
                    shown, reward, terminated, truncated, _ = env.step(action)
                    for column, value in zip(
                        columns.values(), (shown, action, reward, terminated, truncated), strict=True
                    ):
                        column.append(value)
                    over = terminated or truncated
                buffers.append(EpisodeBuffer(id=number, **columns))
            minari.create_dataset_from_buffers(name, buffers, env=env)
        yield root


def test_a_data_set_is_read_as_the_worlds_show_it(data):
    worlds = GymnasiumWorlds("Pendulum-v1", frame_stack=2)
    shown = worlds.demonstrated("pendulum/rule-v0", 2)
    assert shown.episodes == 2 and len(shown) == 400 and shown.observation["state"].shape == (400, 6)
    world = worlds.make()
    seen = world.reset(1)["state"]
    for step in range(200, 400):
        np.testing.assert_allclose(shown.observation["state"][step], seen, atol=1e-6)
        action = shown.action[step].numpy()
        assert world.actions.write(action) == pytest.approx(swing(seen[-3:]), abs=1e-5)
        observation, reward, _, _ = world.step(action)
        assert float(shown.reward[step]) == pytest.approx(reward, abs=1e-4)
        seen = observation["state"]
    folder = worlds.demonstrated(str(data / "pendulum/rule-v0"), None)
    assert folder.episodes == 4 and shown.last.nonzero().flatten().tolist() == [199, 399]


def test_returns_of_demonstrations():
    shown = Demonstrated(
        "d",
        {"state": torch.zeros(3, 1)},
        torch.zeros(3),
        torch.tensor([1.0, 2.0, 4.0]),
        torch.tensor([False, True, True]),
    )
    assert shown.returns(0.5).tolist() == [2.0, 2.0, 4.0]


@pytest.mark.usefixtures("data")
def test_what_cannot_be_imitated_is_refused():
    for worlds, name, episodes, said in (
        (GymnasiumWorlds("CartPole-v1"), "pendulum/rule-v0", None, r"observations in Box.*datamodule\.env\.id"),
        (GymnasiumWorlds("Pendulum-v1"), "pendulum/weak-v0", None, r"expected actions in Box\(-2.*got Box\(-1"),
        (GymnasiumWorlds("CartPole-v1"), "nothing-v0", None, r"of this machine \(cartpole/rule-v0, pendulum/"),
        (GymnasiumWorlds("CartPole-v1"), "cartpole/rule-v0", 9, r"episodes: expected 1 to 4"),
        (GymnasiumWorlds("CartPole-v1", observe="pixels"), "cartpole/rule-v0", 1, r"observe=own"),
        (GymnasiumWorlds("CartPole-v1", action_mask=True), "cartpole/rule-v0", 1, r"action_mask=false"),
        (GymnasiumWorlds("CartPole-v1", wrappers=[{"name": "ClipReward"}]), "cartpole/rule-v0", 1, r"wrappers=\[\]"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=said):
            worlds.demonstrated(name, episodes)
    spaces = WorldSpaces({"state": (1,)}, ActionSpace("discrete", 2))
    network = ActorCritic(spaces, [4], [4], "tanh", False, 0.0, False, 16, 5, True)
    shown = Demonstrated("d", {}, torch.zeros(1), torch.zeros(1), torch.ones(1, dtype=torch.bool))
    with pytest.raises(ConfigError, match=r"network\.lstm: expected 0"):
        Cloning("d", None, 1, 1, 0.1).run(network, shown, None, torch.Generator())


@pytest.mark.usefixtures("data", "undrawn")
def test_a_cloned_policy_starts_where_the_demonstrator_is(trained):
    """Four episodes of a rule that balances; hardly anything is learned afterwards."""
    settings = (
        "ppo/cartpole", "debug=smoke", "actors=serial", "algorithm.cloning.demonstrations=cartpole/rule-v0",
        "algorithm.cloning.epochs=15", "optimizer.lr=1e-6", "datamodule.test_episodes=5",
        "datamodule.env.max_steps=500",
    )  # fmt: skip
    record, outputs = trained(*settings)
    assert record.metrics["test/return"] >= 400
    first = record.history["0"]
    assert first["train/cloning_agreement"] > 0.95 and "train/cloning_loss" in first
    again, others = trained(*settings, "name=again", "actors=process")
    assert_same(checkpoint(record, outputs)["state_dict"], checkpoint(again, others)["state_dict"])


@pytest.mark.usefixtures("data")
def test_continuous_actions_keep_what_is_explored():
    shown = GymnasiumWorlds("Pendulum-v1").demonstrated("pendulum/rule-v0", None)
    torch.manual_seed(0)
    spaces = GymnasiumWorlds("Pendulum-v1").spaces()
    network = ActorCritic(spaces, [32], [32], "tanh", False, -0.5, True, 16, 0, True)
    said = Cloning("d", None, 30, 64, 3e-3).run(network, shown, 0.1 * shown.returns(0.9), torch.Generator())
    assert said["cloning_error"] < 0.05 and float(network.log_std) == -0.5
    value = network(shown.observation).value.detach()
    returns = 0.1 * shown.returns(0.9)
    assert (value - returns).var() < 0.6 * returns.var()  # whose ends, at a time limit, cannot be foreseen
