"""Runs of several learners, each in a process of its own."""

from __future__ import annotations

import itertools
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from chromium import wait_for
from comparing import assert_same, checkpoint, folder_of
from processes import Command, kill_when, record, run
from visagent.config.composition import compose_run, config_folder
from visagent.config.schemas import TrainConfig
from visagent.config.signature import signature
from visagent.config.validation import validate
from visagent.errors import ConfigError, UserError
from visagent.learning.in_step import Averaging, Synchronous
from visagent.networks.perceptron import Perceptron
from visagent.runtime.building import make
from visagent.runtime.keep_together import KeepTogether
from visagent.runtime.learners import another_learner, config_of, learner_of, place_on_node
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.train import train
from visagent.seeding import derive_seed

PRESET = "distributed/digits"
EPOCHS = 3
FEW = (f"trainer.max_epochs={EPOCHS}",)  # of three batches


def by_hand(config, combine):
    """What the first learner of a config ends with, in one loop.

    Args:
        config: composed.
        combine: takes a step with all networks, whose gradients are there.
    """
    resolved = validate(config, TrainConfig)
    others = range(1, resolved["learners"]["count"])
    each = [resolved["datamodule"], *(config_of(resolved, RunFolder("none"), n)["datamodule"] for n in others)]
    data = [make("datamodule", settings) for settings in each]
    torch.manual_seed(derive_seed(resolved["algorithm"]["seed"], "weights"))
    networks = [Perceptron(64, 10, [64]) for _ in each]
    for network in networks:
        network.load_state_dict(networks[0].state_dict())
    steps = itertools.count(1)
    for epoch in range(EPOCHS):
        for one in data:
            one.setup()
            one.trainer = SimpleNamespace(current_epoch=epoch, max_epochs=EPOCHS)
        for batches in zip(*(one.train_dataloader() for one in data), strict=True):
            for network, batch in zip(networks, batches, strict=True):
                network.zero_grad()
                torch.nn.functional.cross_entropy(network(batch.pictures), batch.label).backward()
            combine(networks, next(steps), resolved["optimizer"]["lr"])
    return {f"network.{name}": value for name, value in networks[0].state_dict().items()}


def descend(networks, rate):
    for parameter in itertools.chain(*(network.parameters() for network in networks)):
        parameter.data -= rate * parameter.grad


def take_the_mean(networks, of):
    for parameters in zip(*(network.parameters() for network in networks), strict=True):
        values = [of(parameter) for parameter in parameters]
        mean = torch.stack([value.clone() for value in values]).mean(dim=0)
        for value in values:
            value.copy_(mean)


def synchronous(networks, step, rate):
    take_the_mean(networks, lambda parameter: parameter.grad)
    descend(networks, rate)


def every_second(networks, step, rate):
    descend(networks, rate)
    if step % 2 == 0:
        take_the_mean(networks, lambda parameter: parameter.data)


@pytest.mark.parametrize(
    ("way", "combine"),
    [
        (("learners=synchronous", "learners.count=3"), synchronous),
        (("learners=averaging", "learners.every=2"), every_second),
    ],
)
def test_learners_in_step_do_what_one_loop_would(way, combine, compose, tmp_path):
    config = compose(PRESET, *FEW, *way)
    done = train(config)
    ended = checkpoint(done, tmp_path)["state_dict"]
    for name, value in by_hand(config, combine).items():
        torch.testing.assert_close(ended[name], value, msg=name)
    last = done.history[str(EPOCHS - 1)]
    count = float(config.learners.count)
    assert last["learners/alive"] == count and last["learners/updates"] == 3 * EPOCHS
    assert last["learners/samples"] == count * 8 * 3 * EPOCHS == count * last["step"]
    apart = last["train/divergence"]
    assert apart == pytest.approx(0, abs=1e-7) if combine is synchronous else 1e-4 < apart < 1
    assert done.hardware["device"] == f"{int(count)} x cpu" and set(done.metrics) == {"test/loss", "test/accuracy"}
    other = RunFolder(folder_of(done, tmp_path).path / "learners" / "1").load()
    assert other.status == "FINISHED" and other.metrics == {} and other.seed != done.seed


def test_one_learner_learns_what_it_would_without_the_word(compose, tmp_path):
    alone, counted = (
        train(compose(PRESET, *FEW, *way)) for way in ((), ("learners=gossip", "learners.count=1", "learners.every=2"))
    )
    assert alone.signature != counted.signature
    assert_same(checkpoint(alone, tmp_path)["state_dict"], checkpoint(counted, tmp_path)["state_dict"])
    assert alone.metrics == counted.metrics


