"""What a running normaliser has not seen yet is not learned from."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from datamodules.rollouts import RolloutDataModule
from lightning_modules.evolution import EvolutionStrategies
from lightning_modules.ppo import PPO
from visagent.runtime.train import train

ONE_EPOCH = ("actors=serial", "trainer.max_epochs=1", "datamodule.film_episodes=0", "datamodule.iterations_per_epoch=4")


def watched_steps(method, monkeypatch):
    """Of every iteration: version of the policy that acted, samples in the filter before it, whether weights changed,
    and how far the filter moved.
    """
    found, original = [], method.training_step

    def watched(self, batch, batch_index):
        before = {name: value.detach().clone() for name, value in self.network.named_parameters()}
        filter = self.network.normalizer
        count, mean, std = float(filter.count), filter.mean.clone(), filter.std.clone()
        original(self, batch, batch_index)
        changed = any(not torch.equal(before[name], value) for name, value in self.network.named_parameters())
        found.append((batch.version, count, changed, float(((filter.mean - mean) / std).abs().max())))

    monkeypatch.setattr(method, "training_step", watched)
    return found


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("preset", "method", "changes"),
    [
        ("ppo/pendulum", PPO, ()),
        ("ppo/pendulum", PPO, ("algorithm.variant=adaptive_kl", "algorithm.publish_every=2")),
        ("evolution/cartpole", EvolutionStrategies, ()),
    ],
)
def test_the_first_batch_is_for_the_filter_alone(preset, method, changes, compose, monkeypatch):
    found = watched_steps(method, monkeypatch)
    settings = ("datamodule.steps=40", "datamodule.worlds_per_actor=4") if method is PPO else ()
    train(compose(preset, *ONE_EPOCH, *settings, *changes))
    assert [changed for _, _, changed, _ in found] == [False, True, True, True]
    assert found[0][:2] == (0, 0.0) and all(version > 0 and count > 0 for version, count, *_ in found[1:])
    if method is PPO:  # its batches are large enough: what has been learned goes on to hold
        assert all(moved < 0.7 for *_, moved in found[1:])


@pytest.mark.usefixtures("undrawn")
def test_batches_that_asynchronous_actors_made_before_the_filter_knew_anything_are_for_it_too(compose, monkeypatch):
    found, original, made = watched_steps(PPO, monkeypatch), RolloutDataModule.next_batch, iter(range(4))

    def late(self, epoch, iteration):
        return replace(original(self, epoch, iteration), version=max(0, next(made) - 1))

    monkeypatch.setattr(RolloutDataModule, "next_batch", late)
    train(compose("ppo/pendulum", *ONE_EPOCH))
    assert [(version, changed) for version, _, changed, _ in found] == [(0, False), (0, False), (1, True), (2, True)]
