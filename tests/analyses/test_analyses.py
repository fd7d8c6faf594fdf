"""What is analysed of a policy: on worlds whose spot says the action, in looks that change the background alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from visagent.analyses import cycle, embeddings, latency, saliency
from visagent.analyses.subject import Subject
from visagent.errors import ConfigError
from visagent.networks.policy import Memoryless, PolicyStep
from visagent.testing.worlds import SpotWorlds


class Sees(Memoryless):
    """Acts on the column of the brightest pixel; its embedding is that column's place, or the mean colour."""

    def __init__(self, skilled: bool = True) -> None:
        super().__init__()
        self.skilled = skilled

    def columns(self, pixels):
        return pixels.float().sum(dim=1).amax(dim=1).softmax(dim=1) @ torch.linspace(-1, 1, pixels.shape[-1])

    def embedding(self, observation):
        pixels = observation["pixels"]
        place = self.columns(pixels)
        return torch.stack([place, place**2], dim=-1) if self.skilled else pixels.float().mean(dim=(2, 3))

    def act(self, observation, state=None, deterministic=False, generator=None):
        return PolicyStep(self.columns(observation["pixels"])[:, None], None, torch.zeros(1))


@pytest.fixture
def subject():
    return Subject(Sees(), SpotWorlds(steps=20), ("any",))


def test_actions_done_again_in_another_look_lead_to_the_same_states(subject):
    episode = subject.trajectory(3)
    assert episode.actions.shape == (20, 1) and episode.observations["pixels"].shape == (20, 3, 16, 16)
    again = subject.again(episode, "any")
    assert torch.equal(again["state"], episode.observations["state"])
    assert not torch.equal(again["pixels"], episode.observations["pixels"])
    same = subject.again(episode, "train")
    assert torch.equal(same["pixels"], episode.observations["pixels"])


@pytest.mark.parametrize("skilled", [True, False])
def test_embeddings_of_what_matters_are_consistent(tmp_path, monkeypatch, skilled):
    looks = {"any": 0, "more": 1}
    subject = Subject(Sees(skilled), SpotWorlds(steps=30), tuple(looks))
    again = Subject.again

    def in_other_colours(self, trajectory, look):
        seen = again(self, trajectory, "train" if look == "train" else "any")
        spot = seen["pixels"] == 255
        dimmed = (seen["pixels"].float() * 0.9 ** looks.get(look, 0)).to(torch.uint8)
        return {**seen, "pixels": torch.where(spot, seen["pixels"], dimmed)}

    monkeypatch.setattr(Subject, "again", in_other_colours)
    metrics = cycle.analyse(subject, 0, 2, 10, tmp_path / "cycle.png")
    assert (tmp_path / "cycle.png").is_file()
    if skilled:  # a spot may come to a place twice
        assert metrics["two_way"] > 70 and metrics["three_way"] > 60
    else:  # looks lie apart
        assert metrics["two_way"] < 60
    assert metrics["two_way_collapsed"] == pytest.approx(28.0) and 30 < metrics["two_way_random"] < 60


def test_cycles_want_three_looks_and_long_episodes(subject, tmp_path):
    with pytest.raises(ConfigError, match="looks: expected two at least beside train, got any"):
        cycle.analyse(subject, 0, 1, 5, tmp_path / "cycle.png")
    longer = Subject(subject.policy, SpotWorlds(steps=5), ("any", "train", "more"))
    with pytest.raises(ConfigError, match="--observations: expected at most 5"):
        cycle.analyse(longer, 0, 1, 6, tmp_path / "cycle.png")


def test_saliency_is_where_the_action_comes_from():
    def act(pixels):
        return pixels[:, :, 10:15, 30:35].float().mean(dim=(1, 2, 3))[:, None] / 255

    pixels = torch.randint(0, 256, (9, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    change = saliency.saliency(act, pixels)
    assert change.shape == (8, 10)
    assert np.unravel_index(change.argmax(), change.shape) == (2, 6)  # rows 10 to 14, columns 30 to 34
    assert change[0, 0] < 1e-3 * change.max()


def test_what_is_blurred_keeps_its_mean_and_loses_its_detail():
    picture = 255 * torch.rand(3, 30, 30, generator=torch.Generator().manual_seed(0))
    blurred = saliency.blurred(picture)
    assert blurred.shape == picture.shape and blurred.std() < 0.25 * picture.std()
    assert torch.allclose(saliency.blurred(torch.full((3, 30, 30), 70.0)), torch.tensor(70.0))


def test_pictures_are_drawn(subject, tmp_path):
    for analysis in (saliency, embeddings):
        assert analysis.analyse(subject, 0, tmp_path / "picture.png") == {}
        assert (tmp_path / "picture.png").stat().st_size > 5000
        (tmp_path / "picture.png").unlink()


def test_embeddings_that_belong_together_lie_together():
    apart = np.concatenate([np.zeros((10, 5)), np.full((10, 5), 100.0)]).astype(np.float32)
    apart += np.random.default_rng(0).standard_normal(apart.shape).astype(np.float32)
    one, other = np.split(embeddings.in_the_plane(apart, 0), 2)
    between = np.linalg.norm(one.mean(0) - other.mean(0))
    assert between > 3 * max(one.std(), other.std())


def test_every_action_is_timed(subject):
    class Counts(Sees):
        acted = 0

        def act(self, *arguments):
            Counts.acted += 1
            return super().act(*arguments)

    metrics = latency.analyse(Counts(), subject.worlds.spaces(), 7)
    assert Counts.acted == 7 + latency.WARM_UP and 0 < metrics["seconds_cpu"] < 1
    assert np.isnan(metrics["seconds_cuda"]) or torch.cuda.is_available()


def test_json_holds_no_nan(tmp_path):
    from visagent.runtime.run_folder import RunFolder

    folder = RunFolder(tmp_path)
    folder.analyses.mkdir()
    folder.keep_analysis("latency", {"seconds_cpu": 0.5, "seconds_cuda": float("nan")}, {"steps": 3})
    assert json.loads((folder.analyses / "latency.json").read_text())["metrics"]["seconds_cuda"] is None
    found = folder.analysed()
    assert found["analysis/latency/seconds_cpu"] == 0.5 and np.isnan(found["analysis/latency/seconds_cuda"])
    (folder.analyses / "cycle.json").write_text('{"metrics": {"two_')
    with pytest.raises(ConfigError, match=r"cycle.json: expected what visagent-analyse wrote"):
        folder.analysed()
