"""The layouts in which action data sets are distributed, read as lists of clips.

Each reader takes the data set's folder as it was unpacked and returns the clips of a split (`train` or `val`) with the
classes in the order of their labels. Nothing is decoded here. What a list names is read, what only lies beside it is
not; where folders are the list, `visagent.video.entries` says what is a video.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visagent.errors import ConfigError
from visagent.video.clip_lists import (
    UNLABELLED,
    ClipList,
    check_split,
    class_folders,
    clip_list,
    first_file,
    first_folder,
    json_of,
    label_of,
    lines_of,
    listed,
    numbered,
    require_once,
    rows_of,
)
from visagent.video.entries import hidden, kind

WITH_TEST = ("something_v2", "something_v1")
"""Layouts with a further split, `test`, whose labels nobody says."""
FOLDERS = {
    "something_v2": ("20bn-something-something-v2", "20bn-something-something-v2-frames"),
    "something_v1": ("20bn-something-something-v1",),
    "ucf101": ("UCF-101",),
    "hmdb51": ("hmdb51_org",),
    "kinetics": ("train", "training"),
}
"""Names of each data set's folder of videos as it is distributed, by which a layout is recognised."""
OPPOSITES = (("left", "right"), ("clockwise", "counterclockwise"))
"""Words that a mirrored video turns into each other."""


def something_v2(root: Path, split: str) -> ClipList:
    """Something-Something V2: WebM files (or their extracted frames) named by id, and JSON labels of either generation.

    Expects `20bn-something-something-v2/ID.webm`, or `20bn-something-something-v2-frames/ID/*.jpg`, and beside it
    `labels/labels.json`, `labels/train.json` and `labels/validation.json`, or the older
    `something-something-v2-labels.json` and so on. The split `test` needs `test.json`, whose entries have an id alone.
    """
    check_split(split, ("test",))
    what = "Something-Something V2"
    videos = first_folder(root, (*FOLDERS["something_v2"], "videos"), what)
    stem = {"train": "train", "val": "validation", "test": "test"}[split]

    def load(name: str) -> tuple[Path, Any]:
        path = first_file(
            root,
            (
                f"labels/{name}.json",
                f"something-something-v2-{name}.json",
                f"labels/something-something-v2-{name}.json",
            ),
            what,
        )
        return path, json_of(path)

    label_file, named = load("labels")
    if not isinstance(named, dict):
        raise ConfigError(f"{label_file}: expected an object of class names and numbers")
    labels = numbered(named, 0, label_file)
    path, entries = load(stem)
    frames = videos.name.endswith("-frames")
    clips = []
    if not isinstance(entries, list):
        raise ConfigError(f"{path}: expected a list of entries with id and template, got {type(entries).__name__}")
    for entry in entries:
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("id"), (str, int))
            or (split != "test" and not isinstance(entry.get("template"), str))
        ):
            raise ConfigError(f"{path}: expected entries with id and template, got {entry}")
        name = entry.get("template", "").replace("[", "").replace("]", "").strip()
        label = UNLABELLED if split == "test" else label_of(name, labels, path)
        clips.append((listed(videos, f"{entry['id']}" if frames else f"{entry['id']}.webm", path), label))
    return clip_list(clips, sorted(labels, key=labels.__getitem__), path)


def something_v1(root: Path, split: str) -> ClipList:
    """Something-Something V1: `20bn-something-something-v1/ID/*.jpg` and
    `something-something-v1-{labels,train,validation}.csv`.

    Labels have the order of the labels file. The split `test` needs `something-something-v1-test.csv`, lines of an ID.
    """
    check_split(split, ("test",))
    what = "Something-Something V1"
    folder = first_folder(root, FOLDERS["something_v1"], what)
    stem = {"train": "train", "val": "validation", "test": "test"}[split]
    label_file = first_file(
        root, ("something-something-v1-labels.csv", "labels/something-something-v1-labels.csv"), what
    )
    classes = [";".join(row) for row in rows_of(label_file)]
    require_once(classes, label_file)
    labels = {name: number for number, name in enumerate(classes)}
    path = first_file(root, (f"something-something-v1-{stem}.csv", f"labels/something-something-v1-{stem}.csv"), what)
    rows = rows_of(path)
    if split == "test":
        return clip_list([(listed(folder, row[0], path), UNLABELLED) for row in rows], classes, path)
    for row in rows:
        if len(row) != 2:
            raise ConfigError(f"{path}: expected lines ID;CLASS, got {';'.join(row)!r}")
    return clip_list([(listed(folder, row[0], path), label_of(row[1], labels, path)) for row in rows], classes, path)


