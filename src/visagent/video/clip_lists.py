"""Lists of clips: what a layout's reader returns, and what all readers share in reading the files that say it."""

from __future__ import annotations

import csv
import difflib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visagent.errors import ConfigError, MissingFileError
from visagent.video.entries import kind

SPLITS = ("train", "val")
UNLABELLED = -1
"""The label of a clip whose class nobody says."""
WHERE = "paths.videos=DIR says where it is when training"


@dataclass(frozen=True)
class Clip:
    """A video file, or a folder of frames, and its class, `UNLABELLED` where nobody says.

    Attributes:
        span: (begin, end) of the part that is meant, in seconds, of a folder of frames in frames; None for all of it.
    """

    path: str
    label: int
    span: tuple[float, float] | None = None


@dataclass(frozen=True)
class ClipList:
    """Clips of a split.

    Attributes:
        classes: `classes[label]` is a class's name.
        refused: what was met and not read, by name: neither video nor picture nor folder, or listed twice.
        missing: names of listed files that are not there, of layouts that leave those out.
    """

    clips: tuple[Clip, ...]
    classes: tuple[str, ...]
    refused: tuple[str, ...] = field(default=(), compare=False)
    missing: tuple[str, ...] = field(default=(), compare=False)


def first_folder(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of some folders under a data set's root that exists.

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


def first_file(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of some files under a data set's root that exists.

    Raises:
        MissingFileError: when there is none.
    """
    for name in names:
        if (root / name).is_file():
            return root / name
    raise MissingFileError(f"{what}: {root} has no {' or '.join(names)}; {WHERE}")


def text_of(path: Path) -> str:
    """What a list says, whatever program wrote it: a byte order mark is none of it."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: expected text in UTF-8 ({error}); for example: iconv -f UTF-16 -t UTF-8, or -f LATIN1"
        ) from error


def lines_of(path: Path) -> list[str]:
    """Lines of a list that are not blank, whatever ended them."""
    return [line.strip() for line in text_of(path).splitlines() if line.strip()]


def rows_of(path: Path) -> list[list[str]]:
    """The rows of a list whose columns are separated by `;`, quoted or not."""
    rows = csv.reader(text_of(path).splitlines(), delimiter=";")
    return [cells for row in rows if any(cells := [cell.strip() for cell in row])]


def json_of(path: Path) -> Any:
    """A JSON file, in which no name stands twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        require_once([name for name, _ in pairs], path)
        return dict(pairs)

    try:
        return json.loads(text_of(path), object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: expected JSON ({error})") from error


def require_once(names: Iterable[str], where: Path) -> None:
    """Refuse names of a file that stand there twice.

    Raises:
        ConfigError: naming them.
    """
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ConfigError(f"{where}: expected each name once, got {', '.join(map(repr, twice[:5]))} more than once")


def numbered(names: Mapping[str, Any], first: int, where: Path) -> dict[str, int]:
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


def class_folders(folder: Path) -> list[Path]:
    """The class folders in the order of their names; hidden ones hold no class."""
    return sorted(entry for entry in folder.iterdir() if kind(entry) == "folder")


def listed(folder: Path, name: str, where: Path) -> Path:
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


def clip_list(
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


def check_split(split: str, more: tuple[str, ...] = ()) -> None:
    """Refuse a split that a layout has not.

    Raises:
        ValueError: naming those that it has.
    """
    if split not in (*SPLITS, *more):
        raise ValueError(f"expected split {' or '.join((*SPLITS, *more))}, got {split!r}")


def label_of(name: str, labels: Mapping[str, int], where: Path) -> int:
    """The label of a class that a file names.

    Raises:
        ConfigError: with the nearest class, where there is none of that name.
    """
    if name not in labels:
        near = difflib.get_close_matches(name, labels, 1)
        raise ConfigError(
            f"{where}: unknown class {name!r}"
            + (f"; did you mean {near[0]!r}?" if near else f"; there are {len(labels)} classes")
        )
    return labels[name]
