"""The layouts in which action data sets are distributed, read as lists of clips.

Each reader takes the data set's folder as it was unpacked and returns the clips of a split (`train` or `val`) with the
classes in the order of their labels. Nothing is decoded here. What a list names is read, what only lies beside it is
not; where folders are the list, `visagent.video.entries` says what is a video.
"""

from __future__ import annotations

import csv
import difflib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visagent.errors import ConfigError, MissingFileError
from visagent.video.entries import hidden, kind

SPLITS = ("train", "val")
WITH_TEST = ("something_v2", "something_v1")
"""Layouts with a further split, `test`, whose labels nobody says."""
UNLABELLED = -1
"""The label of a clip whose class nobody says."""
FOLDERS = {
    "something_v2": ("20bn-something-something-v2", "20bn-something-something-v2-frames"),
    "something_v1": ("20bn-something-something-v1",),
    "ucf101": ("UCF-101",),
    "hmdb51": ("hmdb51_org",),
    "kinetics": ("train", "training"),
}
"""Names of each data set's folder of videos as it is distributed, by which a layout is recognised."""
WHERE = "paths.videos=DIR says where it is when training"
OPPOSITES = (("left", "right"), ("clockwise", "counterclockwise"))
"""Words that a mirrored video turns into each other."""


@dataclass(frozen=True)
class Clip:
    """A video file, or a folder of frames, and its class, `UNLABELLED` where nobody says."""

    path: str
    label: int


@dataclass(frozen=True)
class ClipList:
    """Clips of a split.

    Attributes:
        classes: `classes[label]` is a class's name.
        refused: what was met and not read, by name: neither video nor picture nor folder, or listed twice.
    """

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    refused: tuple[str, ...] = field(default=(), compare=False)


def first_folder(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of some folders under a data set's root that is there.

    Raises:
        MissingFileError: when there is none.
    """
    if not root.is_dir():
        got = "a file" if root.is_file() else "nothing"
        raise MissingFileError(
            f"{what}: expected the folder where the data set was unpacked, got {got} at {root}; {WHERE}"
        )
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise MissingFileError(
        f"{what}: {root} has no folder {' or '.join(names)}; it holds "
        f"{', '.join(sorted(p.name for p in root.iterdir())[:8]) or 'nothing'}"
    )


def _first_file(root: Path, names: Sequence[str], what: str) -> Path:
    for name in names:
        if (root / name).is_file():
            return root / name
    raise MissingFileError(f"{what}: {root} has no {' or '.join(names)}; {WHERE}")


def _text(path: Path) -> str:
    """What a list says, whatever program wrote it: a byte order mark is none of it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected text in UTF-8 ({error}); for example: iconv -f UTF-16 -t UTF-8, or -f LATIN1"
        ) from error


def _lines(path: Path) -> list[str]:
    """Its lines that are not blank, whatever ended them."""
    return [line.strip() for line in _text(path).splitlines() if line.strip()]


def _rows(path: Path) -> list[list[str]]:
    """The rows of a list whose columns are separated by `;`, quoted or not."""
    rows = csv.reader(_text(path).splitlines(), delimiter=";")
    return [cells for row in rows if any(cells := [cell.strip() for cell in row])]


def _json(path: Path) -> Any:
    """A JSON file, in which no name stands twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _once([name for name, _ in pairs], path)
        return dict(pairs)

    try:
        return json.loads(_text(path), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: expected JSON ({error})") from error


def _once(names: Iterable[str], where: Path) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ConfigError(f"{where}: expected each name once, got {', '.join(map(repr, twice[:5]))} more than once")


def _numbered(names: Mapping[str, Any], first: int, where: Path) -> dict[str, int]:
    """Labels from 0, of classes that are numbered from `first` on."""
    try:
        labels = {name: int(number) - first for name, number in names.items()}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: expected a whole number for each class ({error})") from error
    if sorted(labels.values()) != list(range(len(labels))) or any(
        labels[name] + first != float(number) for name, number in names.items()
    ):
        raise ConfigError(f"{where}: expected the numbers {first} to {len(labels) - 1 + first}, each once")
    return labels


def _class_folders(folder: Path) -> list[Path]:
    """Its folders in the order of their names; hidden ones hold no class."""
    return sorted(entry for entry in folder.iterdir() if kind(entry) == "folder")


def _listed(folder: Path, name: str, where: Path) -> Path:
    """What a list names within the folder of videos, written with either kind of slash, with or without that folder's
    own name.

    Raises:
        ConfigError: for a name that leads out of it.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part != "."]
    if parts[:1] == [folder.name] and len(parts) > 1:
        parts = parts[1:]
    if "" in parts or ".." in parts:
        raise ConfigError(f"{where}: expected names within {folder.name}, got {name!r}")
    return folder.joinpath(*parts)


