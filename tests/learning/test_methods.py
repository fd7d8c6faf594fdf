"""Every navigation method learns a tiny world, is repeatable, is not changed by validation."""

from __future__ import annotations

import pytest
import torch

from comparing import assert_same, checkpoint, folder_of
from visagent.config.presets import presets
from visagent.config.schemas import TrainConfig
from visagent.config.validation import validate
from visagent.runtime.fitting import build, build_trainer
from visagent.runtime.train import train

METHODS = ("navigation/behaviour_cloning", "navigation/dagger", "navigation/safe_dagger")


@pytest.mark.parametrize("preset", [name for name in presets() if name.startswith("navigation/")])
def test_every_preset_runs_with_debug_smoke(preset, trained):
    record, outputs = trained(preset)
    assert record.status == "FINISHED" and record.scale == "smoke"
    assert 0.0 <= record.metrics["test/sampled/all/success_rate"] <= 1.0
    assert record.env_steps > 0 and len(record.history) == 2
    folder = folder_of(record, outputs)
    assert (folder.figures / "learning_curves.png").stat().st_size > 5_000
    assert list(folder.figures.glob("path_*.png"))


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("preset", METHODS)
def test_two_seeded_runs_are_equal_and_validation_changes_nothing(preset, compose, trained, tmp_path):
    first, outputs = trained(preset)
    again = train(compose(preset, f"paths.outputs={tmp_path}/b"))
    blind = train(compose(preset, f"paths.outputs={tmp_path}/c", "+trainer.limit_val_batches=0"))
    other = train(compose(preset, f"paths.outputs={tmp_path}/d", "seed=1"))
    weights = [
        checkpoint(run, folder)["state_dict"]
        for run, folder in (
            (first, outputs),
            *((run, tmp_path / x) for run, x in zip((again, blind, other), "bcd", strict=True)),
        )
    ]
    assert_same(weights[0], weights[1])
    assert_same(weights[0], weights[2])
    assert not torch.equal(weights[0]["network.siamese.weight"], weights[3]["network.siamese.weight"])
    assert_same(first.metrics, again.metrics)


@pytest.mark.usefixtures("undrawn")
def test_round_zero_of_dagger_is_behaviour_cloning(compose, tmp_path):
    cloning = train(compose("navigation/behaviour_cloning", "trainer.max_epochs=3"))
    dagger = train(compose("navigation/dagger", "trainer.max_epochs=1", "datamodule.passes_first_round=3"))
    one, other = checkpoint(cloning, tmp_path)["state_dict"], checkpoint(dagger, tmp_path)["state_dict"]
    assert_same(
        {k: v for k, v in one.items() if k.startswith("network")},
        {k: v for k, v in other.items() if k.startswith("network")},
    )
    assert_same(cloning.metrics, dagger.metrics)


@pytest.mark.usefixtures("undrawn")
def test_dagger_collects_once_per_round(compose, tmp_path):
    record = train(compose("navigation/dagger", "trainer.max_epochs=4"))
    rounds = checkpoint(record, tmp_path)["DAggerDataModule"]["data"]["rounds"]
    sizes = [len(r[1]) for r in rounds]
    assert len(sizes) == 4
    queries = [record.history[str(epoch)]["data/expert_queries"] for epoch in range(4)]
    assert queries == [sum(sizes[1 : epoch + 1]) for epoch in range(4)]  # demonstrations are counted apart
    assert record.env_steps == sum(sizes)


@pytest.mark.usefixtures("undrawn")
def test_retraining_from_scratch_forgets_the_last_round(compose, tmp_path):
    # nothing is learned: only a fresh draw can change the weights
    settings = ("navigation/dagger", "optimizer.lr=0", "trainer.max_epochs=2")
    kept, fresh = (
        train(compose(*settings, f"algorithm.retrain={how}", f"paths.outputs={tmp_path}/{how}"))
        for how in ("continue", "scratch")
    )
    initial = train(
        compose("navigation/dagger", "optimizer.lr=0", "trainer.max_epochs=1", f"paths.outputs={tmp_path}/initial")
    )
    key = "network.siamese.weight"
    first = checkpoint(initial, f"{tmp_path}/initial")["state_dict"][key]
    assert torch.equal(checkpoint(kept, f"{tmp_path}/continue")["state_dict"][key], first)
    assert not torch.equal(checkpoint(fresh, f"{tmp_path}/scratch")["state_dict"][key], first)


