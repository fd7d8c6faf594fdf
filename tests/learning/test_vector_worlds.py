"""Worlds that gymnasium steps together, and valid actions, in whole trainings."""

from __future__ import annotations

import pytest

from comparing import assert_same, checkpoint

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.mark.parametrize("preset", ["ppo/cartpole", "ddpg/pendulum"])
def test_worlds_stepped_together_teach_what_single_ones_do(preset, trained):
    one, outputs = trained(preset, "actors=serial", "datamodule.env.max_steps=9")
    together, others = trained(
        preset, "actors=serial", "datamodule.env.max_steps=9", "datamodule.env.vectorization=sync"
    )
    assert one.signature != together.signature and one.metrics == together.metrics
    assert_same(checkpoint(one, outputs)["state_dict"], checkpoint(together, others)["state_dict"])


def test_valid_actions_alone_are_learned_from(trained):
    """Taxi drives into no wall when it is told of them."""
    settings = ("actors=serial", "datamodule.iterations_per_epoch=2", "network.lstm=8")
    record, _ = trained("ppo/taxi", *settings)
    free, _ = trained("ppo/taxi", *settings, "datamodule.env.action_mask=false")
    for run in (record, free):
        assert run.status == "FINISHED" and {"train/clip_fraction", "train/gradient_norm"} <= run.history["0"].keys()
    assert record.history["0"]["train/entropy"] < 0.9 * free.history["0"]["train/entropy"]  # of fewer actions
