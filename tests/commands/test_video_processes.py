"""Action recognition as a user runs it: in processes of its own."""

from __future__ import annotations

import pytest
import torch

from processes import checkpoint, kill_when, record, records, run
from ranks import on_ranks, results
from slow import first
from visagent.runtime.train import train

pytestmark = pytest.mark.process


def arguments(videos, outputs, *more):
    return [
        "experiment=rubiksnet/something_v2",
        "debug=smoke",
        f"datamodule.cache={videos}",
        "progress=none",
        "logger=none",
        f"paths.outputs={outputs}",
        *more,
    ]


@pytest.mark.slow
def test_kill_and_resume_is_bitwise(videos, synthetic, tmp_path):
    """kill -9 with decoding workers at work, the same command again."""
    synthetic("something_v2")
    long = ("trainer.max_epochs=4", "datamodule.workers=1", "datamodule.batch_size=2", "network.variant=rubiks3d-aq")
    unbroken, broken = tmp_path / "a", tmp_path / "b"
    run("visagent-train", *arguments(videos, unbroken, *long))
    kill_when(
        lambda: any(len(r["history"]) >= 2 for r in records(broken)),
        "visagent-train",
        *arguments(videos, broken, *long),
    )
    killed = record(broken)
    assert killed["status"] == "RUNNING" and 2 <= len(killed["history"]) < 4
    assert "resuming the run" in run("visagent-train", *arguments(videos, broken, *long)).stdout
    one, other = checkpoint(unbroken), checkpoint(broken)
    assert all(torch.equal(one["state_dict"][key], other["state_dict"][key]) for key in one["state_dict"])
    momenta = [state["optimizer_states"][0]["state"] for state in (one, other)]
    assert all(torch.equal(momenta[0][i]["exp_avg"], momenta[1][i]["exp_avg"]) for i in momenta[0])
    assert record(broken)["history"] == record(unbroken)["history"] and record(broken)["attempts"] == 2


@pytest.mark.parametrize("variant", first(1, ["rubiks3d", "rubiks3d-aq"]))
def test_two_ranks_learn_what_one_learns(variant, synthetic, compose, tmp_path):
    """Global batches divided, statistics of normalisation and gradients shared, shifts normalised after that: equal up
    to rounding.
    """
    synthetic("something_v2")
    # Without momentum or Adam's division, which turn rounding of a tiny gradient into a step of full size.
    common = (
        "trainer.accelerator=cpu",
        f"network.variant={variant}",
        "optimizer=sgd",
        "optimizer.lr=0.01",
        "optimizer.momentum=0",
        "trainer.max_epochs=2",
    )
    train(compose("rubiksnet/something_v2", *common, f"paths.outputs={tmp_path}/one"))
    together = compose(
        "rubiksnet/something_v2", *common, f"paths.outputs={tmp_path}/two", "trainer.devices=2", "trainer.strategy=ddp"
    )
    results(on_ranks(lambda _: train(together)))
    one, two = checkpoint(tmp_path / "one")["state_dict"], checkpoint(tmp_path / "two")["state_dict"]
    assert one.keys() == two.keys()
    apart = {
        key: float((one[key].double() - two[key].double()).abs().max()) for key in one if one[key].is_floating_point()
    }
    # A shift's step is a unit vector whatever its gradient's size, so that rounding shows more in it.
    limits = {key: 1e-2 if key.endswith("shift") else 1e-3 for key in apart}
    assert all(apart[key] < limits[key] for key in apart), sorted(apart.items(), key=lambda item: -item[1])[:4]
    first, second = record(tmp_path / "one"), record(tmp_path / "two")
    assert first["signature"] == second["signature"]
    assert first["history"]["1"]["train/loss_epoch"] == pytest.approx(
        second["history"]["1"]["train/loss_epoch"], rel=1e-3
    )
    assert first["metrics"].keys() == second["metrics"].keys()
