"""Option-MAPPO: the first ratio is one, tiny tasks are learned, by every coupling and scheme."""

from __future__ import annotations

from pathlib import Path

import pytest

from comparing import checkpoint, folder_of
from slow import first
from visagent.errors import ConfigError
from visagent.runtime.train import train

PRESET, RIVAL = "option_mappo/tool_delivery", "option_mappo/mac_dqn_tool_delivery"
VARIANTS = [
    (),
    ("network.coupling=partial", "network.critic=local", "algorithm.entropy=normalised"),
    ("network.coupling=factorised", "algorithm.rewards=paper_code", "datamodule.scheme=sync_wait"),
    ("network.coupling=autoregressive", "network.critic=observations_and_options", "algorithm.minibatches=3"),
    ("algorithm.entropy=joint", "datamodule.scheme=sync_cut", "algorithm.lam_by_duration=true"),
    ("datamodule.scheme=end2end",),
    ("network.critic=state", "algorithm.schedule=linear"),
]


@pytest.mark.parametrize("changes", VARIANTS)
def test_the_first_ratio_is_one(changes, compose, tmp_path):
    films = int(not changes)  # which take longer than the training
    record = train(compose(PRESET, "datamodule.steps=40", f"datamodule.film_episodes={films}", *changes))
    assert record.status == "FINISHED" and len(record.history) == 2
    gaps = [numbers["train/first_ratio_gap"] for numbers in record.history.values()]
    assert all(gap < 1e-5 for gap in gaps) or "algorithm.minibatches=3" in changes
    assert {
        "test/return",
        "test/sampled/return",
        "test/success_rate",
        "test/option_steps",
        "test/paper_metric",
    } <= record.metrics.keys()
    assert record.env_steps >= 2 * 2 * 2 * 40
    folder = folder_of(record, tmp_path)
    assert len(list(folder.path.glob("videos/test_episode_0.mp4"))) == films
    assert not films or (folder.figures / "test_episode_0.png").stat().st_size > 5_000


@pytest.mark.usefixtures("undrawn")
def test_joint_log_probabilities_are_another_ratio(compose):
    record = train(compose(PRESET, "datamodule.steps=40", "algorithm.log_prob=joint"))
    assert all(numbers["train/first_ratio_gap"] > 0.1 for numbers in record.history.values())


@pytest.mark.usefixtures("undrawn")
def test_learning_rates_fall(compose, tmp_path):
    """Of two epochs of two iterations, three quarters are done when the last one begins."""
    record = train(
        compose(
            PRESET,
            "algorithm.schedule=linear",
            "algorithm.final_rate=0.2",
            "optimizer.lr=0.001",
        )
    )
    rates = [
        group["lr"] for state in checkpoint(record, tmp_path)["optimizer_states"] for group in state["param_groups"]
    ]
    assert rates == pytest.approx([0.001 * (1 - 0.8 * 3 / 4)] * 2)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("coupling", first(1, ["joint", "autoregressive", "partial"]))
def test_agents_learn_to_choose_what_the_other_does(coupling, compose):
    """Nothing is observed: only by the options that run can the agents agree, and only such policies are told of
    them.
    """
    settings = (
        "datamodule.steps=24",
        "datamodule.worlds_per_actor=8",
        "datamodule.iterations_per_epoch=40",
        "optimizer.lr=0.003",
        "trainer.max_epochs=1",
    )
    config = compose(
        PRESET,
        f"network.coupling={coupling}",
        *settings,
        "datamodule.test_episodes=20",
        "algorithm.entropy_weight=0.0",
    )
    config.datamodule.env = {"_target_": "visagent.testing.option_worlds.MeetingWorlds", "horizon": 12}
    record = train(config)
    assert record.metrics["test/sampled/return"] > 10  # of 12; random choices: about 4


@pytest.mark.parametrize(
    ("preset", "changes", "said"),
    [
        (PRESET, ("datamodule=option_replay",), "expected datamodule=options; type datamodule=options"),
        (
            PRESET,
            ("algorithm=mac_dqn", "network=option_q"),
            "expected datamodule=option_replay; type datamodule=option_replay",
        ),
        (
            PRESET,
            ("algorithm=mac_dqn",),
            "expected network=option_q and datamodule=option_replay; type network=option_q",
        ),
        (
            "baseline/options",
            ("network=round_robin", "network.order=[9]"),
            r"network.order: expected options from 0 to 2, which every agent has, got \[9\]",
        ),
    ],
)
def test_what_does_not_fit_is_named(preset, changes, said, compose):
    with pytest.raises(ConfigError, match=said):
        train(compose(preset, *changes))


@pytest.mark.usefixtures("undrawn")
def test_an_environment_of_ones_own(compose, tmp_path, monkeypatch):
    """The how-to of docs/options.md, word for word, with PettingZoo's interface around a corridor."""
    text = (Path(__file__).parents[2] / "docs" / "options.md").read_text()
    block = next(block for block in text.split("```python\n") if block.startswith("# my_worlds.py")).split("```")[0]
    (tmp_path / "my_worlds.py").write_text(block + "\n\nfrom test_parallel import Corridor as make_env\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "envs")
    for scheme in ("async", "sync_wait", "sync_cut", "end2end"):
        settings = (f"datamodule.scheme={scheme}", f"paths.outputs={tmp_path}/{scheme}")
        record = train(compose(PRESET, "env=own", "datamodule.env._target_=my_worlds.worlds", *settings))
        assert record.status == "FINISHED" and 0 <= record.metrics["test/sampled/return"] <= 20


@pytest.mark.usefixtures("undrawn")
def test_values_of_options_are_learned(compose):
    settings = (
        "datamodule.steps=24",
        "datamodule.worlds_per_actor=8",
        "datamodule.iterations_per_epoch=60",
        "datamodule.updates=10",
        "optimizer.lr=0.003",
    )
    rest = (
        "trainer.max_epochs=1",
        "algorithm.target_every=400",
        "algorithm.exploring_steps=8000",
        "network.lstm=16",
    )
    config = compose(RIVAL, *settings, *rest, "datamodule.test_episodes=4")
    config.datamodule.env = {"_target_": "visagent.testing.option_worlds.MeetingWorlds", "horizon": 12}
    record = train(config)
    assert record.metrics["test/return"] == 12
