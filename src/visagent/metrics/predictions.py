"""What a classifier said of each video: kept in a file, counted by class, fused with another one's, handed in."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.errors import ConfigError
from visagent.video.clip_lists import UNLABELLED

HANDED_IN = 5
"""Classes that a submission to Something-Something V2 names for each video."""
PARTS = ("videos", "labels", "logits", "classes")


@dataclass(frozen=True)
class Predictions:
    """Logits of an evaluation.

    Attributes:
        videos: the N videos' names, relative to their data set's folder.
        labels: int64 `[N]`, `UNLABELLED` where nobody says.
        logits: float32 `[N, C]`, averaged over the views of each video.
        classes: the C names.
    """

    videos: tuple[str, ...]
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    classes: tuple[str, ...]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Softmax of the logits, `[N, C]`."""
        powers = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        shares: NDArray[np.float32] = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def ranked(self, count: int) -> NDArray[np.int64]:
        """Labels of the likeliest classes of each video, the likeliest first, `[N, count]`."""
        return np.argsort(-self.logits, axis=1, kind="stable")[:, :count]

    def confusion(self) -> NDArray[np.int64]:
        """How many videos of each class (rows) were taken for which (columns), `[C, C]`."""
        known = self.labels != UNLABELLED
        counts = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(counts, (self.labels[known], self.ranked(1)[known, 0]), 1)
        return counts

    def accuracies(self) -> dict[str, float]:
        """Top-1 and top-5 accuracy, and the mean of the classes' own; none without labels."""
        known = self.labels != UNLABELLED
        if not known.any():
            return {}
        right = self.ranked(5)[known] == self.labels[known, None]
        return {
            "top1": float(right[:, 0].mean()),
            "top5": float(right.any(axis=1).mean()),
            "mean_class": mean_class_accuracy(self.confusion()),
        }

    def save(self, path: Path) -> None:
        """Write a compressed NumPy archive, which loads without pickle."""
        np.savez_compressed(
            path,
            videos=np.array(self.videos, dtype=np.str_),
            labels=self.labels,
            logits=self.logits,
            classes=np.array(self.classes, dtype=np.str_),
        )

    @staticmethod
    def load(path: Path) -> Predictions:
        """Read what `save` wrote.

        Raises:
            ConfigError: when it is something else.
        """
        try:
            with np.load(path) as archive:
                videos, labels, logits, classes = (archive[part] for part in PARTS)
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{path}: expected predictions of visagent, got another file ({error})") from error
        return Predictions(tuple(videos.tolist()), labels, logits, tuple(classes.tolist()))

    def save_per_class(self, path: Path) -> None:
        """Write a line for each class: its name, its videos, how many of them were recognised, and the share."""
        counts = self.confusion()
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("class", "videos", "right", "accuracy"))
            for name, row, right in zip(self.classes, counts, counts.diagonal(), strict=True):
                rows.writerow((name, row.sum(), right, f"{right / row.sum():.4f}" if row.sum() else ""))

    def save_submission(self, path: Path, numbers: bool) -> None:
        """Write what Something-Something's test is handed in as, in the form of the released TSM (`test_models.py`):
        `ID;CLASS`, or the numbers of the five likeliest classes.

        Args:
            path: of the file.
            numbers: five numbers (V2), not one name (V1).
        """
        with path.open("w") as file:
            for video, best in zip(self.videos, self.ranked(HANDED_IN).tolist(), strict=True):
                said = best if numbers else [self.classes[best[0]]]
                file.write(";".join([Path(video).stem, *map(str, said)]) + "\n")


def mean_class_accuracy(confusion: NDArray[np.int64]) -> float:
    """The mean, over classes that have videos, of the share of them that was recognised; NaN without videos.

    Args:
        confusion: true classes in rows, `[C, C]`.
    """
    videos = confusion.sum(axis=1)
    there = videos > 0
    return float((confusion.diagonal()[there] / videos[there]).mean()) if there.any() else float("nan")


def fused(several: Sequence[Predictions], weights: Sequence[float]) -> Predictions:
    """Late fusion: the weighted mean of the probabilities that several networks give, as logits (their logarithms).

    Args:
        several: of the same videos, in any order.
        weights: one for each.

    Raises:
        ConfigError: when they are of other videos, labels or classes, or there are not as many weights.
    """
    if len(several) != len(weights):
        raise ConfigError(f"fuse: expected {len(several)} weights, one for each run, got {list(weights)}")
    first = several[0]
    total = np.zeros_like(first.logits, dtype=np.float64)
    for one, weight in zip(several, weights, strict=True):
        if one.classes != first.classes:
            raise ConfigError("fuse: expected runs of the same classes in the same order, got others")
        place = {video: number for number, video in enumerate(one.videos)}
        missing = [video for video in first.videos if video not in place]
        if missing or len(place) != len(first.videos):
            got = missing or [video for video in one.videos if video not in set(first.videos)]
            raise ConfigError(f"fuse: expected runs tested on the same videos, got {got[0]} in one of them alone")
        order = [place[video] for video in first.videos]
        if not np.array_equal(one.labels[order], first.labels):
            raise ConfigError("fuse: expected runs that know the same labels of their videos, got others")
        total += weight * one.probabilities[order]
    shares = np.maximum(total / sum(weights), np.finfo(np.float32).tiny)
    return Predictions(first.videos, first.labels, np.log(shares).astype(np.float32), first.classes)


class Collector:
    """Gathers predictions while batches are evaluated, by protocol."""

    def __init__(self) -> None:
        self.parts: dict[str, list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]] = {}

    def update(self, protocol: str, index: Any, label: Any, logits: Any) -> None:
        """Take a batch: tensors of the videos' numbers `[N]`, labels `[N]` and logits `[N, C]`."""
        part = (index.cpu().numpy(), label.cpu().numpy(), logits.float().cpu().numpy())
        self.parts.setdefault(protocol, []).append(part)

    def finish(
        self, videos: Sequence[str], classes: Sequence[str], gather: Callable[[Any], list[Any]]
    ) -> Mapping[str, Predictions]:
        """All ranks' predictions in the order of the videos, by protocol; then all begins anew.

        Args:
            videos: names by number.
            classes: names.
            gather: what every rank holds, of this rank's.
        """
        everyone, self.parts = gather(self.parts), {}
        found: dict[str, Predictions] = {}
        for protocol in dict.fromkeys(name for one in everyone for name in one):
            parts = [part for one in everyone for part in one.get(protocol, [])]
            index, label, logits = (np.concatenate([part[column] for part in parts]) for column in range(3))
            order = np.argsort(index)
            names = tuple(videos[number] for number in index[order])
            found[protocol] = Predictions(names, label[order], logits[order], tuple(classes))
        return found