def test_one_step_changes_every_trained_parameter(compose, dumps):
    config = validate(compose("navigation/behaviour_cloning"), TrainConfig)
    module, data = build(config)
    trainer = build_trainer(
        {**config, "trainer": {**config["trainer"], "max_epochs": 1}},
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    data.setup()
    data.trainer = None
    before: dict[str, torch.Tensor] = {}

    def remember(*_):
        before.update({k: v.clone() for k, v in module.named_parameters()})

    module.on_train_start = remember  # type: ignore[method-assign]
    trainer.fit(module, data)
    # no loss of imitation uses the critic (Section 3.2)
    unused = {"network.value_head.weight", "network.value_head.bias"}
    for name, value in module.named_parameters():
        assert torch.equal(before[name], value) == (name in unused), name


LEARN = (
    "datamodule.starts_per_target=20", "datamodule.targets_per_scene=3", "datamodule.max_steps=60",
    "datamodule.test_starts_per_target=20", "datamodule.val_starts_per_target=20", "datamodule.batch_size=32",
    "network.embedding=96", "network.fusion=96", "network.scene_layer=96", "network.projection=64",
)  # fmt: skip
FEW = (
    *LEARN,
    "datamodule.starts_per_target=2",
    "datamodule.collect_starts_per_target=20",
    "datamodule.collect_max_steps=60",
    "trainer.max_epochs=3",
)
ROUNDS = (*FEW, "datamodule.passes_first_round=15", "datamodule.passes_per_epoch=8", "datamodule.batch_size=64")


@pytest.mark.slow
def test_behaviour_cloning_learns_a_tiny_world(compose):
    record = train(
        compose("navigation/behaviour_cloning", *LEARN, "datamodule.starts_per_target=50", "trainer.max_epochs=15")
    )
    assert record.metrics["test/sampled/all/success_rate"] >= 0.9, record.metrics
    assert record.history["14"]["train/agreement"] > 0.95


@pytest.mark.slow
def test_dagger_mends_what_cloning_leaves(compose):
    record = train(compose("navigation/dagger", *ROUNDS))
    before, after = (
        {m: record.history[e][f"val/{m}/all/success_rate"] for m in ("sampled", "argmax")} for e in ("0", "2")
    )
    assert after["sampled"] >= 0.9 and after["argmax"] > before["argmax"] + 0.1, (before, after)


@pytest.mark.slow
def test_safe_dagger_asks_less(compose):
    dagger = train(compose("navigation/dagger", *ROUNDS))
    safe = train(
        compose(
            "navigation/safe_dagger", *ROUNDS, "datamodule.safety_starts_per_target=10", "datamodule.safety_updates=200"
        )
    )
    asked, labelled = (r.history["2"]["data/expert_queries"] for r in (safe, dagger))
    assert 0 < asked < 0.5 * labelled
    assert safe.metrics["test/sampled/all/success_rate"] >= 0.85
    last = safe.history["2"]
    assert last["train/safety_recall"] >= 0.75 and last["data/safety_queries"] > 0


def test_batches_refuse_ranks_that_do_not_divide(compose):
    config = validate(compose("navigation/behaviour_cloning"), TrainConfig)
    _, data = build(config)

    class Ranks:
        world_size, global_rank, current_epoch, max_epochs = 3, 0, 0, 1

    data.trainer = Ranks()
    with pytest.raises(ValueError, match="batch_size=128 is not divisible by 3 ranks: use 126 or 129"):
        data.shard()
