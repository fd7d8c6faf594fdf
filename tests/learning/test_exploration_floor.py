"""Settings that keep PPO exploring, and the share of starts that it solves."""

from __future__ import annotations

import pytest

from comparing import checkpoint
from visagent.config.schemas import TrainConfig
from visagent.config.validation import validate
from visagent.envs.gymnasium_world import GymnasiumWorlds
from visagent.errors import ConfigError
from visagent.learning.fast_gradients import FastActorCritic
from visagent.runtime.train import train

TINY = ("actors=serial", "datamodule.film_episodes=0", "trainer.max_epochs=1", "algorithm.passes=2")


@pytest.mark.parametrize("by_hand", [True, False])
def test_the_standard_deviation_has_a_floor(by_hand, compose, tmp_path, monkeypatch):
    """With a weight that rewards certainty it would fall far; it stays at its floor, and the share of solved starts is
    told.
    """
    if not by_hand:
        monkeypatch.setattr(FastActorCritic, "serves", staticmethod(lambda _: False))
    certain = ("algorithm.entropy_weight=-10.0", "optimizer.lr=0.05")
    settings = ("network.min_log_std=-0.04", "datamodule.solved_return=-100000.0")
    # two steps of 0.05
    record = train(compose("ppo/pendulum", *TINY, *certain, *settings, f"paths.outputs={tmp_path}/floor"))
    assert checkpoint(record, tmp_path / "floor")["state_dict"]["network.log_std"].tolist() == pytest.approx([-0.04])
    assert record.metrics["test/solved_rate"] == record.history["0"]["val/solved_rate"] == 1.0


def test_a_floor_above_the_beginning_is_refused(compose):
    with pytest.raises(ConfigError, match=r"network\.min_log_std.*at most network\.init_log_std, 0\.0"):
        validate(compose("ppo/pendulum", "network.min_log_std=0.5"), TrainConfig)


def test_what_gymnasium_calls_solved():
    assert GymnasiumWorlds("CartPole-v1").solved_return == 475.0
    assert GymnasiumWorlds("Pendulum-v1").solved_return is None
    assert GymnasiumWorlds("CartPole-v1", max_steps=50).solved_return is None
    assert GymnasiumWorlds("nowhere:Unknown-v0").solved_return is None
