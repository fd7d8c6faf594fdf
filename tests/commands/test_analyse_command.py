"""`visagent-analyse`: numbers and pictures in the run's folder, which tables read."""

from __future__ import annotations

import json

import pytest

from visagent.analyses.command import KINDS, main
from visagent.config.composition import with_expert
from visagent.config.schemas import TrainConfig
from visagent.config.signature import signature
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime.train import train

SPOTS = [
    "env=own", "datamodule.env._target_=visagent.testing.worlds.SpotWorlds", "+datamodule.env.look=train",
    "network.pixel_channels=[4,4]", "network.pixel_kernels=[3,3]", "network.pixel_strides=[2,2]",
    "network.hidden=[8]", "network.frame_differences=false", "datamodule.test_looks=[any]",
]  # fmt: skip


TRUSTED = ["--allow-targets", "visagent.testing"]


@pytest.fixture
def run(compose, tmp_path):
    """Signature of a run that sees, and its outputs folder."""
    record = train(compose("secant/expert", *SPOTS, "algorithm.augmentation=none"))
    return record.signature, tmp_path / "outputs"


@pytest.mark.usefixtures("undrawn")
def test_numbers_and_pictures_are_kept_in_the_runs_folder(run, capsys):
    name, outputs = run
    assert main(["latency", f"run={name}", "--outputs", str(outputs), "--steps", "3", *TRUSTED]) == 0
    folder = outputs / "runs" / name / "analyses"
    kept = json.loads((folder / "latency.json").read_text())
    assert kept["metrics"]["seconds_cpu"] > 0 and kept["settings"] == {"kind": "latency", "steps": 3}
    assert {"command", "commit", "created", "hardware"} <= set(kept)
    assert "seconds_cpu" in capsys.readouterr().out
    main(["saliency", name[:6], "--outputs", str(outputs), *TRUSTED])
    assert (folder / "saliency.png").is_file() and json.loads((folder / "saliency.json").read_text())["metrics"] == {}
    with pytest.raises(ConfigError, match="looks: expected two at least beside train, got any"):
        main(["cycle", name, "--outputs", str(outputs), *TRUSTED])


@pytest.mark.usefixtures("undrawn")
def test_what_sees_nothing_is_no_subject(compose, tmp_path):
    blind = [
        "env=own", "datamodule.env._target_=visagent.testing.worlds.SpotWorlds", "+datamodule.env.observe=state",
        "network.hidden=[8]",
    ]  # fmt: skip
    record = train(compose("secant/expert_from_states", *blind))
    with pytest.raises(ConfigError, match=r"expected a run whose policy sees pictures .*, got one of SAC"):
        main(["embeddings", record.signature, "--outputs", str(tmp_path / "outputs"), *TRUSTED])


@pytest.mark.usefixtures("undrawn")
def test_a_method_without_weights_of_its_own_is_analysed_with_its_experts(compose, tmp_path):
    expert = ["experiment=secant/inverse_dynamics", "debug=smoke", *SPOTS, "algorithm.augmentation=none"]
    told = f"algorithm.expert.overrides=[{','.join(map(repr, expert))}]"
    config = compose("secant/policy_adaptation", *SPOTS[:3], "datamodule.test_looks=[]", told)
    train(config)
    name = signature(with_expert(validate(config, TrainConfig)))
    assert main(["latency", name, "--outputs", str(tmp_path / "outputs"), "--steps", "2", *TRUSTED]) == 0


def test_every_kind_says_what_it_is(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(kind in said for kind in KINDS)
    with pytest.raises(SystemExit):
        main(["cycle", "r1", "--trials", "0"])
    assert "expected at least 1, got 0" in capsys.readouterr().err