def ucf101(root: Path, split: str, fold: int) -> ClipList:
    """UCF-101: `UCF-101/CLASS/*.avi` and `ucfTrainTestlist/{classInd,trainlist0N,testlist0N}.txt`; the test list is
    `val`.

    The class is the folder in the list: names of files may be spelled otherwise.
    """
    check_split(split)
    what = "UCF-101"
    videos, lists = (
        first_folder(root, (*FOLDERS["ucf101"], "videos"), what),
        first_folder(root, ("ucfTrainTestlist", "annotations"), what),
    )
    index = first_file(lists, ("classInd.txt",), what)
    pairs = [line.split() for line in lines_of(index)]
    for pair in pairs:
        if len(pair) != 2:
            raise ConfigError(f"{index}: expected lines NUMBER CLASS, got {' '.join(pair)!r}")
    require_once([name for _, name in pairs], index)
    labels = numbered({name: number for number, name in pairs}, 1, index)
    path = first_file(lists, (f"{'train' if split == 'train' else 'test'}list0{fold}.txt",), what)
    clips = []
    for line in lines_of(path):
        name, *numbers = re.split(r"\s+(?=[\d\s]+$)", line)
        video = listed(videos, name, path)
        label = label_of(video.parent.name, labels, path)
        if numbers and int(numbers[-1]) != label + 1:
            raise ConfigError(
                f"{path}: expected {label + 1}, the number of {video.parent.name} in {index.name}, at the end of "
                f"{line!r}"
            )
        clips.append((video, label))
    return clip_list(clips, sorted(labels, key=labels.__getitem__), path)


def hmdb51(root: Path, split: str, fold: int) -> ClipList:
    """HMDB-51: `hmdb51_org/ACTION/*.avi` and `testTrainMulti_7030_splits/ACTION_test_splitN.txt` with 1 for training, 2
    for testing, 0 unused.
    """
    check_split(split)
    what = "HMDB-51"
    videos = first_folder(root, (*FOLDERS["hmdb51"], "videos"), what)
    lists = first_folder(root, ("testTrainMulti_7030_splits", "splits"), what)
    classes = [folder.name for folder in class_folders(videos)]
    wanted = "1" if split == "train" else "2"
    clips = []
    for number, name in enumerate(classes):
        path = first_file(lists, (f"{name}_test_split{fold}.txt",), what)
        for line in lines_of(path):
            columns = line.rsplit(None, 1)
            if len(columns) != 2 or columns[1] not in ("0", "1", "2"):
                raise ConfigError(f"{path}: expected lines FILE 0|1|2, got {line!r}")
            if columns[1] == wanted:
                clips.append((listed(videos / name, columns[0], path), number))
    return clip_list(clips, classes, lists)


def folders(root: Path, split: str) -> ClipList:
    """Kinetics and whatever is kept in the same way: `train/CLASS/*` and `val/CLASS/*`, videos, folders of frames, or
    pictures (ImageNet).
    """
    check_split(split)
    top = first_folder(root, (split, {"train": "training", "val": "validation"}[split]), "a data set of class folders")
    train = first_folder(root, FOLDERS["kinetics"], "a data set of class folders")
    classes = [folder.name for folder in class_folders(train)]
    labels = {name: number for number, name in enumerate(classes)}
    clips: list[tuple[Path, int]] = []
    refused = [str(entry) for entry in sorted(top.iterdir()) if kind(entry) not in ("folder", "hidden")]
    for folder in class_folders(top):
        label = label_of(folder.name, labels, top)
        entries = [(entry, kind(entry)) for entry in sorted(folder.iterdir())]
        clips += [(entry, label) for entry, what in entries if what not in ("other", "hidden")]
        refused += [str(entry) for entry, what in entries if what == "other"]
    return clip_list(clips, classes, top, refused)


