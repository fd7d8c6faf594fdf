"""Students: they learn what their expert does, under strong augmentation also where nothing looks as it did."""

from __future__ import annotations

import logging

import pytest

from visagent.config.composition import with_expert
from visagent.config.schemas import TrainConfig
from visagent.config.signature import signature
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime.run_folder import RunFolder
from visagent.runtime.train import train

SPOTS = ["env=own", "datamodule.env._target_=visagent.testing.worlds.SpotWorlds"]
EXPERT = [
    "experiment=secant/expert_from_states", "name=expert", "debug=smoke", *SPOTS, "+datamodule.env.observe=state",
    "algorithm.gamma=0.0", "datamodule.steps=8", "datamodule.updates=16", "datamodule.batch_size=64",
    "datamodule.capacity=2000", "datamodule.iterations_per_epoch=40", "datamodule.film_episodes=0",
    "network.hidden=[32,32]",
]  # fmt: skip
STUDENT = [
    "datamodule.env._target_=visagent.testing.worlds.SpotWorlds", "+datamodule.env.look=train",
    "datamodule.steps=8", "datamodule.updates=16", "datamodule.batch_size=32", "datamodule.warmup=64",
    "datamodule.capacity=2000", "datamodule.iterations_per_epoch=40", "datamodule.test_looks=[any]",
    "datamodule.test_episodes=20", "network.hidden=[32]", "network.pixel_channels=[16,16]",
    "network.pixel_kernels=[3,3]", "network.pixel_strides=[2,2]",
    # where frames' differences are seen, a background that stands still disturbs nobody
    "network.frame_differences=false", "algorithm.distractor_speed=0.0",
]  # fmt: skip


def of_expert(overrides):
    return f"algorithm.expert.overrides=[{','.join(map(repr, overrides))}]"


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_student_of_strong_augmentation_alone_solves_looks_that_it_never_saw(compose):
    returns = {}
    for name in ("combo3", "none"):  # a crop would move the spot
        record = train(
            compose(
                "secant/student_from_states", "env=own", *STUDENT, of_expert(EXPERT), f"algorithm.augmentation={name}"
            )
        )
        returns[name] = record.metrics["test/return"], record.metrics["test/any/return"]
    assert returns["combo3"][0] > 7.2 and returns["none"][0] > 7.2  # of 8; a constant action has 4.4
    assert returns["combo3"][1] > returns["none"][1] + 0.5, returns


def test_a_students_signature_is_that_of_its_expert_too(compose):
    def of(*overrides):
        config = with_expert(validate(compose("secant/student_from_states", *overrides), TrainConfig))
        return signature(config), config["algorithm"]["expert"]["signature"]

    usual = of()
    assert usual == of("algorithm.expert.train=false") and usual[1] is not None
    same = of('algorithm.expert.overrides=["scale=smoke","seed=0","experiment=secant/expert_from_states"]')
    assert same == usual  # whatever composes the expert's run
    other = of('algorithm.expert.overrides=["experiment=secant/expert_from_states","seed=7"]')
    assert other[0] != usual[0] and other[1] != usual[1]
    assert of("seed=3")[1] not in (usual[1], other[1])  # its expert has its seed


@pytest.mark.usefixtures("undrawn")
def test_the_expert_is_trained_first_and_once(compose, tmp_path, caplog):
    of_the_world = "datamodule.env.domain=cartpole datamodule.env.task=swingup datamodule.env.action_repeat=8"
    told = f"visagent-train experiment=secant/expert_from_states seed=0 scale=smoke {of_the_world} debug=smoke"
    told = f"is not there; type {told}"
    with pytest.raises(ConfigError, match=f"expected a finished run of its overrides, r[0-9a-f]{{9}}, which {told}"):
        train(compose("secant/student_from_states", "algorithm.expert.train=false"))
    with caplog.at_level(logging.INFO):
        record = train(compose("secant/student_from_states", "datamodule.test_episodes=1"))
        assert record.status == "FINISHED" and "the expert first: visagent-train" in caplog.text
        caplog.clear()
        there = ("algorithm.expert.train=false", "algorithm.augmentation=crop", "datamodule.test_looks=[]")
        train(compose("secant/student_from_states", *there))
        assert "the expert first" not in caplog.text
    folders = [RunFolder(path).load() for path in (tmp_path / "outputs" / "runs").iterdir()]
    assert sorted(each.name for each in folders if each is not None) == [
        "secant/expert_from_states", "secant/student_from_states", "secant/student_from_states"
    ]  # fmt: skip
    looks = ("color_easy", "color_hard", "color_uniform", "video_easy", "video_hard")
    assert {"test/return", *(f"test/{look}/return" for look in looks)} <= record.metrics.keys()


