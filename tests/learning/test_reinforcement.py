"""Reinforcement learning: every preset runs and learns; evaluating changes nothing."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import threading
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from omegaconf import OmegaConf

from comparing import assert_same, checkpoint, folder_of
from lightning_modules import ppo
from lightning_modules.ddpg import DDPG
from slow import first, only
from visagent.config.presets import presets
from visagent.config.schemas import TrainConfig
from visagent.config.validation import validate
from visagent.experience.replay import ReplayMissing
from visagent.learning.decoupled import decoupled
from visagent.learning.fast_gradients import FastActorCritic
from visagent.runtime.building import make
from visagent.runtime.fitting import build
from visagent.runtime.train import Cancelled, train

FAMILIES = ("ppo", "ddpg", "evolution")
SLOW = ("ppo/lift_curriculum", "ppo/pendulum_pixels")
FILMED = ("ppo/cartpole", "evolution/hopper")
# ppo/lift_curriculum is ppo/lift from demonstrations
PRESETS = [name for name in presets() if name.split("/")[0] in FAMILIES and name != "ppo/lift"]


@pytest.mark.parametrize("preset", only(lambda preset: preset not in SLOW, PRESETS))
def test_every_preset_runs_with_debug_smoke(preset, compose, trained, monkeypatch):
    monkeypatch.setattr("visagent.envs.robosuite_world.SCRIPTED", 2)  # demonstrations of a curriculum
    films = int(preset in FILMED)
    settings = (preset, "actors=serial", f"datamodule.film_episodes={films}")
    config = compose(*settings)
    record, outputs = trained(*settings)
    assert record.status == "FINISHED" and len(record.history) == 2
    assert (
        "test/return" in record.metrics
        and len(list(folder_of(record, outputs).path.glob("videos/test_episode_0.mp4"))) == films
    )
    if preset.startswith("ppo/"):
        assert record.env_steps == 2 * 2 * config.datamodule.actors * config.datamodule.worlds_per_actor * 16
    else:
        assert record.env_steps > 0
    assert (folder_of(record, outputs).figures / "learning_curves.png").stat().st_size > 5_000


@pytest.mark.usefixtures("undrawn")
@pytest.mark.process
@pytest.mark.parametrize("preset", first(1, ["ppo/pendulum", "evolution/hopper", "ddpg/pendulum"]))
def test_processes_learn_what_one_process_learns_and_evaluating_changes_nothing(
    preset, compose, tmp_path, nothing_left
):
    runs = {
        "serial": compose(preset, "actors=serial", f"paths.outputs={tmp_path}/serial"),
        "process": compose(preset, "actors=process", f"paths.outputs={tmp_path}/process"),
        "blind": compose(preset, "actors=serial", "+trainer.limit_val_batches=0", f"paths.outputs={tmp_path}/blind"),
    }
    weights = {name: checkpoint(train(config), tmp_path / name)["state_dict"] for name, config in runs.items()}
    assert_same(weights["serial"], weights["process"])
    assert_same(weights["serial"], weights["blind"])


@pytest.mark.process
@pytest.mark.parametrize(
    ("raised", "left_as"), first(1, [(RuntimeError("power cut"), RuntimeError), (KeyboardInterrupt(), Cancelled)])
)
def test_nothing_is_left_of_a_run_that_fails_or_is_stopped(raised, left_as, compose, monkeypatch, nothing_left):
    """Actors, shards, pipes and shared memory, after an error and after Ctrl-C."""
    before = signal.getsignal(signal.SIGINT)

    def failing(self, batch, batch_index):
        assert len(multiprocessing.active_children()) == 2
        raise raised

    monkeypatch.setattr(DDPG, "training_step", failing)
    try:
        with pytest.raises(left_as):
            train(compose("ddpg/pendulum", "actors=process", "datamodule.actors=1"))
    finally:
        signal.signal(signal.SIGINT, before)
    raised.__traceback__ = None  # its frames have the pools


@pytest.mark.process
@pytest.mark.parametrize(
    ("preset", "steps", "settings"),
    [
        ("ppo/pendulum", 4 * 20 * 2 * 4 * 16, ()),
        ("ddpg/pendulum", 4 * 20 * 2 * 8, ("datamodule.actors=2", "datamodule.shards=2")),
    ],
)
@pytest.mark.slow
def test_actors_that_are_killed_again_and_again_change_no_count(preset, steps, settings, compose):
    config = compose(preset, "actors=process", "trainer.max_epochs=4", "datamodule.iterations_per_epoch=20", *settings)
    killed, over = [], threading.Event()

    def kill() -> None:
        # A worker that dies three times before it has done anything is given up: they take turns, and a third death is
        # never the same one's.
        while len(killed) < 4 and not over.wait(1.5):
            workers = {
                child.name: child
                for child in multiprocessing.active_children()
                if child.name.startswith("visagent-actor")
            }
            chosen = f"visagent-actor-{len(killed) % 2}"
            if chosen in workers:
                workers[chosen].kill()
                killed.append(chosen)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        record = train(config)
    finally:
        over.set()
        thread.join()
    assert record.status == "FINISHED" and len(record.history) == 4 and len(killed) >= 1
    assert [record.history[str(epoch)]["step"] for epoch in range(4)] == [steps * (epoch + 1) / 4 for epoch in range(4)]
    assert record.env_steps == steps


def test_random_actions_are_a_baseline(compose, tmp_path):
    record = train(
        compose(
            "baseline/random",
            "datamodule.test_episodes=30",
            "datamodule.env.max_steps=500",
        )
    )
    assert 14 < record.metrics["test/return"] < 35 and record.history == {} and record.env_steps == 0


@pytest.mark.slow
def test_cartpole_is_learned(compose):
    settings = (
        "datamodule.steps=128",
        "datamodule.iterations_per_epoch=10",
        "datamodule.test_episodes=10",
        "trainer.max_epochs=2",
    )
    record = train(
        compose(
            "ppo/cartpole",
            *settings,
            "datamodule.env.max_steps=500",
            "optimizer.lr=0.002",
            "algorithm.minibatch_size=128",
        )
    )
    assert record.metrics["test/return"] > 150  # a random policy: about 22


@pytest.mark.slow
def test_evolution_learns_and_anyone_can_rebuild_its_update(compose, monkeypatch):
    """From (where a perturbation begins, returns) and the noise table alone another copy of the policy ends with the
    same weights.
    """
    from lightning_modules.evolution import EvolutionStrategies
    from visagent.objectives.evolution import antithetic_gradient, centered_ranks

    other: dict = {}
    original = EvolutionStrategies.training_step

    def watched(self, batch, batch_index):
        if not other:
            other["vector"] = self.network.vector.detach().clone().requires_grad_()
            other["optimizer"] = self._make_optimizer([{"params": [other["vector"]]}])
        original(self, batch, batch_index)
        if batch.version == 0:  # for the z-filter alone
            return
        noise = torch.from_numpy(self.data.table.rows(batch.offset.numpy(), len(other["vector"])))
        other["vector"].grad = -antithetic_gradient(centered_ranks(batch.returns), noise, self.data.sigma)
        other["optimizer"].step()
        assert torch.equal(other["vector"], self.network.vector)

    monkeypatch.setattr(EvolutionStrategies, "training_step", watched)
    settings = (
        "datamodule.pairs=16",
        "datamodule.env.max_steps=100",
        "datamodule.worlds_per_actor=8",
        "datamodule.iterations_per_epoch=15",
    )
    record = train(compose("evolution/cartpole", *settings, "datamodule.test_episodes=10", "trainer.max_epochs=1"))
    assert record.metrics["test/return"] > 70  # of 100; a random policy: about 22


def test_an_epoch_shorter_than_an_episode_is_said_once(compose, caplog):
    train(compose("ppo/pendulum", "actors=serial", "datamodule.env.max_steps=60"))
    said = [record.message for record in caplog.records if "no episode ended in an epoch" in record.message]
    assert (
        len(said) == 1
        and "which has 32 steps in each world" in said[0]
        and "datamodule.iterations_per_epoch, such as 8" in said[0]
    )


@pytest.mark.process
def test_a_resumed_run_whose_replay_is_gone_says_so(compose, tmp_path, monkeypatch):
    config = compose("ddpg/pendulum")
    original = DDPG.training_step

    def failing(self, batch, batch_index):
        if self.current_epoch == 1:
            raise RuntimeError("power cut")
        return original(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(DDPG, "training_step", failing)
        with pytest.raises(RuntimeError, match="power cut"):
            train(config)
    (replay,) = tmp_path.glob("outputs/runs/*/replay")
    shutil.rmtree(replay)
    with pytest.raises(ReplayMissing, match="delete the run's folder to begin anew"):
        train(config)


def test_a_checkpoint_with_former_names_is_read(compose):
    module, _ = build(validate(compose("ppo/pendulum"), TrainConfig))
    weight = torch.ones(1)
    checkpoint = {
        "state_dict": {"beta": torch.tensor(3.0), "divergences": torch.tensor([1.0, 2.0]), "network.weight": weight}
    }
    module.on_load_checkpoint(checkpoint)
    assert sorted(checkpoint["state_dict"]) == ["network.weight", "penalty.beta", "penalty.divergences"]
    module.penalty.load_state_dict(
        {name.removeprefix("penalty."): value for name, value in checkpoint["state_dict"].items() if "penalty" in name}
    )
    assert module.penalty.beta == 3.0


def test_a_rank_that_is_done_removes_its_own_shards_alone(compose, tmp_path):
    """The others may still be writing what they were told."""
    datamodule = make(
        "datamodule",
        OmegaConf.to_container(
            compose("ddpg/pendulum", "datamodule.actors=2", "datamodule.shards=2").datamodule, resolve=True
        ),
    )
    replay = tmp_path / "replay"
    for shard in ("shard_0", "shard_1"):
        (replay / shard).mkdir(parents=True)
    for rank in (1, 0):
        datamodule.trainer = SimpleNamespace(
            default_root_dir=tmp_path, world_size=2, global_rank=rank, current_epoch=1, max_epochs=1
        )
        datamodule.teardown("fit")
        assert [path.name for path in tmp_path.rglob("shard_*")] == ["shard_0"][:rank]
    assert not replay.exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("changes", "stale"),
    [((), 1), (("network.lstm=5",), 1), (("datamodule.env.observe=pixels", "datamodule.env.pixels=40"), 2)],
)
def test_what_an_older_policy_did_is_weighed(changes, stale, compose, monkeypatch):
    """With the policy published every other iteration, each second batch is clipped around the policy that learning
    begins with.

    Of four batches, the first one is for the z-filter alone where there is one.
    """
    seen = []

    def watched(samples, network, clips):
        found = decoupled(samples, network, clips)
        again = network.evaluate(samples.observation, samples.state, samples.first)
        torch.testing.assert_close(found.log_prob, network.distribution.log_prob(again.parameters, samples.action))
        torch.testing.assert_close(found.weight, (found.log_prob - samples.log_prob).exp().clamp_max(2.0))
        assert found.advantage is samples.advantage
        torch.testing.assert_close(found.began, again.parameters)
        seen.append(float((found.weight - 1).abs().max()))
        return found

    monkeypatch.setattr(ppo, "decoupled", watched)
    train(compose("ppo/pendulum", "actors=serial", "algorithm.publish_every=2", "algorithm.passes=2", *changes))
    assert len(seen) == stale and all(1e-6 < apart < 1.0 for apart in seen)


class Aiming(gymnasium.Env):
    """The reward of a step is minus the squared distance of the action from what is seen."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.shown = self.np_random.uniform(-0.9, 0.9, 1).astype(np.float32)
        return self.shown, {}

    def step(self, action):
        reward = -float((action[0] - self.shown[0]) ** 2)
        self.shown = self.np_random.uniform(-0.9, 0.9, 1).astype(np.float32)
        return self.shown, reward, False, False, {}


