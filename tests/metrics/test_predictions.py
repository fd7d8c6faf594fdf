"""What is counted of predictions, and what becomes of those of several networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from visagent.errors import ConfigError
from visagent.metrics.predictions import Collector, Predictions, fused, mean_class_accuracy
from visagent.video.clip_lists import UNLABELLED

CLASSES = tuple("abcdefgh")


@pytest.fixture
def some():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(60, 8)).astype(np.float32)
    labels = rng.integers(0, 7, 60)  # of the last class there is no video
    return Predictions(tuple(f"v/{number}.webm" for number in range(60)), labels, logits, CLASSES)


def test_accuracies_are_those_of_torchmetrics(some):
    found = some.accuracies()
    logits, labels = torch.from_numpy(some.logits), torch.from_numpy(some.labels)
    for name, top in (("top1", 1), ("top5", 5)):
        assert found[name] == pytest.approx(MulticlassAccuracy(8, top_k=top, average="micro")(logits, labels).item())
    each = MulticlassAccuracy(8, average="none")(logits, labels)[:7]
    assert found["mean_class"] == pytest.approx(each.mean().item())


def test_mean_class_accuracy_counts_classes_that_have_videos():
    assert mean_class_accuracy(np.array([[9, 1, 0], [1, 1, 0], [0, 0, 0]])) == pytest.approx((0.9 + 0.5) / 2)
    assert math.isnan(mean_class_accuracy(np.zeros((3, 3), np.int64)))


def test_they_are_read_as_they_were_written(some, tmp_path):
    some.save(tmp_path / "p.npz")
    again = Predictions.load(tmp_path / "p.npz")
    assert again.videos == some.videos and again.classes == CLASSES
    assert np.array_equal(again.labels, some.labels) and np.array_equal(again.logits, some.logits)
    (tmp_path / "other.npz").write_text("text")
    with pytest.raises(ConfigError, match="expected predictions of visagent"):
        Predictions.load(tmp_path / "other.npz")


def test_every_class_has_a_line(some, tmp_path):
    some.save_per_class(tmp_path / "c.csv")
    head, *lines = (tmp_path / "c.csv").read_text().split()
    assert head == "class,videos,right,accuracy" and len(lines) == 8 and lines[7] == "h,0,0,"
    name, videos, right, share = lines[0].split(",")
    mine = some.labels == 0
    assert (name, int(videos)) == ("a", mine.sum())
    assert int(right) == (some.logits[mine].argmax(axis=1) == 0).sum()
    assert float(share) == pytest.approx(int(right) / int(videos), abs=1e-4)


def test_fusion_is_the_weighted_mean_of_probabilities_whatever_the_order(some):
    rng = np.random.default_rng(1)
    order = rng.permutation(60)
    other = Predictions(
        tuple(some.videos[n] for n in order), some.labels[order], rng.normal(size=(60, 8)).astype(np.float32), CLASSES
    )
    joined = fused([some, other], [1.0, 3.0])
    place = np.argsort(order)
    expected = (
        torch.from_numpy(some.logits).softmax(dim=1) + 3 * torch.from_numpy(other.logits)[place].softmax(dim=1)
    ) / 4
    assert np.allclose(joined.probabilities, expected.numpy(), atol=1e-6)
    assert joined.videos == some.videos and np.array_equal(joined.labels, some.labels)
    assert np.allclose(fused([some, some], [1.0, 1.0]).probabilities, some.probabilities, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": CLASSES[::-1]}, "the same classes in the same order"),
        (
            {"videos": ("v/other.webm", *(f"v/{number}.webm" for number in range(1, 60)))},
            "the same videos, got v/0",
        ),
        ({"labels": np.zeros(60, np.int64)}, "the same labels"),
    ],
)
def test_what_does_not_belong_together_is_not_fused(some, change, message):
    parts = {"videos": some.videos, "labels": some.labels, "logits": some.logits, "classes": CLASSES}
    with pytest.raises(ConfigError, match=message):
        fused([some, Predictions(**(parts | change))], [1.0, 1.0])
    with pytest.raises(ConfigError, match="expected 1 weights"):
        fused([some], [1.0, 1.0])


def test_a_submission_names_classes_or_their_numbers(some, tmp_path):
    for numbers in (False, True):
        some.save_submission(tmp_path / "s.csv", numbers)
        line = (tmp_path / "s.csv").read_text().splitlines()[3].split(";")
        best = torch.from_numpy(some.logits)[3].topk(5).indices.tolist()
        assert line == ["3", *map(str, best)] if numbers else line == ["3", CLASSES[best[0]]]


def test_ranks_come_together_in_the_order_of_the_videos():
    mine, theirs = Collector(), Collector()
    logits = torch.randn(5, 3)
    for collector, numbers in ((mine, [0, 2, 4]), (theirs, [1, 3])):
        collector.update("1_clip", torch.tensor(numbers), torch.full((len(numbers),), UNLABELLED), logits[numbers])
    found = mine.finish(["a", "b", "c", "d", "e"], ["x", "y", "z"], lambda part: [part, theirs.parts])["1_clip"]
    assert found.videos == ("a", "b", "c", "d", "e") and np.array_equal(found.logits, logits.numpy())
    assert found.accuracies() == {} and not mine.parts
