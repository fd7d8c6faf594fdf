"""Reinforcement learning as a user runs it: in processes of its own."""

from __future__ import annotations

import pytest

from comparing import assert_same
from processes import checkpoint, kill_when, record, records, run
from ranks import on_ranks, results
from slow import first
from visagent.runtime.train import train

pytestmark = pytest.mark.process


def arguments(preset, outputs, *more):
    return [
        f"experiment={preset}",
        "debug=smoke",
        "progress=none",
        "logger=none",
        f"paths.outputs={outputs}",
        "trainer.accelerator=cpu",
        *more,
    ]


@pytest.mark.parametrize(
    ("preset", "changes"),
    first(
        1,
        [
            (
                "ppo/pendulum",
                ("algorithm.minibatch_size=8", "algorithm.entropy_weight=0.01", "algorithm.normalize_rewards=true"),
            ),
            (
                "ppo/pendulum",
                (
                    "algorithm.variant=adaptive_kl",
                    "algorithm.kl_target=1e-7",
                    "algorithm.minibatch_size=16",
                    "network.lstm=6",
                    "algorithm.passes=2",
                ),
            ),
            ("option_mappo/tool_delivery", ("datamodule.actors=2", "algorithm.minibatches=2")),
            (
                "option_mappo/tool_delivery",
                ("datamodule.actors=2", "algorithm.minibatches=2", "network.coupling=partial", "network.critic=local"),
            ),
            (
                "ddpg/pendulum",
                (
                    "datamodule.actors=2",
                    "datamodule.shards=2",
                    "algorithm.smoothing=0.2",
                    "datamodule.env.frame_stack=2",
                ),
            ),
        ],
    ),
)
def test_two_ranks_learn_what_one_learns(preset, changes, compose, tmp_path):
    """Actors, minibatches and shards divided, gradients and statistics added up: equal up to rounding."""
    # Without momentum or Adam's division, which turn rounding of a tiny gradient into a step of full size.
    common = (
        *changes,
        "optimizer=sgd",
        "optimizer.lr=0.001",
        "optimizer.momentum=0",
        "trainer.accelerator=cpu",
        "datamodule.film_episodes=0",
    )
    train(compose(preset, *common, f"paths.outputs={tmp_path}/one"))
    together = compose(preset, *common, f"paths.outputs={tmp_path}/two", "trainer.devices=2", "trainer.strategy=ddp")
    results(on_ranks(lambda _: train(together)))
    one, two = (checkpoint(tmp_path / name)["state_dict"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    apart = {key: float((one[key].double() - two[key].double()).abs().max()) for key in one}
    assert max(apart.values()) < 1e-4, sorted(apart.items(), key=lambda item: -item[1])[:4]
    first, second = record(tmp_path / "one"), record(tmp_path / "two")
    assert first["signature"] == second["signature"] and first["env_steps"] == second["env_steps"]
    assert first["metrics"] == pytest.approx(second["metrics"], rel=1e-3)
    for key, value in first["history"]["1"].items():
        if not key.startswith("time/"):
            assert second["history"]["1"][key] == pytest.approx(value, rel=2e-2, abs=1e-5), key


@pytest.mark.parametrize("preset", first(1, ["ppo/pendulum", "ddpg/pendulum", "option_mappo/tool_delivery"]))
def test_a_killed_learner_goes_on_bitwise(preset, tmp_path):
    """kill -9 of the learner, the same command again: weights, optimizers and numbers of an unbroken run."""
    settings, broken = ("trainer.max_epochs=12", "datamodule.iterations_per_epoch=3"), tmp_path / "broken"
    run("visagent-train", *arguments(preset, tmp_path / "unbroken", *settings))
    kill_when(
        lambda: any(len(r["history"]) >= 3 for r in records(broken)),
        "visagent-train",
        *arguments(preset, broken, *settings),
    )
    killed = record(broken)
    assert killed["status"] == "RUNNING" and 3 <= len(killed["history"]) < 12
    assert "resuming the run" in run("visagent-train", *arguments(preset, broken, *settings)).stdout
    one, other = checkpoint(tmp_path / "unbroken"), checkpoint(broken)
    assert_same(one["state_dict"], other["state_dict"])
    assert_same(one["optimizer_states"], other["optimizer_states"])
    assert record(broken)["attempts"] == 2 and record(broken)["metrics"] == record(tmp_path / "unbroken")["metrics"]
