"""What navigation learns from and is tested on: no labels where there are none, starts apart from those of training,
their overlap.
"""

from __future__ import annotations

import h5py
import pytest
import torch

from comparing import checkpoint
from visagent.config.schemas import TrainConfig
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime.fitting import build
from visagent.runtime.train import train
from visagent.scenes.graph import shortest_path_distance
from visagent.testing.scenes import write_grid_dump

ONE_WAY = 16
"""The first state of the fifth cell, which can be entered and not left."""


@pytest.fixture
def trap(tmp_path):
    """A corridor of five cells; nobody comes back from the last one."""
    path = write_grid_dump(tmp_path / "trap", "bathroom_01", (".....",))
    with h5py.File(path, "r+") as file:
        graph = file["graph"][()]
        graph[ONE_WAY:, 0] = graph[ONE_WAY:, 3] = -1
        file["graph"][...], file["shortest_path_distance"][...] = graph, shortest_path_distance(graph)
    return path.parent


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("preset", ["navigation/dagger", "navigation/safe_dagger"])
def test_states_from_which_the_target_cannot_be_reached_are_left_out(preset, trap, compose, tmp_path):
    few = (
        "+datamodule.targets.bathroom_01=[0]",
        "datamodule.batch_size=8",
        "algorithm.labels=optimal_set",
        "datamodule.new_target_distances=[]",
    )
    record = train(
        compose(
            preset, f"datamodule.scenes={trap}", *few, "datamodule.collect_starts_per_target=20", "network.projection=8"
        )
    )
    (data,) = [part for name, part in checkpoint(record, tmp_path).items() if name.endswith("DataModule")]
    states, optimal = (torch.cat([block[column] for block in data["data"]["rounds"]]) for column in (0, 3))
    assert bool((states[:, -1] < ONE_WAY).all()) and bool((optimal > 0).all())
    last = record.history["1"]
    assert last["data/unreachable"] == data["unreachable"] > 0
    assert 0.0 <= last["data/start_overlap"] <= last["data/state_overlap"] <= 1.0
    if preset == "navigation/dagger":  # who is trapped takes steps all the same, and was labelled
        assert record.env_steps == last["data/samples"] + last["data/unreachable"]
        assert last["data/expert_queries"] == record.env_steps - last["data/demonstration_labels"]


def begins(data, *, disjoint):
    data.settings.disjoint_starts = disjoint
    batch = data.test_dataloader().dataset[0]
    return set(zip(batch.starts.tolist(), batch.targets.tolist(), strict=True))


@pytest.mark.parametrize(("preset", "kinds"), [("behaviour_cloning", 1), ("dagger", 3), ("safe_dagger", 4)])
def test_disjoint_starts_are_starts_of_no_training_episode(preset, kinds, compose):
    _, data = build(validate(compose(f"navigation/{preset}", "datamodule.test_starts_per_target=20"), TrainConfig))
    data.setup()
    for _ in range(3):  # as after three rounds
        data.data.append(data.demonstrations())
    episodes = list(data.training_episodes(3))
    trained = {pair for starts, targets in episodes for pair in zip(starts.tolist(), targets.tolist(), strict=True)}
    labelled = set(zip(data.data.samples.history[:, -1].tolist(), data.data.samples.target.tolist(), strict=True))
    assert len(episodes) == kinds
    usual, shares = begins(data, disjoint=False), data.overlap()
    assert 0 < shares["data/start_overlap"] == pytest.approx(len(usual & trained) / len(usual))
    assert (
        shares["data/start_overlap"] < shares["data/state_overlap"] == pytest.approx(len(usual & labelled) / len(usual))
        or preset != "behaviour_cloning"
    )
    apart, shares = begins(data, disjoint=True), data.overlap()
    assert (
        len(apart) == len(usual)
        and not apart & trained
        and shares["data/start_overlap"] == 0.0 < shares["data/state_overlap"]
    )


def test_where_every_state_was_a_start_says_so_before_training(compose):
    _, data = build(
        validate(
            compose(
                "navigation/behaviour_cloning", "datamodule.starts_per_target=1000", "datamodule.disjoint_starts=true"
            ),
            TrainConfig,
        )
    )
    said = (
        r"expected a state of \w+ in which no training episode for target \d+ begins, got none; type "
        r"datamodule\.disjoint_starts=false"
    )
    with pytest.raises(ConfigError, match=said):
        data.setup()