def test_what_an_expert_sees_must_be_shown(compose):
    with pytest.raises(
        ConfigError, match=r"its expert sees 1 frames of state \[5\], got worlds that show 3 of .*observe=both"
    ):
        train(compose("secant/student_from_states", "datamodule.env.observe=pixels"))


def test_overrides_that_compose_no_run(compose):
    with pytest.raises(ConfigError, match=r"algorithm.expert.overrides=\[.experiment=nobody.\]': "):
        train(compose("secant/student_from_states", of_expert(["experiment=nobody"])))
    with pytest.raises(ConfigError, match="collect=dagger: expected a method that imitates an expert"):
        train(compose("ddpg/pendulum", "datamodule.collect=dagger"))
    with pytest.raises(ConfigError, match="expected one of train, color_narrow, color_easy"):  # before it is trained
        train(compose("secant/student_from_states", "datamodule.test_looks=[purple]"))
    with pytest.raises(ConfigError, match=r"test_looks: expected .* for worlds that have no looks, got"):
        train(compose("ddpg/pendulum", "datamodule.test_looks=[color_hard]"))


RIVAL = [
    *SPOTS, "debug=smoke",
    "algorithm.gamma=0.0", "datamodule.steps=8", "datamodule.updates=16", "datamodule.batch_size=64",
    "datamodule.capacity=2000", "datamodule.iterations_per_epoch=40", "datamodule.test_looks=[]",
    "datamodule.test_episodes=20", "datamodule.film_episodes=0", "network.hidden=[32,32]",
    "network.pixel_channels=[16,16]", "network.pixel_kernels=[3,3]", "network.pixel_strides=[2,2]",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("preset", "told"),
    [
        ("network_randomization", ()),
        ("parallel", ("algorithm.augmentation=none", "algorithm.student_augmentation=combo3")),
    ],
)
def test_rivals_learn_from_pictures(preset, told, compose):
    """Returns of 8; a constant action has 4.4."""
    record = train(compose(f"secant/{preset}", *RIVAL, *told))
    assert record.metrics["test/return"] > 6.0


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "preset", ["student", "domain_randomization", "network_randomization", "policy_adaptation", "parallel"]
)
def test_every_method_runs_with_debug_smoke(preset, compose):
    """With those that they need: SAC+crop, and SAC with inverse dynamics."""
    told = ("datamodule.test_looks=[color_hard]", "datamodule.test_episodes=1", "datamodule.film_episodes=0")
    record = train(compose(f"secant/{preset}", *told))
    assert record.status == "FINISHED" and {"test/return", "test/color_hard/return"} <= record.metrics.keys()


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "preset, look, told",
    [
        ("rooms_student", "hard", ()),
        ("manipulation_sac_paper", "extreme", ("datamodule.env.pixels=48", "datamodule.env.render_quality=fast")),
    ],
)
def test_methods_run_in_rooms_and_with_hands(preset, look, told, compose):
    told = (f"datamodule.test_looks=[{look}]", "datamodule.test_episodes=1", "datamodule.film_episodes=0", *told)
    record = train(compose(f"secant/{preset}", *told))
    assert {"test/success_rate", f"test/{look}/success_rate"} <= record.metrics.keys()
