"""Write the synthetic actions as real files in each data set's layout."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from visagent.errors import ConfigError
from visagent.lifeline import end_with_parent
from visagent.seeding import derive_seed
from visagent.video.decode import write_video
from visagent.video.layouts import LAYOUTS
from visagent.video.synthetic import ACTIONS, FPS, Example, examples

WEBM = {"crf": "30", "b": "0", "deadline": "realtime", "cpu-used": "8"}
AVI = {"qscale": "4", "flags": "+qscale", "global_quality": "472"}
FINISHED = ".complete"


@dataclass(frozen=True)
class Recipe:
    """What a synthetic data set is made of: the same recipe gives the same files.

    Attributes:
        layout: one of `visagent.video.layouts.LAYOUTS`.
        train, val: how many clips.
        size: their height and width.
        seed: of everything drawn.
    """

    layout: str
    train: int
    val: int
    size: int
    seed: int

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ConfigError(f"layout: expected one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        if min(self.train, self.val) < len(ACTIONS):
            raise ConfigError(
                f"synthetic videos: expected at least {len(ACTIONS)} in each split, one per action, got {self.train} "
                f"and {self.val}"
            )
        if self.size < 16 or self.size % 2:
            raise ConfigError(f"synthetic videos: expected an even size of at least 16 pixels, got {self.size}")

    @property
    def name(self) -> str:
        """A folder name that differs for other recipes."""
        return f"{self.layout}-{self.train}-{self.val}-{self.size}-s{self.seed}"

    def split(self, name: str) -> list[Example]:
        """The clips of `train` or `val`."""
        return examples(
            name, self.train if name == "train" else self.val, self.size, derive_seed(self.seed, "synthetic actions")
        )


def make(recipe: Recipe, root: Path, workers: int | None = None) -> Iterator[int]:
    """Write a data set where there is none yet; yields how many clips are done.

    It is written beside its place and moved there when complete, so that a folder that exists is whole.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = root.with_name(f"{root.name}.partial")
    with root.with_name(f"{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process that wants the same videos waits, and finds them
        if (root / FINISHED).is_file():
            recipe_there = (root / FINISHED).read_text().strip()
            if recipe_there != str(recipe):
                raise ConfigError(
                    f"{root} holds other videos, made by {recipe_there}: choose another folder, or delete it"
                )
            return
        if root.exists():
            raise ConfigError(f"{root} exists and was not made by this command: choose another folder")
        shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
        partial.mkdir()
        try:
            jobs = WRITERS[recipe.layout](recipe, partial)
            # New processes, not forks: where decord has been loaded, its libvpx hides the one that encodes.
            with ProcessPoolExecutor(
                workers or os.cpu_count(), multiprocessing.get_context("spawn"), initializer=end_with_parent
            ) as pool:
                for done, _ in enumerate(pool.map(_write, jobs, chunksize=8), start=1):
                    yield done
            (partial / FINISHED).write_text(f"{recipe}\n")
            os.replace(partial, root)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


Job = tuple[Example, Path]


def _write(job: Job) -> None:
    example, path = job
    frames = example.frames()
    if path.suffix == ".webm":
        write_video(path, frames, "libvpx-vp9", FPS, WEBM)
    elif path.suffix == ".avi":
        write_video(path, frames, "mpeg4", FPS, AVI)
    else:
        path.mkdir(parents=True)
        for number, frame in enumerate(frames, start=1):
            Image.fromarray(frame).save(path / f"{number:05d}.jpg", quality=90)


def _something_v2(recipe: Recipe, root: Path) -> list[Job]:
    labels = root / "labels"
    labels.mkdir()
    (labels / "labels.json").write_text(
        json.dumps({action.label: str(number) for number, action in enumerate(ACTIONS)}, indent=1)
    )
    jobs, number = [], 0
    for split, name in (("train", "train"), ("val", "validation")):
        entries = []
        for example in recipe.split(split):
            number += 1
            label = example.action.template
            for thing in example.objects():
                label = label.replace("[something]", thing, 1)
            entries.append(
                {
                    "id": str(number),
                    "label": label.lower(),
                    "template": example.action.template,
                    "placeholders": example.objects(),
                }
            )
            jobs.append((example, root / "20bn-something-something-v2" / f"{number}.webm"))
        (labels / f"{name}.json").write_text(json.dumps(entries, indent=1))
    (labels / "test.json").write_text("[]")
    return jobs


def _something_v1(recipe: Recipe, root: Path) -> list[Job]:
    (root / "something-something-v1-labels.csv").write_text("".join(f"{action.label}\n" for action in ACTIONS))
    jobs, number = [], 0
    for split, name in (("train", "train"), ("val", "validation")):
        lines = []
        for example in recipe.split(split):
            number += 1
            lines.append(f"{number};{example.action.label}\n")
            jobs.append((example, root / "20bn-something-something-v1" / str(number)))
        (root / f"something-something-v1-{name}.csv").write_text("".join(lines))
    return jobs


def _ucf101(recipe: Recipe, root: Path) -> list[Job]:
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    names = sorted(action.camel for action in ACTIONS)
    (lists / "classInd.txt").write_text("".join(f"{number} {name}\r\n" for number, name in enumerate(names, start=1)))
    jobs = []
    for split in ("train", "val"):
        lines = []
        for index, example in enumerate(recipe.split(split)):
            action = example.action.camel
            name = f"{action}/v_{action}_g{1 + index // len(ACTIONS):02d}{'t' if split == 'train' else 'v'}_c01.avi"
            lines.append(f"{name} {names.index(action) + 1}\n" if split == "train" else f"{name}\n")
            jobs.append((example, root / "UCF-101" / name))
        for fold in (1, 2, 3):
            (lists / f"{'train' if split == 'train' else 'test'}list0{fold}.txt").write_text("".join(lines))
    return jobs


def _hmdb51(recipe: Recipe, root: Path) -> list[Job]:
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir()
    jobs: list[Job] = []
    lines: dict[str, list[str]] = {action.snake: [] for action in ACTIONS}
    for split in ("train", "val"):
        for index, example in enumerate(recipe.split(split)):
            action = example.action.snake
            name = f"#{split}_{index}_(synthetic)_{action}.avi"  # the real names hold such characters
            lines[action].append(f"{name} {1 if split == 'train' else 2} \n")
            jobs.append((example, root / "hmdb51_org" / action / name))
    for action, entries in lines.items():
        for fold in (1, 2, 3):
            (lists / f"{action}_test_split{fold}.txt").write_text("".join(entries))
    return jobs


def _kinetics(recipe: Recipe, root: Path) -> list[Job]:
    return [
        (example, root / split / example.action.label / f"{index:06d}.webm")
        for split in ("train", "val")
        for index, example in enumerate(recipe.split(split))
    ]


def _lists(recipe: Recipe, root: Path) -> list[Job]:
    jobs = []
    for split in ("train", "val"):
        lines = []
        for number, example in enumerate(recipe.split(split)):
            name = f"videos/{split}_{number}.avi"
            lines.append(f"{name},{example.action.label}\n")
            jobs.append((example, root / name))
        (root / f"{split}.csv").write_text("".join(lines))
    return jobs


WRITERS: dict[str, Callable[[Recipe, Path], list[Job]]] = {
    "something_v2": _something_v2,
    "something_v1": _something_v1,
    "ucf101": _ucf101,
    "hmdb51": _hmdb51,
    "kinetics": _kinetics,
    "lists": _lists,
}
