"""Videos that a list names, wherever they lie: one's own lists, and Kinetics' as CVDF distributes it.

What a list names and is not there is left out and counted, as such data sets are never whole.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from visagent.errors import ConfigError, MissingFileError
from visagent.video.clip_lists import WHERE, Clip, ClipList, check_split, label_of, lines_of, require_once, text_of

NAMES = {"train": ("train",), "val": ("val", "validation", "test")}
SUFFIXES = (".csv", ".txt", ".tsv", ".lst")
CLASSES = ("classes.txt", "labels.txt", "category.txt", "categories.txt")
"""Files that name the classes in the order of their labels, one a line."""
HEADER = ("path", "video", "filename", "file", "id")
"""First words of a line that is a heading."""
VIDEOS = (".mp4", ".mkv", ".webm", ".avi")
Row = tuple[str, str, tuple[float, float] | None]
ID, CLASS, BEGIN, END = "youtube_id", "label", "time_start", "time_end"


def own_list(root: Path, split: str) -> ClipList:
    """Lists of one's own: `train.csv` and `val.csv` (or `.txt`, `.tsv`, `.lst`; `train_list.txt` and the like) in the
    data set's folder, a line for each video.

    A line is `PATH LABEL`, `PATH LABEL BEGIN END` for a part of a video (seconds; of a folder of frames, their numbers
    from 0 on, that of END not among them), or `PATH FRAMES LABEL` as the lists of TSN and TSM have it; columns are
    separated by commas, tabs or spaces. Paths are absolute, or relative to the data set's folder. Labels are names of
    classes, or their numbers from 0 on, whose names are in `classes.txt` (also `labels.txt`, `category.txt`) or else
    are the numbers.

    Raises:
        ConfigError: for a line that says something else.
        MissingFileError: where there is no list.
    """
    check_split(split)
    lists = {name: _own_list(root, name) for name in NAMES}
    rows = {name: _rows(path) for name, path in lists.items()}
    names = [label for of_split in rows.values() for _, label, _ in of_split]
    classes = _classes(root, names, lists["train"])
    labels = {name: number for number, name in enumerate(classes)}
    numbers = all(name.isdigit() for name in names)
    found, missing = [], []
    for path, label, span in rows[split]:
        number = int(label) if numbers else label_of(label, labels, lists[split])
        if number >= len(classes):
            raise ConfigError(f"{lists[split]}: expected labels from 0 to {len(classes) - 1}, got {label} for {path}")
        place = Path(path) if Path(path).is_absolute() else root / path
        if place.exists():
            found.append(Clip(str(place), number, span))
        else:
            missing.append(path)
    return _once_each(found, classes, missing)


def has_lists(root: Path) -> bool:
    """Whether a folder has lists of one's own."""
    return all(_list_there(root, split) is not None for split in NAMES)


def _own_list(root: Path, split: str) -> Path:
    if not root.is_dir():
        raise MissingFileError(f"lists: expected the folder where lists are, got nothing at {root}; {WHERE}")
    if (path := _list_there(root, split)) is not None:
        return path
    raise MissingFileError(
        f"lists: {root} has no {split}.csv or {split}.txt with a line PATH LABEL for each video; {WHERE}"
    )


def _list_there(root: Path, split: str) -> Path | None:
    stems = [f"{name}{end}" for name in NAMES[split] for end in ("", "_list", "_videofolder", "list")]
    paths = [root / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), None)


def _rows(path: Path) -> list[Row]:
    """(path, label, span) of each line."""
    rows: list[Row] = []
    for number, line in enumerate(lines_of(path)):
        cells = _cells(line)
        if number == 0 and cells[0].lower() in HEADER:
            continue
        if len(cells) == 3 and cells[1].isdigit():  # of TSN and TSM
            rows.append((cells[0], cells[2], None))
        elif len(cells) in (2, 4):
            rows.append((cells[0], cells[1], _span(cells[2:], path, line)))
        else:
            raise ConfigError(f"{path}: expected lines PATH LABEL, or PATH LABEL BEGIN END, got {line!r}")
    return rows