@pytest.mark.slow
def test_ddpg_learns_to_aim(compose, monkeypatch):
    monkeypatch.setitem(gymnasium.registry, "Aiming-v0", EnvSpec("Aiming-v0", entry_point=Aiming))
    settings = (
        "algorithm.gamma=0.0",
        "algorithm.actor_lr_factor=1.0",
        "datamodule.batch_size=64",
        "datamodule.updates=16",
        "datamodule.capacity=5000",
    )
    widths = (
        "network.actor_hidden=[32]",
        "network.critic_hidden=[32,32]",
        "datamodule.steps=16",
        "datamodule.iterations_per_epoch=40",
    )
    record = train(compose("ddpg/pendulum", "env=gymnasium", "datamodule.env.id=Aiming-v0", *settings, *widths))
    assert record.metrics["test/return"] > -15 * 0.02  # a constant action: -15 / 3


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "changes",
    [
        ("ppo/pendulum", "algorithm.entropy_weight=0.01"),
        (
            "ppo/pendulum",
            "algorithm.variant=adaptive_kl",
            "algorithm.standardize=batch",
            "network.squash_mean=true",
            "algorithm.kl_target=1e-5",
        ),
        ("ppo/cartpole", "algorithm.entropy_weight=0.01", "algorithm.variant=adaptive_kl", "network.activation=relu"),
    ],
)
def test_ppo_by_hand_learns_what_autograd_does(changes, compose, tmp_path, monkeypatch):
    settings = (*changes, "datamodule.iterations_per_epoch=2", "trainer.max_epochs=1", "algorithm.passes=2")
    quick = checkpoint(train(compose(*settings, f"paths.outputs={tmp_path}/quick")), tmp_path / "quick")["state_dict"]
    monkeypatch.setattr(FastActorCritic, "serves", staticmethod(lambda _: False))
    slow = checkpoint(train(compose(*settings, f"paths.outputs={tmp_path}/slow")), tmp_path / "slow")["state_dict"]
    for name, value in slow.items():
        torch.testing.assert_close(
            quick[name], value, atol=2e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}"
        )
