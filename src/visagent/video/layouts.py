"""The layouts in which action data sets are distributed, read as lists of clips.

Each reader takes the data set's folder as it was unpacked and returns the clips of a split (`train` or `val`) with the classes in the order of
their labels. Nothing is decoded here.
"""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visagent.errors import ConfigError, MissingFileError
from visagent.video.decode import PICTURES

SPLITS = ("train", "val")
VIDEO_SUFFIXES = (".webm", ".mp4", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")
OPPOSITES = (("left", "right"), ("clockwise", "counterclockwise"))
"""Words that a mirrored video turns into each other."""


@dataclass(frozen=True)
class Clip:
    """A video file, or a folder of frames, and its class."""

    path: str
    label: int


@dataclass(frozen=True)
class ClipList:
    """Clips of a split; `classes[label]` is a class's name."""

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]


def first_folder(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of some folders under a data set's root that is there.

    Raises:
        MissingFileError: when there is none.
    """
    if not root.is_dir():
        raise MissingFileError(f"{what}: no folder {root}; set datamodule.root to where the data set was unpacked")
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise MissingFileError(f"{what}: {root} has no folder {' or '.join(names)}; it holds {', '.join(sorted(p.name for p in root.iterdir())[:8]) or 'nothing'}")


def _first_file(root: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (root / name).is_file():
            return root / name
    raise MissingFileError(f"{what}: {root} has no {' or '.join(names)}; set datamodule.root to where the data set was unpacked")


def _lines(path: Path) -> list[str]:
    """Its lines that are not blank, whatever ended them."""
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"expected split {' or '.join(SPLITS)}, got {split!r}")


def _label(name: str, labels: Mapping[str, int], where: Path) -> int:
    if name not in labels:
        near = difflib.get_close_matches(name, labels, 1)
        raise ConfigError(f"{where}: unknown class {name!r}" + (f"; did you mean {near[0]!r}?" if near else f"; there are {len(labels)} classes"))
    return labels[name]


def something_v2(root: Path, split: str) -> ClipList:
    """Something-Something V2: WebM files (or their extracted frames) named by id, and JSON labels of either generation.

    Expects `20bn-something-something-v2/ID.webm`, or `20bn-something-something-v2-frames/ID/*.jpg`, and beside it `labels/labels.json`,
    `labels/train.json` and `labels/validation.json`, or the older `something-something-v2-labels.json` and so on.
    """
    _check_split(split)
    what = "Something-Something V2"
    videos = first_folder(root, ("20bn-something-something-v2", "videos", "20bn-something-something-v2-frames"), what)
    stem = {"train": "train", "val": "validation"}[split]

    def load(name: str) -> tuple[Path, Any]:
        path = _first_file(root, (f"labels/{name}.json", f"something-something-v2-{name}.json", f"labels/something-something-v2-{name}.json"), what)
        try:
            return path, json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ConfigError(f"{path}: expected JSON ({error})") from error

    label_file, named = load("labels")
    if not isinstance(named, dict):
        raise ConfigError(f"{label_file}: expected an object of class names and numbers")
    labels = {name: int(number) for name, number in named.items()}
    if sorted(labels.values()) != list(range(len(labels))):
        raise ConfigError(f"{label_file}: expected the numbers 0 to {len(labels) - 1}, each once")
    path, entries = load(stem)
    frames = videos.name.endswith("-frames")
    clips = []
    for entry in entries:
        if not {"id", "template"} <= set(entry):
            raise ConfigError(f"{path}: expected entries with id and template, got {entry}")
        name = entry["template"].replace("[", "").replace("]", "")
        clips.append(Clip(str(videos / (entry["id"] if frames else f"{entry['id']}.webm")), _label(name, labels, path)))
    return ClipList(tuple(clips), tuple(sorted(labels, key=labels.__getitem__)))


def something_v1(root: Path, split: str) -> ClipList:
    """Something-Something V1: `20bn-something-something-v1/ID/*.jpg` and `something-something-v1-{labels,train,validation}.csv`.

    Labels have the order of the labels file.
    """
    _check_split(split)
    what = "Something-Something V1"
    folder = first_folder(root, ("20bn-something-something-v1",), what)
    stem = {"train": "train", "val": "validation"}[split]
    classes = _lines(_first_file(root, ("something-something-v1-labels.csv", "labels/something-something-v1-labels.csv"), what))
    labels = {name: number for number, name in enumerate(classes)}
    path = _first_file(root, (f"something-something-v1-{stem}.csv", f"labels/something-something-v1-{stem}.csv"), what)
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.reader(file, delimiter=";") if row]
    for row in rows:
        if len(row) != 2:
            raise ConfigError(f"{path}: expected lines ID;CLASS, got {';'.join(row)!r}")
    return ClipList(tuple(Clip(str(folder / row[0]), _label(row[1], labels, path)) for row in rows), tuple(classes))


def ucf101(root: Path, split: str, fold: int) -> ClipList:
    """UCF-101: `UCF-101/CLASS/*.avi` and `ucfTrainTestlist/{classInd,trainlist0N,testlist0N}.txt`; the test list is `val`.

    The class is the folder in the list: names of files may be spelled otherwise.
    """
    _check_split(split)
    what = "UCF-101"
    videos, lists = first_folder(root, ("UCF-101", "videos"), what), first_folder(root, ("ucfTrainTestlist", "annotations"), what)
    index = _first_file(lists, ("classInd.txt",), what)
    labels = {name: int(number) - 1 for number, name in (line.split() for line in _lines(index))}
    if sorted(labels.values()) != list(range(len(labels))):
        raise ConfigError(f"{index}: expected the numbers 1 to {len(labels)}, each once")
    path = _first_file(lists, (f"{'train' if split == 'train' else 'test'}list0{fold}.txt",), what)
    clips = []
    for line in _lines(path):
        name = line.rsplit(" ", 1)[0] if re.search(r"\s\d+$", line) else line
        clips.append(Clip(str(videos / name), _label(name.split("/")[0], labels, path)))
    return ClipList(tuple(clips), tuple(sorted(labels, key=labels.__getitem__)))


def hmdb51(root: Path, split: str, fold: int) -> ClipList:
    """HMDB-51: `hmdb51_org/ACTION/*.avi` and `testTrainMulti_7030_splits/ACTION_test_splitN.txt` with 1 for training, 2 for testing, 0 unused."""
    _check_split(split)
    what = "HMDB-51"
    videos = first_folder(root, ("hmdb51_org", "videos"), what)
    lists = first_folder(root, ("testTrainMulti_7030_splits", "splits"), what)
    classes = sorted(entry.name for entry in videos.iterdir() if entry.is_dir())
    wanted = "1" if split == "train" else "2"
    clips = []
    for number, name in enumerate(classes):
        path = _first_file(lists, (f"{name}_test_split{fold}.txt",), what)
        for line in _lines(path):
            file, _, use = line.rpartition(" ")
            if use not in ("0", "1", "2"):
                raise ConfigError(f"{path}: expected lines FILE 0|1|2, got {line!r}")
            if use == wanted:
                clips.append(Clip(str(videos / name / file.strip()), number))
    return ClipList(tuple(clips), tuple(classes))


def folders(root: Path, split: str) -> ClipList:
    """Kinetics and whatever is kept in the same way: `train/CLASS/*` and `val/CLASS/*`, videos, folders of frames, or pictures (ImageNet)."""
    _check_split(split)
    top = first_folder(root, (split, {"train": "training", "val": "validation"}[split]), "a data set of class folders")
    train = first_folder(root, ("train", "training"), "a data set of class folders")
    classes = sorted(entry.name for entry in train.iterdir() if entry.is_dir())
    labels = {name: number for number, name in enumerate(classes)}
    clips: list[Clip] = []
    for folder in sorted(entry for entry in top.iterdir() if entry.is_dir()):
        label = _label(folder.name, labels, top)
        clips += [Clip(str(entry), label) for entry in sorted(folder.iterdir()) if entry.is_dir() or entry.suffix.lower() in (*VIDEO_SUFFIXES, *PICTURES)]
    return ClipList(tuple(clips), tuple(classes))


LAYOUTS: dict[str, Callable[..., ClipList]] = {
    "something_v2": something_v2,
    "something_v1": something_v1,
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "kinetics": folders,
}
WITH_FOLDS = ("ucf101", "hmdb51")
"""Layouts with three train/test splits; their readers take `fold`."""


def read(layout: str, root: Path | str, split: str, fold: int = 1) -> ClipList:
    """The clips of a split.

    Args:
        layout: one of `LAYOUTS`.
        root: the data set's folder.
        split: `train` or `val`.
        fold: of UCF-101 and HMDB-51, 1 to 3.

    Raises:
        ConfigError: when its files do not say what they should, or list nothing.
        MissingFileError: when one of them is not there.
    """
    settings = {"fold": fold} if layout in WITH_FOLDS else {}
    found = LAYOUTS[layout](Path(root), split, **settings)
    if not found.clips:
        raise ConfigError(f"{root}: no {split} videos are listed in the {layout} layout")
    return found


def mirrored_labels(classes: Iterable[str]) -> list[int | None]:
    """For each class, the class of its mirrored videos: itself, its opposite, or None where the opposite is no class.

    "Pushing something from left to right" becomes "... from right to left"; a class that names no direction stays.
    """
    names = list(classes)
    by_name = {_plain(name): number for number, name in enumerate(names)}
    swap = {word: other for pair in OPPOSITES for word, other in (pair, pair[::-1])}
    found: list[int | None] = []
    for name in names:
        plain = _plain(name)
        mirrored = " ".join(swap.get(word, word) for word in plain.split())
        found.append(by_name.get(mirrored))
    return found


def _plain(name: str) -> str:
    """A class's name as lower-case words: "PushLeftToRight" and "push_left_to_right" both become "push left to right"."""
    return " ".join(re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)).lower()