def test_a_centre_is_kept_for_the_next_attempt(compose, tmp_path):
    done = train(compose(PRESET, *FEW, "learners=parameter_server", "learners.every=2"))
    (kept,) = [state for name, state in checkpoint(done, tmp_path)["callbacks"].items() if "KeepTogether" in name]
    assert kept["batches"] == 3 * EPOCHS and kept["learners"]["centre"].shape == (64 * 64 + 64 + 640 + 10,)
    assert done.history["2"]["learners/alive"] == 2.0


def test_how_many_there_are_is_part_of_a_run_and_how_long_they_wait_is_not():
    def signed(*overrides):
        with config_folder():
            return signature(compose_run([f"experiment={PRESET}", *overrides]))

    two = signed("learners=gossip")
    assert len({signed(), two, signed("learners=gossip", "learners.count=3"), signed("learners=averaging")}) == 4
    assert signed("learners=gossip", "learners.patience=99") == two


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("learners=gossip", "trainer.devices=2"), "trainer.devices: expected 1 with learners"),
        (("learners=gossip", "trainer.num_nodes=2"), "trainer.num_nodes: expected 1 with learners"),
        (("learners=averaging", "learners.every=0"), "learners.every: expected 10 or another number at least 1"),
        (("learners=parameter_server", "learners.pull=1.5"), "learners.pull"),
    ],
)
def test_what_learners_cannot_be_is_refused(overrides, said, compose):
    with pytest.raises(ConfigError) as refused:
        validate(compose(PRESET, *overrides), TrainConfig)
    assert said in str(refused.value)


def test_a_method_with_steps_of_its_own_takes_no_synchronous_ones(compose, tmp_path):
    with pytest.raises(ConfigError, match=r"got PPO, which takes its own steps; type learners=averaging"):
        train(compose("ppo/cartpole", "learners=synchronous"))
    done = train(compose("ppo/cartpole", "learners=averaging", "learners.every=1"))
    assert done.status == "FINISHED" and done.history["1"]["train/divergence"] > 0


@pytest.mark.parametrize("way", ["gossip", "averaging"])
def test_a_run_goes_on_though_some_learners_are_further(way, compose, tmp_path):
    """One has finished, the other was stopped an epoch before; those in step go back to where both can begin."""
    config = compose(PRESET, *FEW, f"learners={way}", "learners.every=2")
    done = train(config)
    folder, unbroken = folder_of(done, tmp_path), checkpoint(done, tmp_path)
    folder.previous_checkpoint.replace(folder.checkpoint)
    done.status, done.metrics = "KILLED", {}
    del done.history[str(EPOCHS - 1)]
    folder.save(done)
    again = train(config)
    assert again.status == "FINISHED" and again.attempts == 2 and len(again.history) == EPOCHS
    assert again.history[str(EPOCHS - 1)]["learners/alive"] == 2.0 and again.hardware["device"] == "2 x cpu"
    if way == "averaging":
        assert_same(checkpoint(again, tmp_path)["state_dict"], unbroken["state_dict"])


@pytest.mark.parametrize(
    ("way", "module", "trainer", "said"),
    [
        (Synchronous, {"automatic_optimization": True}, {"precision": "16-mixed"}, "type trainer.precision=bf16-mixed"),
        (Averaging, {"unequal_batches": True}, {"precision": "32-true"}, "type learners=gossip"),
    ],
)
def test_what_cannot_be_in_step_is_refused(way, module, trainer, said):
    learner = SimpleNamespace(learners=way(SimpleNamespace(count=2)))
    with pytest.raises(ConfigError, match=said):
        KeepTogether(learner).setup(SimpleNamespace(**trainer), SimpleNamespace(**module), "fit")


@pytest.mark.parametrize(
    ("number", "variables", "place"),
    [
        (3, {}, 3),
        (1, {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}, 0),
        (3, {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}, 1),
        (7, {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}, 3),
    ],
)
def test_learners_of_a_node_have_places_of_their_own(number, variables, place, monkeypatch):
    for name in [*os.environ]:
        if name.startswith("SLURM"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert place_on_node(number) == place


def failing(config, number, place):
    """A learner whose disk is full."""
    another_learner(config, number, place).failed("No space left on device")


def dying(config, number, place):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("learn", "said"),
    [(failing, "learner 1 failed: No space left on device"), (dying, "learner 1 ended with exit code -9")],
)
def test_nobody_waits_for_a_learner_that_did_not_begin(learn, said, compose, tmp_path):
    config = validate(compose(PRESET, "learners=gossip"), TrainConfig)
    folder = RunFolder(tmp_path / "run")
    folder.create(config)
    with pytest.raises(UserError, match=said), learner_of(config, folder, learn) as first:
        while True:  # until it raises
            first.meeting.check()