def _clip_list(
    labelled: Iterable[tuple[Path, int]], classes: Sequence[str], where: Path, refused: Iterable[str] = ()
) -> ClipList:
    """The clips, each once.

    Raises:
        ConfigError: when one is listed for two classes.
    """
    labels: dict[str, int] = {}
    twice = []
    for path, label in labelled:
        name = str(path)
        if name not in labels:
            labels[name] = label
        elif labels[name] == label:
            twice.append(f"{path} (listed twice)")
        else:
            raise ConfigError(
                f"{where}: {path.name} is listed for two classes, {classes[labels[name]]!r} and {classes[label]!r}: "
                "leave one of them"
            )
    return ClipList(tuple(Clip(path, label) for path, label in labels.items()), tuple(classes), (*refused, *twice))


def _check_split(split: str, more: tuple[str, ...] = ()) -> None:
    if split not in (*SPLITS, *more):
        raise ValueError(f"expected split {' or '.join((*SPLITS, *more))}, got {split!r}")


def _label(name: str, labels: Mapping[str, int], where: Path) -> int:
    if name not in labels:
        near = difflib.get_close_matches(name, labels, 1)
        raise ConfigError(
            f"{where}: unknown class {name!r}"
            + (f"; did you mean {near[0]!r}?" if near else f"; there are {len(labels)} classes")
        )
    return labels[name]


def something_v2(root: Path, split: str) -> ClipList:
    """Something-Something V2: WebM files (or their extracted frames) named by id, and JSON labels of either generation.

    Expects `20bn-something-something-v2/ID.webm`, or `20bn-something-something-v2-frames/ID/*.jpg`, and beside it
    `labels/labels.json`, `labels/train.json` and `labels/validation.json`, or the older
    `something-something-v2-labels.json` and so on. The split `test` needs `test.json`, whose entries have an id alone.
    """
    _check_split(split, ("test",))
    what = "Something-Something V2"
    videos = first_folder(root, (*FOLDERS["something_v2"], "videos"), what)
    stem = {"train": "train", "val": "validation", "test": "test"}[split]

    def load(name: str) -> tuple[Path, Any]:
        path = _first_file(
            root,
            (
                f"labels/{name}.json",
                f"something-something-v2-{name}.json",
                f"labels/something-something-v2-{name}.json",
            ),
            what,
        )
        return path, _json(path)

    label_file, named = load("labels")
    if not isinstance(named, dict):
        raise ConfigError(f"{label_file}: expected an object of class names and numbers")
    labels = _numbered(named, 0, label_file)
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
        label = UNLABELLED if split == "test" else _label(name, labels, path)
        clips.append((_listed(videos, f"{entry['id']}" if frames else f"{entry['id']}.webm", path), label))
    return _clip_list(clips, sorted(labels, key=labels.__getitem__), path)


def something_v1(root: Path, split: str) -> ClipList:
    """Something-Something V1: `20bn-something-something-v1/ID/*.jpg` and
    `something-something-v1-{labels,train,validation}.csv`.

    Labels have the order of the labels file. The split `test` needs `something-something-v1-test.csv`, lines of an ID.
    """
    _check_split(split, ("test",))
    what = "Something-Something V1"
    folder = first_folder(root, FOLDERS["something_v1"], what)
    stem = {"train": "train", "val": "validation", "test": "test"}[split]
    label_file = _first_file(
        root, ("something-something-v1-labels.csv", "labels/something-something-v1-labels.csv"), what
    )
    classes = [";".join(row) for row in _rows(label_file)]
    _once(classes, label_file)
    labels = {name: number for number, name in enumerate(classes)}
    path = _first_file(root, (f"something-something-v1-{stem}.csv", f"labels/something-something-v1-{stem}.csv"), what)
    rows = _rows(path)
    if split == "test":
        return _clip_list([(_listed(folder, row[0], path), UNLABELLED) for row in rows], classes, path)
    for row in rows:
        if len(row) != 2:
            raise ConfigError(f"{path}: expected lines ID;CLASS, got {';'.join(row)!r}")
    return _clip_list([(_listed(folder, row[0], path), _label(row[1], labels, path)) for row in rows], classes, path)


