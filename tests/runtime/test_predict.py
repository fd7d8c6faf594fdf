"""`visagent-predict`: answers for videos, episodes of policies."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from comparing import folder_of
from visagent.actors import evaluation
from visagent.errors import ConfigError
from visagent.metrics.predictions import Predictions
from visagent.runtime import predict
from visagent.runtime.predict import main


@pytest.fixture
def recogniser(trained, synthetic):
    record, outputs = trained("rubiksnet/something_v2")
    return folder_of(record, outputs).path, synthetic("something_v2")


def frames_of(film):
    with av.open(str(film)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_a_video_is_told_as_the_runs_own_test_did(recogniser, tmp_path, capsys, monkeypatch):
    folder, data = recogniser
    known = Predictions.load(folder / "predictions" / "1_clip.npz")
    videos = [str(data / name) for name in known.videos]
    assert main([f"run={folder}", *videos, "--top", "3", "--json", str(tmp_path / "a.json")]) == 0
    said = json.loads((tmp_path / "a.json").read_text())
    assert said["run"] == folder.name and [one["video"] for one in said["predictions"]] == videos
    for one, shares, best in zip(said["predictions"], known.probabilities, known.ranked(3), strict=True):
        assert [each["class"] for each in one["classes"]] == [known.classes[n] for n in best]
        assert [each["probability"] for each in one["classes"]] == pytest.approx(shares[best].tolist(), abs=1e-4)
    shown = capsys.readouterr().out
    assert f"{known.probabilities[0].max():.1%}  {known.classes[known.ranked(1)[0, 0]]}" in shown
    # the same from a folder and from standard input
    assert main([f"run={folder}", str((data / known.videos[0]).parent), "--json", str(tmp_path / "b.json")]) == 0
    everything = {one["video"]: one for one in json.loads((tmp_path / "b.json").read_text())["predictions"]}
    assert len(everything) == 24 and everything[videos[0]]["classes"][:3] == said["predictions"][0]["classes"]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(Path(videos[0]).read_bytes())))
        assert main([f"run={folder}", "-", "--json", str(tmp_path / "c.json")]) == 0
    (one,) = json.loads((tmp_path / "c.json").read_text())["predictions"]
    assert one["classes"][:3] == said["predictions"][0]["classes"] and one["video"] == "standard input"


@pytest.mark.slow
def test_an_answer_is_written_on_the_film(recogniser, tmp_path):
    folder, data = recogniser
    video = next(data.glob("**/*.webm"))
    assert main([f"run={folder}", str(video), "--film", str(tmp_path)]) == 0
    before, after = frames_of(video), frames_of(tmp_path / f"{video.stem}_predicted.mp4")
    factor = -(-predict.SMALLEST // before[0].shape[1])
    height = before[0].shape[0] * factor
    assert len(after) == len(before) and after[0].shape[1] == before[0].shape[1] * factor
    assert np.abs(after[3][:height:factor, ::factor].astype(int) - before[3]).mean() < 12
    assert (after[0][height:] > 200).any() and after[0].shape[0] > height + 30


def test_what_cannot_be_read_is_named_and_the_others_are_told(recogniser, tmp_path, capsys):
    folder, data = recogniser
    (tmp_path / "broken.mp4").write_text("no film")
    video = next(data.glob("**/*.webm"))
    asked = [str(tmp_path / "broken.mp4"), str(tmp_path / "nothing.mp4"), str(video)]
    assert main([f"run={folder}", *asked, "--json", str(tmp_path / "new" / "a.json")]) == 1
    out, err = capsys.readouterr()
    assert "broken.mp4\n  cannot be read" in out and "nothing.mp4\n  cannot be read" in out and out.count("%") == 5
    assert "2 of 3 videos could not be read" in err
    assert ["error" in each for each in json.loads((tmp_path / "new" / "a.json").read_text())["predictions"]] == [
        True, True, False,
    ]  # fmt: skip


def test_films_take_the_place_of_nothing(tmp_path):
    films = set()
    named = [predict._free(tmp_path, name, films).name for name in ("c.mp4", "x/c.webm", "y/c", "-")]
    assert named == ["c_predicted.mp4", "c_predicted_2.mp4", "c_predicted_3.mp4", "-_predicted.mp4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["clip.mp4"], "expected one run=SIGNATURE, got clip.mp4; type run=SIGNATURE"),
        (["run={run}"], "expected videos, folders of them, or - for standard input"),
        (["run={run}", "clip.mp4", "--device", "cudda"], "--device: expected cpu, or a device that is there"),
        (["run={run}", "clip.mp4", "--episodes", "2"], "--episodes: is for a run of a policy"),
        (["run={policy}", "--top", "2"], "--top: is for a run of videos"),
        (["run={policy}", "env=pendulum"], "env=pendulum: expected a world with the observations and actions"),
        (["run={run}", "{empty}"], "expected videos below it, or the frames of one"),
        (["run={run}", "clip.mp4", "env=pendulum"], "env=pendulum: expected none for a run of videos"),
        (["run={run}", "clip.mp4", "--protocol", "3_clip"], "--protocol: expected 1_clip, 2_clip, dense, got '3_clip'"),
        (["run={policy}", "clip.mp4"], "expected no videos for ppo/cartpole"),
        (["run={policy}", "datamodule.env.colour=1"], "unknown config key 'datamodule.env.colour'"),
    ],
)
def test_mistakes_get_one_message(arguments, message, recogniser, trained, tmp_path):
    policy = folder_of(*trained("ppo/cartpole")).path
    (tmp_path / "empty").mkdir()
    places = {"run": recogniser[0], "policy": policy, "empty": tmp_path / "empty"}
    with pytest.raises(ConfigError, match=message):
        main([argument.format(**places) for argument in arguments])


@pytest.fixture
def filmed(monkeypatch):
    """Films are drawn in this process."""

    def make(shoot, film, path):
        pictures, fps = shoot(film)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{len(pictures)} {fps}")

    monkeypatch.setattr(evaluation, "make_film", make)


def test_a_navigator_plays_episodes_that_follow_from_their_seed(trained, filmed, tmp_path, capsys):
    folder = folder_of(*trained("navigation/behaviour_cloning")).path
    for name in ("a", "b"):
        where = ["--film", str(tmp_path / name), "--json", str(tmp_path / f"{name}.json")]
        assert main([f"run={folder}", "--episodes", "2", "--seed", "7", *where]) == 0
    one, other = (json.loads((tmp_path / f"{name}.json").read_text())["episodes"] for name in ("a", "b"))
    for first, second in zip(one, other, strict=True):
        pictures = int((tmp_path / "a" / f"episode_{first['seed']}.mp4").read_text().split()[0])
        assert pictures == first["steps"] + 1
        assert {**first, "film": ""} == {**second, "film": ""} and first["steps"] >= first["shortest"] * first[
            "success"
        ]
    assert [episode["seed"] for episode in one] == [7, 8]
    assert "seed 7  steps" in capsys.readouterr().out


@pytest.mark.slow
def test_a_policy_plays_episodes_in_settings_of_ones_own(trained, tmp_path):
    folder = folder_of(*trained("ppo/cartpole")).path
    told = ["--film", str(tmp_path), "--json", str(tmp_path / "a.json"), "datamodule.env.max_steps=9"]
    assert main([f"run={folder.name}", f"paths.outputs={folder.parent.parent}", *told]) == 0
    (episode,) = json.loads((tmp_path / "a.json").read_text())["episodes"]
    assert episode["steps"] == episode["return"] == 9
    assert len(frames_of(episode["film"])) == 10
    assert episode["film"].endswith("episode_datamodule.env.max_steps=9_0.mp4")