def learner_process(outputs, number):
    """The process id of a learner that works, by the lock of its folder."""
    (lock,) = Path(outputs).glob(f"runs/*/learners/{number}/lock")
    return int(lock.read_text().split()[0])


def epochs_of(outputs, number=None):
    """How many a learner has finished."""
    below = "record.json" if number is None else f"learners/{number}/record.json"
    there = list(Path(outputs).glob(f"runs/*/{below}"))
    return len(json.loads(there[0].read_text())["history"]) if there else 0


def has_finished(outputs, epochs):
    return epochs_of(outputs) >= epochs


@pytest.mark.process
def test_gossip_goes_on_without_a_learner_that_is_killed(tmp_path):
    """The others reach the accuracy that they were to reach."""
    words = (f"experiment={PRESET}", "learners=gossip", "learners.count=3", "optimizer.lr=0.3", "trainer.max_epochs=40")
    with Command("visagent-train", *words, "logger=none", "progress=none", f"paths.outputs={tmp_path}") as command:
        wait_for(lambda: epochs_of(tmp_path, 2) >= 3, "the third learner to have learned something", 240)
        os.kill(learner_process(tmp_path, 2), signal.SIGKILL)
        done = command.wait()
    assert done.returncode == 0, done.stderr
    assert "learner 2 does not answer learner 0" in done.stdout
    first = record(tmp_path)
    alive = [values["learners/alive"] for values in first["history"].values()]
    assert first["status"] == "FINISHED" and alive[0] == 3.0 and alive[-1] == 2.0 and len(alive) == 40
    (path,) = tmp_path.glob("runs/*/learners/1/record.json")
    second = json.loads(path.read_text())
    assert second["status"] == "FINISHED"
    for history in (first["history"], second["history"]):
        assert max(values["val/accuracy"] for values in history.values()) >= 0.95


@pytest.mark.process
@pytest.mark.slow
def test_learners_in_step_that_were_killed_end_as_unbroken_ones(tmp_path):
    words = [f"experiment={PRESET}", "learners=averaging", "learners.every=7", "optimizer.momentum=0.9"]
    words += ["trainer.max_epochs=12", "logger=none", "progress=none"]
    run("visagent-train", *words, f"paths.outputs={tmp_path / 'unbroken'}")
    broken = tmp_path / "broken"
    for epochs in (3, 7):
        kill_when(
            lambda epochs=epochs: epochs_of(broken) >= epochs, "visagent-train", *words, f"paths.outputs={broken}"
        )
    wait_for(lambda: not at_work(broken), "the learners that were left to end", 60)
    run("visagent-train", *words, f"paths.outputs={broken}")
    for below in ("", "learners/1/"):
        states = []
        for outputs in (tmp_path / "unbroken", broken):
            (path,) = outputs.glob(f"runs/*/{below}checkpoints/last.ckpt")
            states.append(torch.load(path, weights_only=True))
        for part in ("state_dict", "optimizer_states", "random_state"):
            assert_same(states[0][part], states[1][part])
    assert record(broken)["attempts"] == 3 and len(record(broken)["history"]) == 12


def at_work(outputs):
    """The learners that are, beside the first."""
    return [path for path in Path(outputs).glob("runs/*/learners/*") if RunFolder(path).is_locked()]


@pytest.mark.process
@pytest.mark.slow
def test_learners_in_step_end_when_one_is_killed_and_say_so(tmp_path):
    words = (f"experiment={PRESET}", "learners=averaging", "logger=none", "progress=none", f"paths.outputs={tmp_path}")
    with Command("visagent-train", *words) as command:
        wait_for(lambda: epochs_of(tmp_path, 1) >= 2, "the second learner to have learned something", 240)
        os.kill(learner_process(tmp_path, 1), signal.SIGKILL)
        done = command.wait()
    assert done.returncode == 2 and "learners=gossip goes on without one" in done.stderr
    assert "Traceback" not in done.stderr and record(tmp_path)["status"] == "FAILED"
    assert run("visagent-train", *words).returncode == 0
    assert record(tmp_path)["status"] == "FINISHED" and len(record(tmp_path)["history"]) == 40
