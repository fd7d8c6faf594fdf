"""The divergence that ends the passes over a batch is that of the update, however old the policy is that acted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datamodules.rollouts import RolloutDataModule
from lightning_modules import ppo
from visagent.learning.passes import mean_of_all
from visagent.runtime.train import train

SETTINGS = ("actors=serial", "datamodule.film_episodes=0", "trainer.max_epochs=1", "datamodule.iterations_per_epoch=4")


@pytest.mark.parametrize("variant", ["clip", "adaptive_kl"])
def test_an_older_policy_does_not_stop_the_passes(variant, compose, monkeypatch):
    """What acted is made to look far from what learns: measured against it, the first pass would be the last."""
    original, passes = RolloutDataModule.next_batch, []

    def older(self, epoch, iteration):
        batch = original(self, epoch, iteration)
        if iteration < 2:
            return batch
        batch.parameters.add_(0.5)
        return replace(batch, version=batch.version - 1)

    def watched(*arguments):
        found = mean_of_all(*arguments)
        passes.append((float(found["kl"]), float(found["update_kl"])))
        return found

    monkeypatch.setattr(RolloutDataModule, "next_batch", older)
    monkeypatch.setattr(ppo, "mean_of_all", watched)
    few = ("algorithm.passes=3", "optimizer.lr=1e-6", "algorithm.kl_target=0.01", "algorithm.kl_stop=2.0")
    train(compose("ppo/pendulum", *SETTINGS, *few, f"algorithm.variant={variant}"))
    assert len(passes) == 9  # three of each batch but the first, which is for the z-filter
    assert all(acted == moved for acted, moved in passes[:3])
    assert all(acted > 0.02 > abs(moved) for acted, moved in passes[3:])
