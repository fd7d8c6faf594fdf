"""Reinforcement learning in mixed precision: where pictures are seen, and refused elsewhere."""

from __future__ import annotations

import re

import pytest
import torch

from comparing import checkpoint
from visagent.errors import ConfigError
from visagent.runtime.train import train

PICTURES = (
    "datamodule.env.observe=pixels",
    "datamodule.env.pixels=40",
    "actors=serial",
    "datamodule.film_episodes=0",
    "trainer.max_epochs=1",
)
SHORT = ("datamodule.env.max_steps=5", "datamodule.eval_episodes=1", "datamodule.test_episodes=1")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("ppo/pendulum", ("algorithm.passes=1", "datamodule.steps=8", "datamodule.worlds_per_actor=2")),
        ("ddpg/pendulum", ("datamodule.warmup=4", "datamodule.iterations_per_epoch=4")),
    ],
)
def test_pictures_are_learned_from_in_bfloat16(preset, changes, compose, tmp_path, monkeypatch):
    seen, original = set(), torch.nn.Conv2d.forward

    def watched(self, x):
        found = original(self, x)
        if torch.is_grad_enabled() and found.requires_grad:
            seen.add(found.dtype)
        return found

    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    weights = {}
    for precision in ("32-true", "bf16-mixed"):
        seen.clear()
        record = train(
            compose(
                preset,
                *PICTURES,
                *SHORT,
                *changes,
                f"trainer.precision={precision}",
                f"paths.outputs={tmp_path}/{precision}",
            )
        )
        assert record.status == "FINISHED" and seen == {torch.float32 if precision == "32-true" else torch.bfloat16}
        weights[precision] = checkpoint(record, tmp_path / precision)["state_dict"]
    for name, value in weights["32-true"].items():
        assert weights["bf16-mixed"][name].dtype == value.dtype
        torch.testing.assert_close(weights["bf16-mixed"][name], value, atol=0.02, rtol=0.2)
    assert any(not torch.equal(weights["bf16-mixed"][name], value) for name, value in weights["32-true"].items())


@pytest.mark.parametrize(
    ("preset", "precision", "said"),
    [
        (
            "ppo/cartpole",
            "bf16-mixed",
            "expected 32-true, as this network has no convolutions over pictures, got bf16-mixed",
        ),
        (
            "ddpg/pendulum",
            "bf16-mixed",
            "expected 32-true, as this network has no convolutions over pictures, got bf16-mixed",
        ),
        ("evolution/cartpole", "bf16-mixed", "expected 32-true, got 'bf16-mixed'"),
        ("option_mappo/tool_delivery", "bf16-mixed", "expected 32-true, got 'bf16-mixed'"),
        ("option_mappo/mac_dqn_tool_delivery", "bf16-mixed", "expected 32-true, got 'bf16-mixed'"),
        ("ppo/cartpole", "64-true", "expected 32-true, or bf16-mixed with pixels to observe, got '64-true'"),
        ("evolution/cartpole", "bf16-true", "expected 32-true, got 'bf16-true'"),
    ],
)
def test_what_does_not_pay_is_refused_with_what_works(preset, precision, said, compose):
    with pytest.raises(ConfigError, match=re.escape(said)) as caught:
        train(compose(preset, "actors=serial", f"trainer.precision={precision}"))
    assert str(caught.value).endswith("type trainer.precision=32-true")
