"""Identity: what changes a result changes the signature, nothing else does."""

from __future__ import annotations

import pytest

from visagent.config.schemas import TrainConfig
from visagent.config.signature import EXCLUDED, changes_identity, difference, identity, signature
from visagent.config.validation import validate


def sign(config) -> str:
    return signature(validate(config, TrainConfig))


def test_same_command_same_signature(compose):
    assert sign(compose("navigation/dagger")) == sign(compose("navigation/dagger"))


@pytest.mark.parametrize("seed", range(20))
def test_signatures_and_their_beginnings_are_words(seed):
    """On a command line `run=268e4` is a number; `run=r268e4` is not."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    name = signature({"seed": seed})
    assert len(name) == 10
    for length in range(1, 11):
        assert isinstance(OverridesParser.create().parse_override(f"run={name[:length]}").value(), str)


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "optimizer.lr=0.1",
        "trainer.max_epochs=9",
        "datamodule.batch_size=64",
        "name=mine",
        "trainer.precision=bf16-mixed",
    ],
)
def test_results_change_the_signature(override, compose):
    assert sign(compose("navigation/dagger")) != sign(compose("navigation/dagger", override))


@pytest.mark.parametrize(
    "override",
    ["trainer.devices=2", "trainer.accelerator=cpu", "trainer.strategy=ddp", "logger=mlflow", "progress=rich",
     "paths.run=x", "threads=2", "datamodule.make_workers=1", "datamodule.cache=elsewhere", "trainer.num_nodes=2"],
)  # fmt: skip
def test_machine_keys_do_not(override, compose):
    assert sign(compose("navigation/dagger")) == sign(compose("navigation/dagger", override))


def test_who_decodes_changes_the_signature_and_where_actors_are_does_not(compose):
    assert sign(compose("rubiksnet/something_v2")) != sign(compose("rubiksnet/something_v2", "datamodule.backend=pyav"))
    assert sign(compose("ppo/pendulum", "actors=serial")) == sign(compose("ppo/pendulum", "actors=process"))
    assert sign(compose("ppo/pendulum", "actors=process")) != sign(compose("ppo/pendulum", "actors=asynchronous"))


def test_every_excluded_key_exists(compose):
    known = (
        "navigation/dagger",
        "rubiksnet/something_v2",
        "ppo/lift",
        "option_mappo/water_filling",
        "secant/student_from_states",
        "secant/driving_sac_paper",
    )
    several = compose("distributed/digits", "learners=gossip")
    configs = [validate(each, TrainConfig) for each in (several, *(compose(preset, tiny=False) for preset in known))]

    def there(node, parts):
        return not parts or (node is not None and parts[0] in node and there(node[parts[0]], parts[1:]))

    for key in EXCLUDED:
        assert any(there(config, key.split(".")) for config in configs), key


def test_difference_names_key_and_values():
    assert difference({"a": {"b": 1}, "paths": 1}, {"a": {"b": 2}, "paths": 2}) == ["a.b: 1 -> 2"]
    assert difference({"a": 1}, {}) == ["a: 1 -> '(absent)'"]
    assert identity({"trainer": {"devices": 1, "x": 2}}) == {"trainer": {"x": 2}}


@pytest.mark.parametrize(
    ("override", "changes"),
    [("trainer.accelerator=gpu", False), ("logger=none", False), ("paths.outputs=x", False),
     ("+trainer.devices=2", False), ("progress=quiet", False), ("optimizer.lr=1", True), ("optimizer=sgd", True),
     ("trainer.max_epochs=1", True), ("datamodule.scenes=x", True), ("~algorithm.x", True), ("paths.videos=x", True),
     ("algorithm.expert.overrides=[]", True), ("algorithm.expert.train=false", False)],
)  # fmt: skip
def test_which_overrides_change_it(override, changes):
    assert changes_identity(override) is changes