def _cells(line: str) -> list[str]:
    """Columns, separated by commas where there is one, else by tabs, else by spaces, which a path may hold too."""
    if "," in line or "\t" in line:
        return [cell.strip() for cell in next(csv.reader([line], delimiter="," if "," in line else "\t"))]
    tail = re.search(r"\s+([^\s./]+\s+[\d.]+\s+[\d.]+|\d+\s+\S+|\S+)$", line)
    return [line] if tail is None else [line[: tail.start()].strip(), *tail.group(1).split()]


def _span(cells: Sequence[str], path: Path, line: str) -> tuple[float, float] | None:
    if not cells:
        return None
    try:
        begin, end = float(cells[0]), float(cells[1])
    except ValueError as error:
        raise ConfigError(f"{path}: expected numbers for begin and end, got {line!r}") from error
    if not 0 <= begin < end:
        raise ConfigError(f"{path}: expected a begin from 0 on and an end after it, got {line!r}")
    return begin, end


def _classes(root: Path, labels: Sequence[str], where: Path) -> list[str]:
    """Names of the classes in the order of their labels."""
    file = next((root / name for name in CLASSES if (root / name).is_file()), None)
    if file is not None:
        names = lines_of(file)
        require_once(names, file)
        return names
    if all(label.isdigit() for label in labels):
        there = sorted({int(label) for label in labels})
        if there != list(range(len(there))):
            raise ConfigError(
                f"{where}: expected labels from 0 on without gaps, got {there[0]} to {there[-1]} with {len(there)} of "
                f"them; name the classes in {root / CLASSES[0]}, one a line"
            )
        return [str(number) for number in there]
    return sorted(set(labels))


def cvdf_list(root: Path, split: str) -> Path | None:
    """CVDF's list of a split, `annotations/train.csv` or `train.csv`, whose first line names its columns; None where
    there is none.
    """
    other = "validate" if split == "val" else split  # as some releases call it
    for name in (f"annotations/{split}.csv", f"{split}.csv", f"annotations/{other}.csv"):
        path = root / name
        if path.is_file() and {ID, CLASS} <= set(_cells(text_of(path).split("\n", 1)[0])):
            return path
    return None


def cvdf(root: Path, split: str) -> ClipList:
    """Kinetics as CVDF distributes it: `train/ID_BEGIN_END.mp4` without folders of classes (or with them), and
    `annotations/train.csv` with the columns label, youtube_id, time_start, time_end. Classes have the order of their
    names.

    Raises:
        ConfigError: where a list lacks columns.
    """
    lists = {name: cvdf_list(root, name) for name in NAMES}
    rows = {name: list(csv.DictReader(text_of(path).splitlines())) for name, path in lists.items() if path is not None}
    classes = sorted({row[CLASS].strip() for of_split in rows.values() for row in of_split})
    where, labels = lists[split], {name: number for number, name in enumerate(classes)}
    assert where is not None
    folder = root / split
    there = {entry.stem: entry for entry in sorted(folder.rglob("*")) if entry.suffix.lower() in VIDEOS}
    found, missing = [], []
    for row in rows[split]:
        name = row[ID].strip()
        try:
            full = f"{name}_{int(float(row[BEGIN])):06d}_{int(float(row[END])):06d}"
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{where}: expected columns {ID}, {CLASS}, {BEGIN}, {END}, got {row}") from error
        file = there.get(full) or there.get(name)
        if file is None:
            missing.append(full)
        else:
            found.append(Clip(str(file), label_of(row[CLASS].strip(), labels, where)))
    return _once_each(found, classes, missing)


def _once_each(clips: Sequence[Clip], classes: Sequence[str], missing: Sequence[str]) -> ClipList:
    """The clips, each once; of those that stand there twice the names."""
    once = dict.fromkeys(clips)
    again = len(clips) - len(once)
    twice = (f"{again} lines that stand there twice",) if again else ()
    return ClipList(tuple(once), tuple(classes), twice, tuple(missing))
