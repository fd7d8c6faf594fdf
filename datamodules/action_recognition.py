"""Action recognition data: Something-Something, UCF-101, HMDB-51 and class folders, real or synthetic, as clips to
train and to test on.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from datamodules.ranks import Found, next_epoch, of_all_ranks, shard
from visagent.config.video_schemas import ActionRecognitionDataSettings
from visagent.errors import ConfigError, UserError
from visagent.seeding import generator
from visagent.video.clip_lists import Clip, ClipList
from visagent.video.dataset import ATTEMPTS, EvaluationClips, TrainingClips, VideoBatch, load, protocol
from visagent.video.decode import VideoError, device_of, read_frames, require
from visagent.video.layouts import mirrored_labels, read
from visagent.video.make import Recipe, make
from visagent.video.transforms import Augment

log = logging.getLogger(__name__)
EMBEDDED = "embedded"
NAMED = 10
"""Broken files that an error names; the rest it counts."""


class BrokenVideosError(UserError):
    """More videos are unreadable than `datamodule.broken_share` allows."""


class ClipLoader:
    """A sized iterable of batches in worker processes, which keeps account of the files that could not be read.

    Args:
        data: of samples, with the `shape` of a clip.
        batches: numbers of the samples of each batch of this rank.
        workers: processes.
        name: of the protocol.
        broken: shared account of a split, path -> reason.
        broken_share: of the split's videos that may be unreadable.
        phase: (first epoch's progress, last's), for the batches' `progress`.
    """

    def __init__(
        self,
        data: TrainingClips | EvaluationClips,
        batches: Sequence[Sequence[int]],
        workers: int,
        name: str,
        broken: dict[str, str],
        broken_share: float,
        phase: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.data, self.batches, self.workers, self.name = data, batches, workers, name
        self.broken, self.broken_share, self.phase = broken, broken_share, phase

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[VideoBatch]:
        first, last = self.phase
        for position, batch in enumerate(load(self.data, self.batches, self.workers, self.name)):
            for path, reason in batch.broken:
                if path not in self.broken:
                    log.warning("cannot read %s: %s", path, reason)
                self.broken[path] = reason
            check_share(self.broken, len(self.data), self.broken_share)
            if not self.name and len(batch) < len(self.batches[position]):
                named = "\n".join(f"  {path}: {reason}" for path, reason in dict(batch.broken).items())
                raise BrokenVideosError(
                    f"{ATTEMPTS} videos drawn one after the other cannot be read; visagent-videos verify finds all of "
                    f"them:\n{named}"
                )
            yield replace(batch, progress=first + (last - first) * position / len(self.batches))


def relative(path: str, root: Path) -> str:
    """A video's name within its data set's folder; a list may name videos that lie elsewhere."""
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path


def check_share(broken: Mapping[str, str], videos: int, share: float) -> None:
    """Refuse a data set where more than some share of the videos are broken.

    Raises:
        BrokenVideosError: with their names and reasons.
    """
    if len(broken) > share * videos:
        listed = "\n".join(f"  {path}: {reason}" for path, reason in sorted(broken.items())[:NAMED])
        more = f"\n  and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
        enough = math.ceil(1000 * len(broken) / videos) / 1000
        raise BrokenVideosError(
            f"{len(broken)} of {videos} videos cannot be read, more than datamodule.broken_share={share} allows; "
            f"visagent-videos verify finds them all, datamodule.broken_share={enough} would go on without "
            f"these:\n{listed}{more}"
        )


def check_missing(root: Path, split: str, clips: ClipList, share: float) -> None:
    """Refuse a split where more than some share of the listed videos are missing.

    Raises:
        ConfigError: with their number and the first names.
    """
    listed = len(clips.clips) + len(clips.missing)
    if len(clips.missing) > share * listed:
        enough = math.ceil(1000 * len(clips.missing) / listed) / 1000
        raise ConfigError(
            f"{root}: {len(clips.missing)} of {listed} {split} videos are listed and not there, more than "
            f"datamodule.missing_share={share} allows: {', '.join(clips.missing[:NAMED])}"
            f"{', ...' if len(clips.missing) > NAMED else ''}; type datamodule.missing_share={enough} to go on without "
            "them"
        )


class Chain:
    """Several loaders one after the other, sized."""

    def __init__(self, loaders: Sequence[ClipLoader]) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return sum(len(loader) for loader in self.loaders)

    def __iter__(self) -> Iterator[VideoBatch]:
        for loader in self.loaders:
            yield from loader


class ActionRecognitionDataModule(pl.LightningDataModule):
    """Videos of one layout.

    Of the unreadable videos that `broken_share` allows, another one stands in for each in training; in testing they are
    left out.

    Args:
        settings: see `visagent.config.video_schemas.ActionRecognitionDataSettings`.
    """

    def __init__(self, settings: ActionRecognitionDataSettings) -> None:
        super().__init__()
        self.settings = settings
        self.recipe = None
        if settings.root == EMBEDDED:
            train, val, size = settings.embedded_train, settings.embedded_val, settings.embedded_size
            self.recipe = Recipe(settings.layout, train, val, size, settings.embedded_seed)
        self.root = Path(settings.cache) / self.recipe.name if self.recipe is not None else Path(settings.root)
        self.broken: dict[str, dict[str, str]] = {split: {} for split in ("train", "val", settings.test_split)}
        self._lists: dict[str, ClipList] | None = None

    def prepare_data(self) -> None:
        """Make the synthetic videos that are missing."""
        if self.recipe is None:
            return
        from rich.progress import track

        total = self.recipe.train + self.recipe.val
        for _ in track(make(self.recipe, self.root), "Making videos", total=total, transient=True):
            pass

    def setup(self, stage: str | None = None) -> None:
        """Read the lists of clips; once."""
        if self._lists is None:
            require(self.settings.backend)
            layout, fold, size = self.settings.layout, self.settings.fold, self.settings.batch_size
            splits = dict.fromkeys(("train", "val", self.settings.test_split))
            self._lists = {split: read(layout, self.root, split, fold) for split in splits}
            for split, clips in self._lists.items():
                check_missing(self.root, split, clips, self.settings.missing_share)
            count = len(self._lists["train"].clips)
            if count < size:
                raise ConfigError(
                    f"datamodule.batch_size={size} exceeds the {count} training videos: use {count} or less"
                )
            self._warn(self._lists)

    def _warn(self, lists: Mapping[str, ClipList]) -> None:
        """Warn of what the folder holds that is not what it seems."""
        if self.trainer is not None and not self.trainer.is_global_zero:
            return
        refused = sorted({name for clips in lists.values() for name in clips.refused})
        both = sorted({clip.path for clip in lists["train"].clips} & {clip.path for clip in lists["val"].clips})
        missing = sorted({name for clips in lists.values() for name in clips.missing})
        for names, what in ((refused, "not read"), (both, "both trained and tested on"), (missing, "not there")):
            if names:
                log.warning(
                    "%s: %d entries are %s: %s",
                    self.root,
                    len(names),
                    what,
                    ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else ""),
                )

    @property
    def lists(self) -> dict[str, ClipList]:
        """Clips of `train` and `val`; `setup` must have run."""
        if self._lists is None:
            raise RuntimeError("the DataModule has no clips yet: call setup() first")
        return self._lists

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their labels."""
        return self.lists["train"].classes

    @property
    def labelled(self) -> bool:
        """Whether the classes of the videos that are tested on are known."""
        return self.settings.test_split != "test"

    def tested_videos(self) -> list[str]:
        """Names of the videos that are tested on by their numbers, relative to the data set's folder."""
        parts = [(clip, "" if clip.span is None else f"#{clip.span[0]:g}-{clip.span[1]:g}") for clip in self._tested]
        return [relative(clip.path, self.root) + part for clip, part in parts]

    @property
    def _tested(self) -> tuple[Clip, ...]:
        return self.lists[self.settings.test_split].clips

    def of_all_ranks(self, mine: Found) -> list[Found]:
        """What every rank has found, in the order of ranks: all of them must ask."""
        return of_all_ranks(self.trainer, mine)

    @property
    def _device(self) -> str:
        return device_of(
            self.settings.backend, self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        )

    def train_dataloader(self) -> ClipLoader:
        """One pass over the training videos, in the order of (seed, epoch)."""
        epoch = next_epoch(self.trainer)
        epochs = (self.trainer.max_epochs or 1) if self.trainer else 1
        clips, settings, size = self.lists["train"].clips, self.settings, self.settings.batch_size
        order = torch.randperm(len(clips), generator=generator(settings.seed, "order", epoch)).tolist()
        rank, world = shard(self.trainer, size)
        repeats = settings.repeats
        order = [number + again * len(clips) for number in order for again in range(repeats)]
        batches = [order[start + rank : start + size : world] for start in range(0, len(order) - size + 1, size)]
        augmented = (settings.rand_augment, settings.rand_augment_magnitude, settings.color_jitter)
        data = TrainingClips(
            clips,
            settings.num_frames,
            settings.crop,
            settings.backend,
            mirrored_labels(self.classes) if settings.mirror == "labels" else [],
            settings.dense,
            settings.seed,
            epoch,
            self._device,
            Augment(*augmented) if any(augmented[::2]) else None,
        )
        phase = (epoch / epochs, (epoch + 1) / epochs)
        return ClipLoader(data, batches, settings.workers, "", self.broken["train"], settings.broken_share, phase)

    def _evaluation(self, name: str, split: str) -> ClipLoader:
        clips, settings = self.lists[split].clips, self.settings
        rank, world = shard(self.trainer, settings.batch_size)
        mine = range(rank, len(clips), world)
        # A rank without videos has a batch without videos: it must come along to where results of all ranks are added
        # up.
        batches = [
            list(mine[start : start + settings.eval_batch_size])
            for start in range(0, max(1, len(mine)), settings.eval_batch_size)
        ]
        views = protocol(name, settings.resize, settings.crop)
        data = EvaluationClips(clips, settings.num_frames, views, settings.backend, self._device)
        return ClipLoader(data, batches, settings.workers, name, self.broken[split], settings.broken_share)

    def val_dataloader(self) -> ClipLoader:
        """One clip of each validation video."""
        return self._evaluation("validation", "val")

    def test_dataloader(self) -> Chain:
        """The validation videos, or those of `test_split`, by each protocol."""
        return Chain([self._evaluation(name, self.settings.test_split) for name in self.settings.protocols])

    def statistics(self) -> dict[str, float]:
        """What is worth logging about the data, `data/...`."""
        return {
            "data/videos": float(len(self.lists["train"].clips)),
            "data/broken": float(sum(map(len, self.broken.values()))),
        }

    def join_accounts(self) -> None:
        """Make the account of broken files that of all ranks; all of them must ask.

        Raises:
            BrokenVideosError: on every rank, when they are too many together.
        """
        for account in of_all_ranks(self.trainer, self.broken):
            for split, files in account.items():
                self.broken[split].update(files)
        for split, files in self.broken.items():
            if files:
                check_share(files, len(self.lists[split].clips), self.settings.broken_share)

    def state_dict(self) -> dict[str, Any]:
        """The account of broken files, and which clips these were."""
        return {"broken": {split: dict(files) for split, files in self.broken.items()}, "clips": self._fingerprint()}

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.classes).encode())  # of what is trained on
        for clip in self.lists["train"].clips:
            part = "" if clip.span is None else f" {clip.span}"
            digest.update(f"{relative(clip.path, self.root)} {clip.label}{part}\n".encode())
        return digest.hexdigest()[:16]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue; refuses another list of clips than the run began with, and forgets the broken files that were
        mended meanwhile.
        """
        self.setup()
        if state_dict["clips"] != self._fingerprint():
            raise ConfigError(
                f"the training videos listed in {self.root} have changed since this run began: restore them, or start "
                "a new run (name=NEW)"
            )
        for split, files in state_dict["broken"].items():
            still = {path: reason for path, reason in files.items() if not self._readable(path)}
            self.broken.setdefault(split, {}).update(still)

    def _readable(self, path: str) -> bool:
        try:
            read_frames(path, lambda count: np.array([count - 1]), self.settings.backend)
        except VideoError:
            return False
        return True