def ucf101(root: Path, split: str, fold: int) -> ClipList:
    """UCF-101: `UCF-101/CLASS/*.avi` and `ucfTrainTestlist/{classInd,trainlist0N,testlist0N}.txt`; the test list is
    `val`.

    The class is the folder in the list: names of files may be spelled otherwise.
    """
    _check_split(split)
    what = "UCF-101"
    videos, lists = (
        first_folder(root, (*FOLDERS["ucf101"], "videos"), what),
        first_folder(root, ("ucfTrainTestlist", "annotations"), what),
    )
    index = _first_file(lists, ("classInd.txt",), what)
    pairs = [line.split() for line in _lines(index)]
    for pair in pairs:
        if len(pair) != 2:
            raise ConfigError(f"{index}: expected lines NUMBER CLASS, got {' '.join(pair)!r}")
    _once([name for _, name in pairs], index)
    labels = _numbered({name: number for number, name in pairs}, 1, index)
    path = _first_file(lists, (f"{'train' if split == 'train' else 'test'}list0{fold}.txt",), what)
    clips = []
    for line in _lines(path):
        name, *numbers = re.split(r"\s+(?=[\d\s]+$)", line)
        video = _listed(videos, name, path)
        label = _label(video.parent.name, labels, path)
        if numbers and int(numbers[-1]) != label + 1:
            raise ConfigError(
                f"{path}: expected {label + 1}, the number of {video.parent.name} in {index.name}, at the end of "
                f"{line!r}"
            )
        clips.append((video, label))
    return _clip_list(clips, sorted(labels, key=labels.__getitem__), path)


def hmdb51(root: Path, split: str, fold: int) -> ClipList:
    """HMDB-51: `hmdb51_org/ACTION/*.avi` and `testTrainMulti_7030_splits/ACTION_test_splitN.txt` with 1 for training, 2
    for testing, 0 unused.
    """
    _check_split(split)
    what = "HMDB-51"
    videos = first_folder(root, (*FOLDERS["hmdb51"], "videos"), what)
    lists = first_folder(root, ("testTrainMulti_7030_splits", "splits"), what)
    classes = [folder.name for folder in _class_folders(videos)]
    wanted = "1" if split == "train" else "2"
    clips = []
    for number, name in enumerate(classes):
        path = _first_file(lists, (f"{name}_test_split{fold}.txt",), what)
        for line in _lines(path):
            columns = line.rsplit(None, 1)
            if len(columns) != 2 or columns[1] not in ("0", "1", "2"):
                raise ConfigError(f"{path}: expected lines FILE 0|1|2, got {line!r}")
            if columns[1] == wanted:
                clips.append((_listed(videos / name, columns[0], path), number))
    return _clip_list(clips, classes, lists)


def folders(root: Path, split: str) -> ClipList:
    """Kinetics and whatever is kept in the same way: `train/CLASS/*` and `val/CLASS/*`, videos, folders of frames, or
    pictures (ImageNet).
    """
    _check_split(split)
    top = first_folder(root, (split, {"train": "training", "val": "validation"}[split]), "a data set of class folders")
    train = first_folder(root, FOLDERS["kinetics"], "a data set of class folders")
    classes = [folder.name for folder in _class_folders(train)]
    labels = {name: number for number, name in enumerate(classes)}
    clips: list[tuple[Path, int]] = []
    refused = [str(entry) for entry in sorted(top.iterdir()) if kind(entry) not in ("folder", "hidden")]
    for folder in _class_folders(top):
        label = _label(folder.name, labels, top)
        entries = [(entry, kind(entry)) for entry in sorted(folder.iterdir())]
        clips += [(entry, label) for entry, what in entries if what not in ("other", "hidden")]
        refused += [str(entry) for entry, what in entries if what == "other"]
    return _clip_list(clips, classes, top, refused)


LAYOUTS: dict[str, Callable[..., ClipList]] = {
    "something_v2": something_v2,
    "something_v1": something_v1,
    "ucf101": ucf101,
    "hmdb51": hmdb51,
    "kinetics": folders,
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
    return next((layout for layout, names in FOLDERS.items() if any((root / name).is_dir() for name in names)), None)


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