def kinetics(root: Path, split: str) -> ClipList:
    """Kinetics as CVDF distributes it, where there is a list of its videos, else class folders (`folders`)."""
    from visagent.video.csv_lists import cvdf, cvdf_list

    return folders(root, split) if cvdf_list(root, split) is None else cvdf(root, split)


def own_lists(root: Path, split: str) -> ClipList:
    """Lists of one's own; see `visagent.video.csv_lists.own_list`."""
    from visagent.video.csv_lists import own_list

    return own_list(root, split)


LAYOUTS: dict[str, Callable[..., ClipList]] = {
    "something_v2": something_v2,
    "something_v1": something_v1,
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "kinetics": kinetics,
    "lists": own_lists,
}
WITH_FOLDS = ("ucf101", "hmdb51")
"""Layouts with several train/test splits; their readers take `fold`."""
FOLDS = (1, 2, 3)


def has_fold(layout: str, root: Path, fold: int) -> bool:
    """Whether the lists of a split of UCF-101 or HMDB-51 are there."""
    pattern = {"ucf101": f"*/trainlist0{fold}.txt", "hmdb51": f"*/*_test_split{fold}.txt"}[layout]
    return next(root.glob(pattern), None) is not None


def detect(root: Path) -> str | None:
    """The layout that a folder has, or None."""
    from visagent.video.csv_lists import has_lists

    known = next((layout for layout, names in FOLDERS.items() if any((root / name).is_dir() for name in names)), None)
    return "lists" if known is None and has_lists(root) else known


def read(layout: str, root: Path | str, split: str, fold: int = 1) -> ClipList:
    """The clips of a split.

    Args:
        layout: one of `LAYOUTS`.
        root: the data set's folder.
        split: `train`, `val`, or of those `WITH_TEST` also `test`.
        fold: of UCF-101 and HMDB-51, 1 to 3.

    Raises:
        ConfigError: when its files do not say what they should, or list nothing.
        MissingFileError: when one of them is not there.
    """
    settings = {"fold": fold} if layout in WITH_FOLDS else {}
    clips = LAYOUTS[layout](Path(root), split, **settings)
    if not clips.clips:
        raise ConfigError(f"{root}: no {split} videos are listed in the {layout} layout")
    return clips


@dataclass(frozen=True)
class Survey:
    """What lies in the folders of some clips besides them.

    Attributes:
        unlisted: videos, pictures and folders that no list names.
        refused: neither of these, by name.
        hidden: how many entries are nobody's data.
    """

    unlisted: tuple[str, ...]
    refused: tuple[str, ...]
    hidden: int


def survey(root: Path, paths: Iterable[str]) -> Survey:
    """Look through the folders below a data set's root in which clips lie."""
    clips = {Path(path) for path in paths}
    within = {folder for clip in clips for folder in clip.parents if root in folder.parents}
    unlisted: list[str] = []
    refused: list[str] = []
    out_of_sight = 0
    for folder in sorted(folder for folder in within - clips if folder.is_dir()):
        for entry in sorted(folder.iterdir()):
            if entry in clips or entry in within:
                continue
            what = kind(entry)
            out_of_sight += what == "hidden"
            if what != "hidden":
                (refused if what == "other" else unlisted).append(str(entry))
    return Survey(tuple(unlisted), tuple(refused), out_of_sight)


def video_files(root: Path) -> list[str]:
    """All video files below a folder, but for what is hidden."""
    paths = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not hidden(name))
        paths += [str(entry) for entry in map(Path(folder).joinpath, sorted(names)) if kind(entry) == "video"]
    return paths


def mirrored_labels(classes: Iterable[str]) -> list[int | None]:
    """For each class, the class of its mirrored videos: itself, its opposite, or None where the opposite is no class.

    "Pushing something from left to right" becomes "... from right to left"; a class that names no direction stays.
    """
    names = list(classes)
    by_name = {_plain(name): number for number, name in enumerate(names)}
    swap = {word: other for pair in OPPOSITES for word, other in (pair, pair[::-1])}
    labels: list[int | None] = []
    for name in names:
        plain = _plain(name)
        mirrored = " ".join(swap.get(word, word) for word in plain.split())
        labels.append(by_name.get(mirrored))
    return labels


def _plain(name: str) -> str:
    """A class's name as lower-case words: "PushLeftToRight" and "push_left_to_right" both become "push left to
    right".
    """
    return " ".join(re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", name)).lower()
