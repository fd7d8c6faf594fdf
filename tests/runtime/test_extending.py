"""More epochs for a finished run, callbacks of the user's, and what a sweeper is told."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
from omegaconf import OmegaConf

from comparing import assert_same, checkpoint, folder_of
from visagent.errors import ConfigError
from visagent.runtime.extending import extended
from visagent.runtime.objective import objective_of
from visagent.runtime.train import train

pytestmark = pytest.mark.usefixtures("undrawn")


class Counting(pl.Callback):
    """Counts epochs, and keeps the count in checkpoints."""

    def __init__(self, first: int = 0) -> None:
        self.count = first

    def on_train_epoch_end(self, trainer, pl_module):
        self.count += 1
        pl_module.log("train/counted", float(self.count))

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state_dict):
        self.count = state_dict["count"]


def asked(compose, preset, run, *overrides):
    """The config of a command with `extend=`."""
    config = compose(preset)
    config.extend = run
    return extended(config, [f"extend={run}", *overrides])


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("ppo/pendulum", ("algorithm.schedule=constant", "trainer.ema=0.9", "checkpoint.monitor=val/return")),
        ("navigation/dagger", ("datamodule.batch_size=8",)),
    ],
)
def test_an_extended_run_is_the_longer_one(preset, changes, compose, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    short = train(compose(preset, "trainer.max_epochs=2", *changes))
    more = train(asked(compose, preset, short.signature, "trainer.max_epochs=4"))
    long = train(compose(preset, "trainer.max_epochs=4", *changes))
    assert f"extend={short.signature} trainer.max_epochs=4 would go on with it" in caplog.text
    assert len({short.signature, more.signature, long.signature}) == 3
    assert list(more.history) == ["0", "1", "2", "3"] and more.env_steps == long.env_steps
    assert_same(checkpoint(more, tmp_path)["state_dict"], checkpoint(long, tmp_path)["state_dict"])
    assert_same(more.metrics, long.metrics)
    episodes = [folder_of(record, tmp_path).episodes for record in (more, long)]
    assert [path.is_file() for path in episodes] == 2 * [preset.startswith("ppo")]
    if episodes[0].is_file():
        assert episodes[0].read_text() == episodes[1].read_text()
    assert folder_of(short, tmp_path).load().history.keys() == {"0", "1"}  # left as it was
    assert train(asked(compose, preset, short.signature, "trainer.max_epochs=4")).attempts == 1  # finished


def test_schedules_of_an_extended_run_are_stated(compose, caplog):
    caplog.set_level(logging.INFO)
    short = train(compose("ppo/pendulum", "trainer.max_epochs=1"))
    train(asked(compose, "ppo/pendulum", short.signature, "trainer.max_epochs=2"))
    assert (
        "algorithm.schedule=linear follows the share of all 2 epochs: 50% now, where it had come to its end"
        in caplog.text
    )


def test_what_cannot_be_extended_is_refused(compose):
    short = train(compose("ppo/cartpole", "trainer.max_epochs=1"))
    for overrides, said in (
        (["trainer.max_epochs=1"], r"expected more than the 1 epoch of r\w+, got 1; type trainer\.max_epochs=2"),
        ([], r"expected more than the 1 epoch of r\w+, got None"),
        (
            ["trainer.max_epochs=3", "algorithm.clip=0.1"],
            r"got algorithm\.clip=0\.1; expected trainer\.max_epochs alone",
        ),
    ):
        with pytest.raises(ConfigError, match=said):
            asked(compose, "ppo/cartpole", short.signature, *overrides)
    replayed = train(compose("ddpg/pendulum", "trainer.max_epochs=1", "actors=serial"))
    with pytest.raises(ConfigError, match=rf"its replay was deleted.*expected init_from={replayed.signature}"):
        asked(compose, "ddpg/pendulum", replayed.signature, "trainer.max_epochs=2")


def test_a_run_that_ended_early_is_not_extended(compose, caplog):
    caplog.set_level(logging.INFO)
    patient = ("trainer.max_epochs=4", "checkpoint.monitor=val/return", "checkpoint.patience=1", "optimizer.lr=0.0")
    short = train(compose("ppo/cartpole", *patient))
    assert len(short.history) < 4
    with pytest.raises(ConfigError, match=rf"ended early, after \d epochs.*init_from={short.signature}"):
        asked(compose, "ppo/cartpole", short.signature, "trainer.max_epochs=9")
    train(compose("ppo/cartpole", "trainer.max_epochs=5", *patient[1:]))
    assert "would go on with it" not in caplog.text  # what would be refused is not offered


def test_an_extended_run_of_a_search_is_not_pruned_by_it(compose, tmp_path):
    path = tmp_path / "pruning.json"
    path.write_text('{"metric": "val/return", "direction": "maximize", "startup": 1, "warmup": 1, "others": []}')
    short = train(compose("ppo/cartpole", "trainer.max_epochs=1", f"prune={path}"))
    assert asked(compose, "ppo/cartpole", short.signature, "trainer.max_epochs=2").prune is None


def test_a_folder_elsewhere_is_extended(compose, tmp_path):
    elsewhere = tmp_path / "far" / "away"
    train(compose("ppo/cartpole", "trainer.max_epochs=1", f"paths.run={elsewhere}"))
    more = train(asked(compose, "ppo/cartpole", str(elsewhere), "trainer.max_epochs=2"))
    assert len(more.history) == 2


def test_machine_settings_may_change(compose):
    short = train(compose("ppo/cartpole", "trainer.max_epochs=1"))
    config = asked(
        compose, "ppo/cartpole", short.signature, "trainer.max_epochs=2", "datamodule.timeout=7.5", "logger=none"
    )
    assert config.datamodule.timeout == 7.5 and config.trainer.max_epochs == 2


def test_callbacks_of_the_users_own_are_part_of_a_run(compose):
    target = f"+callbacks.mine._target_={__name__}.Counting"
    plain, counted = compose("ppo/cartpole"), compose("ppo/cartpole", target, "+callbacks.mine.first=3")
    record = train(counted)
    assert record.signature != train(plain).signature
    assert [epoch["train/counted"] for epoch in record.history.values()] == [4.0, 5.0]
    with pytest.raises(ConfigError, match=r"callbacks\.mine: expected a class of pytorch_light.*got dict"):
        train(compose("ppo/cartpole", "+callbacks.mine._target_=builtins.dict"))


def test_the_objective_is_a_metric_of_the_run():
    history = {"0": {"val/return": 1.0}, "1": {"val/return": 5.0}, "2": {"val/return": 3.0}}
    record = SimpleNamespace(metrics={"test/return": 2.0}, history=history)
    watched = {"monitor": None, "mode": "max"}
    assert objective_of(record, {"objective": None, "checkpoint": watched}) is None
    assert objective_of(record, {"objective": "test/return", "checkpoint": watched}) == 2.0
    assert objective_of(record, {"objective": "val/return", "checkpoint": watched}) == 3.0
    for mode, best in (("max", 5.0), ("min", 1.0)):
        config = OmegaConf.create({"objective": "val/return", "checkpoint": {"monitor": "val/return", "mode": mode}})
        assert objective_of(record, config) == best
    with pytest.raises(ConfigError, match="objective: expected one of test/return, val/return, got val/top1"):
        objective_of(record, {"objective": "val/top1", "checkpoint": watched})
