"""Action recognition on two ranks: what they share, and that none waits for another that never comes."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from comparing import checkpoint
from datamodules.ranks import of_all_ranks, shard
from ranks import Joined, on_ranks, results
from visagent.config.schemas import TrainConfig
from visagent.config.validation import validate
from visagent.errors import ConfigError
from visagent.networks.batch_norm import GlobalBatchNorm2d
from visagent.runtime.callbacks import RandomState
from visagent.runtime.fitting import build
from visagent.runtime.train import train
from visagent.seeding import generator

PRESET = "rubiksnet/something_v2"
ALONE = ("trainer.max_epochs=1", "trainer.accelerator=cpu", "datamodule.protocols=[1_clip]")
TWO = (*ALONE, "trainer.devices=2", "trainer.strategy=ddp")
FOLDER = "20bn-something-something-v2"


def test_what_one_rank_finds_all_of_them_know():
    def task(rank):
        trainer = Joined(rank)
        return of_all_ranks(trainer, {"rank": rank})

    assert results(on_ranks(task)) == [[{"rank": 0}, {"rank": 1}]] * 2


def test_every_rank_goes_on_with_its_own_random_numbers():
    def draw():
        return [torch.rand(1).item(), float(np.random.rand()), random.random()]

    def task(rank):
        trainer, callback, saved = Joined(rank), RandomState(), {}
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(10 + rank)
        callback.on_save_checkpoint(trainer, None, saved)
        expected = draw()
        of_the_first = [saved] if rank == 0 else [None]
        # the first rank writes the checkpoint that all of them read
        torch.distributed.broadcast_object_list(of_the_first)
        callback.on_load_checkpoint(trainer, None, of_the_first[0])
        callback.on_train_start(trainer, None)
        return expected, draw()

    (first, again), (second, second_again) = results(on_ranks(task))
    assert first == again and second == second_again and first != second


def test_a_checkpoint_of_one_rank_alone_is_still_read():
    """As they were written before every rank's numbers were kept."""
    callback, saved = RandomState(), {}
    alone = type(
        "Trainer",
        (),
        {"world_size": 1, "global_rank": 0, "strategy": type("Strategy", (), {"root_device": torch.device("cpu")})},
    )
    callback.on_save_checkpoint(alone, None, saved)
    expected = torch.rand(3)
    callback.on_load_checkpoint(alone, None, {"random_state": saved["random_state"][0]})
    callback.on_train_start(alone, None)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_normalisation_over_ranks_takes_every_precision(dtype):
    """Inputs of half precision meet weights and statistics of single precision, as under autocast; float64 stays
    float64.
    """
    held = torch.float64 if dtype == torch.float64 else torch.float32
    everything = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(0)).to(dtype) * 3 + 1
    single = torch.nn.BatchNorm2d(3, dtype=held)
    expected = single(everything.to(held))

    def task(rank):
        Joined(rank)
        shared = GlobalBatchNorm2d(3, dtype=held)
        out = shared(everything[rank::2])
        return out.detach().to(held).numpy(), str(out.dtype), shared.running_mean.numpy(), shared.running_var.numpy()

    tolerance = {torch.bfloat16: 2e-2, torch.float16: 2e-3, torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    for rank, (out, kind, mean, variance) in enumerate(results(on_ranks(task))):
        assert kind == str(dtype)
        assert np.abs(out - expected[rank::2].detach().numpy()).max() < tolerance
        for got, wanted in ((mean, single.running_mean), (variance, single.running_var)):
            assert np.abs(got - wanted.numpy()).max() < (1e-12 if held == torch.float64 else 1e-6)


@pytest.fixture
def data(synthetic, tmp_path):
    shutil.copytree(synthetic("something_v2"), tmp_path / "data")
    return tmp_path / "data"


def one_validation_video(data):
    path = data / "labels/validation.json"
    path.write_text(json.dumps(json.loads(path.read_text())[:1]))


def second_ranks_validation_videos_broken(data):
    for number in (18, 20, 22, 24):
        (data / FOLDER / f"{number}.webm").write_bytes(b"")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("damage", [one_validation_video, second_ranks_validation_videos_broken])
def test_a_rank_without_a_readable_video_comes_along(damage, data, compose, tmp_path):
    damage(data)
    broken = 4.0 if damage is second_ranks_validation_videos_broken else 0.0
    config = compose(PRESET, *TWO, f"paths.videos={data}", "datamodule.broken_share=0.6")

    def task(rank):
        record = train(config)
        return record.metrics, record.status

    (metrics, status), _ = results(on_ranks(task))
    alone = train(
        compose(
            PRESET, *ALONE, f"paths.videos={data}", "datamodule.broken_share=0.6", f"paths.outputs={tmp_path}/alone"
        )
    )
    assert status == "FINISHED" and metrics["test/broken"] == broken == alone.metrics["test/broken"]
    assert metrics.keys() == alone.metrics.keys() and all(0 <= metrics[f"test/1_clip/top{top}"] <= 1 for top in (1, 5))
    (path,) = Path(config.paths.outputs).glob("runs/*/record.json")
    assert set(json.loads(path.read_text())["history"]) == {"0"}


def test_broken_videos_of_all_ranks_are_counted_together(data, compose):
    order = torch.randperm(16, generator=generator(0, "order", 0)).tolist()
    # one for each rank
    names = [json.loads((data / "labels/train.json").read_text())[number]["id"] for number in order[:2]]
    for name in names:
        (data / FOLDER / f"{name}.webm").write_bytes(b"")

    def task(share):
        config = compose(
            PRESET, *TWO, f"paths.videos={data}", f"datamodule.broken_share={share}", "evaluate_after_training=false"
        )
        return lambda _: train(config)

    enough = results(on_ranks(task(0.125)))
    saved = checkpoint(enough[0], str(Path(data.parent) / "outputs"))
    assert {Path(path).stem for path in saved["ActionRecognitionDataModule"]["broken"]["train"]} == set(names)
    assert enough[0].history["0"]["data/broken"] == 2.0
    for error in on_ranks(task(0.1)):  # one of sixteen on each rank would be few enough
        assert isinstance(error, RuntimeError) and "2 of 16 videos cannot be read" in str(error), error


@pytest.mark.parametrize("preset", ["baseline/random", "baseline/options", "navigation/safe_dagger"])
def test_what_one_process_does_is_refused_to_several(preset, compose):
    module, data = build(validate(compose(preset), TrainConfig))
    data.setup("fit")
    module._trainer = type("Trainer", (), {"world_size": 2, "datamodule": data, "precision": "32-true"})
    with pytest.raises(ConfigError, match=r"expected trainer\.devices=1 trainer\.num_nodes=1, got 2 ranks"):
        module.setup("fit")


@pytest.mark.parametrize(("count", "said"), [(1, "use 3"), (2, "use 3"), (4, "use 3 or 6"), (10, "use 9 or 12")])
def test_what_cannot_be_divided_is_refused_with_what_can(count, said):
    trainer = type("Trainer", (), {"world_size": 3, "global_rank": 1})
    with pytest.raises(ConfigError, match=f"datamodule.actors={count} is not divisible by 3 ranks: {said}$"):
        shard(trainer, count, "datamodule.actors")
    assert shard(trainer, 6) == (1, 3)


def test_what_one_rank_fails_of_the_record_says(data, compose):
    """The first rank only sees that the other one is gone."""
    second_ranks_validation_videos_broken(data)
    config = compose(
        PRESET, *TWO, f"paths.videos={data}", "datamodule.broken_share=0.01", "datamodule.eval_batch_size=1"
    )

    first, second = on_ranks(lambda _: train(config))
    assert "1 of 8 videos cannot be read" in str(second)
    assert "1 of 8 videos cannot be read" in str(first).splitlines()[0] and "18.webm: the file is empty" in str(first)
    (path,) = Path(config.paths.outputs).glob("runs/*/record.json")
    record = json.loads(path.read_text())
    assert record["status"] == "FAILED" and "18.webm: the file is empty" in record["error"]
