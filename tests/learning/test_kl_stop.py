"""The divergence that ends the passes over a batch is that of the update, however old the policy is that acted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datamodules.rollouts import RolloutDataModule
from lightning_modules.ppo import PPO
from visagent.runtime.train import train

SETTINGS = ("actors=serial", "datamodule.film_episodes=0", "trainer.max_epochs=1", "datamodule.iterations_per_epoch=4")


@pytest.mark.parametrize("variant", ["clip", "adaptive_kl"])
def test_an_older_policy_does_not_stop_the_passes(variant, compose, monkeypatch):
    """What acted is made to look far from what learns: measured against it, the first pass would be the last."""
    original, passes, stop = RolloutDataModule.next_batch, [], PPO.measure

    def older(self, epoch, iteration):
        batch = original(self, epoch, iteration)
        if iteration < 2:
            return batch
        batch.parameters.add_(0.5)
        return replace(batch, version=batch.version - 1)

    def watched(self, *arguments):
        found = stop(self, *arguments)
        passes.append((int(self.iterations), float(found["train/kl"]), float(found["train/update_kl"])))
        return found

    monkeypatch.setattr(RolloutDataModule, "next_batch", older)
    monkeypatch.setattr(PPO, "measure", watched)
    few = ("algorithm.epochs=3", "optimizer.lr=1e-6", "algorithm.kl_target=0.01", "algorithm.kl_stop=2.0")
    train(compose("ppo/pendulum", *SETTINGS, *few, f"algorithm.variant={variant}"))
    assert [iteration for iteration, *_ in passes] == [1, 1, 1, 2, 2, 2, 3, 3, 3]  # the first batch is for the z-filter
    assert all(acted == moved for iteration, acted, moved in passes if iteration == 1)
    assert all(acted > 0.02 > abs(moved) for iteration, acted, moved in passes if iteration > 1)
