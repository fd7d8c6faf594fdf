"""Losses, weights and returns that are not finite end a run of any method, by name; what may be undefined stands in the
history.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from hydra.utils import get_class
from torch import nn

from datamodules.actors import EvaluationEpisodes
from datamodules.perturbations import PerturbationDataModule
from visagent.errors import DivergedError
from visagent.networks.normalizers import RunningNormalizer
from visagent.runtime.divergence import is_decisive, undefined_metric, undefined_weight
from visagent.runtime.record import Record
from visagent.runtime.report import learning_curves
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.train import train

ACTING = ("actors=serial", "datamodule.eval_episodes=1", "datamodule.test_episodes=1")
FAMILIES = {
    "ppo/cartpole": ACTING,
    "ddpg/pendulum": ACTING,
    "evolution/cartpole": ACTING,
    "option_mappo/tool_delivery": ACTING,
    "option_mappo/mac_dqn_tool_delivery": ACTING,
    "navigation/behaviour_cloning": ("datamodule.batch_size=8",),
    "navigation/dagger": ("datamodule.batch_size=8",),
    "rubiksnet/tsn": (),
}
EPOCH, BATCH = 1, 1


def the_only_run(outputs):
    (path,) = outputs.glob("runs/*/record.json")
    folder = RunFolder(path.parent)
    return folder, folder.load()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("preset", FAMILIES)
def test_a_run_that_diverges_fails_by_name(preset, compose, tmp_path, monkeypatch):
    config = compose(preset, *FAMILIES[preset])
    method = get_class(config.algorithm._target_)
    original = method.training_step

    def poisoned(self, batch, batch_index):
        if (self.current_epoch, batch_index) == (EPOCH, BATCH):
            with torch.no_grad():
                next(self.network.parameters()).view(-1)[0] = math.nan
        return original(self, batch, batch_index)

    monkeypatch.setattr(method, "training_step", poisoned)
    with pytest.raises(DivergedError) as caught:
        train(config)
    said = re.fullmatch(
        r"the run diverged: (\S+) is nan at step ([\d,]+) \(epoch 1, batch 1\): expected finite numbers; try "
        r"optimizer\.lr=\S+ or less.*",
        str(caught.value),
    )
    assert said and (said[1].startswith("train/") or said[1].startswith("network."))
    folder, record = the_only_run(tmp_path / "outputs")
    assert record.status == "FAILED" and record.error == str(caught.value)
    assert int(said[2].replace(",", "")) > record.history["0"]["step"]
    assert undefined_metric(record.history["0"]) is None
    if said[1].startswith("train/"):
        assert any(math.isnan(value) for value in record.history["1"].values())
    state = torch.load(folder.checkpoint, weights_only=True)["state_dict"]  # that of the epoch before
    assert all(bool(value.isfinite().all()) for value in state.values())
    for override in re.findall(r"(?:algorithm|trainer|optimizer)\.\S+?=[^\s,]+", str(caught.value)):
        compose(preset, override)  # what it recommends exists


def test_a_return_that_is_not_finite_fails_a_run(compose, monkeypatch):
    original, counts, broken = EvaluationEpisodes.run, {"val": 2, "test": 3}, set[int]()

    def undefined(self, policy, seeds):
        first, *others = original(self, policy, seeds)
        return [replace(first, total_reward=math.nan) if len(seeds) in broken else first, *others]

    monkeypatch.setattr(EvaluationEpisodes, "run", undefined)
    settings = (
        *ACTING,
        "trainer.max_epochs=1",
        f"datamodule.eval_episodes={counts['val']}",
        f"datamodule.test_episodes={counts['test']}",
    )
    for where, count in counts.items():
        broken.clear()
        broken.add(count)
        with pytest.raises(DivergedError, match=f"the run diverged: {where}/return is nan at step"):
            train(compose("ppo/cartpole", *settings, f"name={where}"))


def test_perturbed_policies_whose_return_is_undefined_rank_last(compose, tmp_path, monkeypatch):
    original = PerturbationDataModule.next_batch

    def broken(self, epoch, iteration):
        batch = original(self, epoch, iteration)
        batch.returns[0, 0], batch.returns[1, 1] = math.nan, math.inf
        return batch

    monkeypatch.setattr(PerturbationDataModule, "next_batch", broken)
    record = train(compose("evolution/cartpole", *ACTING))
    assert record.status == "FINISHED" and record.history["1"]["data/undefined_returns"] == 2.0
    assert all(math.isfinite(value) for value in record.history["1"].values())


def test_the_first_weight_that_is_not_finite_is_named():
    network = nn.Sequential(RunningNormalizer(2), nn.Linear(2, 3))
    assert undefined_weight(network) is None
    with torch.no_grad():
        network[1].weight.fill_(3e38)  # their sum overflows, they do not
    assert undefined_weight(network) is None
    with torch.no_grad():
        network[1].bias[1] = -math.inf
    assert undefined_weight(network) == ("1.bias", -math.inf)
    network[0].spread[0] = math.nan
    name, value = undefined_weight(network)
    assert name == "0.spread" and math.isnan(value)
    assert undefined_weight(nn.ReLU()) is None


def test_what_may_be_undefined_stands_in_the_history(tmp_path):
    undefined = "val/sampled/all/average_successful_length"
    assert (
        not is_decisive(undefined)
        and is_decisive("val/sampled/return")
        and is_decisive("data/episode_return")
        and is_decisive("train/loss_epoch")
    )
    folder = RunFolder(tmp_path)
    history = {"0": {undefined: math.nan, "val/return": math.nan}, "1": {undefined: 3.0, "val/return": math.nan}}
    folder.save(Record("r1", "n", "c", 0, "smoke", history=history))
    record = folder.load()
    assert record.history["1"][undefined] == 3.0 and math.isnan(record.history["0"][undefined])
    learning_curves(record).savefig(tmp_path / "curves.png")
