"""Every method works in a precision, or refuses it with one in which it works."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest
import torch
from lightning_fabric.plugins.precision.precision import (
    _PRECISION_INPUT_INT,
    _PRECISION_INPUT_STR,
    _PRECISION_INPUT_STR_ALIAS,
)

from comparing import checkpoint
from visagent.config.precision import SINGLE, check_precision, precision_of
from visagent.config.schemas import GROUP_SCHEMAS, TrainConfig
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.runtime.fitting import build, build_trainer
from visagent.runtime.train import train

ROOT = Path(__file__).parents[2]
ALGORITHMS = GROUP_SCHEMAS["algorithm"]
PRECISIONS = [
    name
    for kind in (_PRECISION_INPUT_INT, _PRECISION_INPUT_STR_ALIAS, _PRECISION_INPUT_STR)
    for name in typing.get_args(kind)
]
STATES, OWN, PIXELS = (
    {"observe": ["robot-state"], "pixels": 0},
    {"observe": "own", "pixels": 84},
    {"observe": "pixels", "pixels": 84},
)


def first_preset(algorithm: str) -> str:
    """A preset that chooses the algorithm itself."""
    for path in sorted((ROOT / "conf/experiment").rglob("*.yaml")):
        if (
            re.search(rf"override /algorithm: {algorithm}$", path.read_text(), re.MULTILINE)
            and "paper" not in path.stem
        ):
            return str(path.relative_to(ROOT / "conf/experiment").with_suffix(""))
    raise AssertionError(f"no preset with algorithm={algorithm}")


@pytest.mark.parametrize("env", [STATES, OWN, PIXELS], ids=["states", "own", "pixels"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_refusal_names_a_precision_that_is_taken(algorithm, env):
    schema = ALGORITHMS[algorithm]
    taken = set()
    for precision in PRECISIONS:
        trainer = {"precision": precision, "accelerator": "cpu"}
        try:
            check_precision(schema, trainer, {"env": env})
        except ConfigError as error:
            recommended = re.search(r"type trainer\.precision=(\S+)$", str(error)).group(1)
            check_precision(schema, {**trainer, "precision": recommended}, {"env": env})
            expected = re.search(r"expected (.*), got ", str(error)).group(1)
            for other in {str(name) for name in PRECISIONS if "-" in str(name)} & set(re.findall(r"[\w-]+", expected)):
                # nothing that it names is refused where it says
                check_precision(schema, {"precision": other}, {"env": PIXELS})
        else:
            taken.add(precision_of(trainer))
    assert SINGLE in taken
    assert taken <= {SINGLE, "bf16-mixed"}, "a precision that the tests below do not run"


def test_a_methods_precisions_are_lightnings_own_names():
    for schema in ALGORITHMS.values():
        assert {*getattr(schema, "precisions", ()), *getattr(schema, "pixel_precisions", ())} <= set(
            typing.get_args(_PRECISION_INPUT_STR)
        )


@pytest.mark.filterwarnings("ignore:.*supported for historical reasons.*")
@pytest.mark.parametrize("precision", PRECISIONS)
def test_names_are_those_that_lightning_makes_of_them(precision):
    import pytorch_lightning as pl

    if precision_of({"precision": precision}) in ("16-mixed", "transformer-engine", "transformer-engine-float16"):
        pytest.skip("not on a CPU")
    assert pl.Trainer(
        accelerator="cpu", precision=precision, logger=False, enable_checkpointing=False
    ).precision == precision_of({"precision": precision})


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "algorithm", [name for name, schema in ALGORITHMS.items() if len(getattr(schema, "precisions", ())) > 1]
)
def test_what_a_method_says_it_takes_it_trains_in(algorithm, compose, tmp_path):
    """On the CPU, where 16-mixed is none; weights stay in single precision."""
    short = (
        "trainer.max_epochs=1",
        "evaluate_after_training=false",
        *(f"+trainer.limit_{split}_batches=1" for split in ("train", "val")),
    )
    settings = (first_preset(algorithm), "trainer.accelerator=cpu", *short)
    for precision in sorted(set(ALGORITHMS[algorithm].precisions) - {SINGLE, "16-mixed"}):
        record = train(compose(*settings, f"trainer.precision={precision}", f"paths.outputs={tmp_path}/{precision}"))
        assert record.status == "FINISHED" and record.history
        weights = checkpoint(record, tmp_path / precision)["state_dict"]
        assert all(value.isfinite().all() for value in weights.values())
        assert {value.dtype for name, value in weights.items() if value.is_floating_point()} == {torch.float32}


def test_clips_are_learned_with_scaled_gradients(compose):
    """16-mixed is none of a CPU's for Lightning, whose means for it work there all the same."""
    import pytorch_lightning as pl
    from pytorch_lightning.plugins import MixedPrecision

    config = validate(
        compose("rubiksnet/something_v2", "network.variant=rubiks3d-aq", "trainer.max_epochs=1"), TrainConfig
    )
    module, data = build(config)
    off = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary", "use_distributed_sampler"),
        False,
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        plugins=[MixedPrecision("16-mixed", "cpu")],
        **off,
    )
    trainer.fit(module, data)
    assert all(parameter.isfinite().all() and parameter.dtype == torch.float32 for parameter in module.parameters())
    assert 0 < trainer.callback_metrics["train/loss_epoch"] < 10 and trainer.precision_plugin.scaler.get_scale() > 1


@pytest.mark.parametrize(
    ("preset", "precision", "said"),
    [
        (
            "ppo/cartpole",
            "64-true",
            "expected 32-true, or bf16-mixed with pixels to observe, got '64-true'; type trainer.precision=32-true",
        ),
        ("evolution/cartpole", "bf16-mixed", "expected 32-true, got 'bf16-mixed'; type trainer.precision=32-true"),
        ("rubiksnet/something_v2", "bf16-true", "expected 32-true or bf16-mixed or 16-mixed, got 'bf16-true'"),
        ("rubiksnet/something_v2", "16", "expected 32-true or bf16-mixed on a CPU, got '16-mixed'"),
        ("rubiksnet/something_v2", "half", "expected 32-true or bf16-mixed or 16-mixed, got 'half'"),
    ],
)
def test_a_precision_is_refused_before_anything_is_made(preset, precision, said, compose):
    with pytest.raises(ConfigError, match=re.escape(f"trainer.precision: {said}")):
        validate(compose(preset, f"trainer.precision={precision}", "trainer.accelerator=cpu"), TrainConfig)


@pytest.mark.filterwarnings("ignore:.*AMP with fp16 is not supported on CPU.*")
def test_a_device_without_a_precision_is_not_given_another_one_in_silence(compose, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = validate(compose("rubiksnet/something_v2", "trainer.precision=16-mixed"), TrainConfig)
    with pytest.raises(
        ConfigError, match=r"expected one that cpu has, got '16-mixed'; type trainer\.precision=32-true, or bf16-mixed"
    ):
        build_trainer(config, logger=False)
