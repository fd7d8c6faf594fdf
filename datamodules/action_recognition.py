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

from datamodules.ranks import next_epoch, of_all_ranks, shard
from visagent.errors import ConfigError, UserError
from visagent.seeding import generator
from visagent.video.dataset import ATTEMPTS, EvaluationClips, TrainingClips, VideoBatch, load, protocol
from visagent.video.decode import VideoError, device_of, read_frames, require
from visagent.video.layouts import ClipList, mirrored_labels, read
from visagent.video.make import Recipe, make

log = logging.getLogger(__name__)
EMBEDDED = "embedded"
NAMED = 10
"""Broken files that an error names; the rest it counts."""


class BrokenVideosError(UserError):
    """More videos cannot be read than were allowed for."""


class ClipLoader:
    """A sized iterable of batches in worker processes, which keeps account of the files that could not be read.

    Args:
        data: of samples, with the `shape` of a clip.
        batches: numbers of the samples of each batch of this rank.
        workers: processes.
        name: of the protocol.
        broken: shared account of a split, path -> reason.
        share: of the split's videos that may be unreadable.
        phase: (first epoch's progress, last's), for the batches' `progress`.
    """

    def __init__(
        self,
        data: TrainingClips | EvaluationClips,
        batches: Sequence[Sequence[int]],
        workers: int,
        name: str,
        broken: dict[str, str],
        share: float,
        phase: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.data, self.batches, self.workers, self.name = data, batches, workers, name
        self.broken, self.share, self.phase = broken, share, phase

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[VideoBatch]:
        first, last = self.phase
        for position, batch in enumerate(load(self.data, self.batches, self.workers, self.name)):
            for path, reason in batch.broken:
                if path not in self.broken:
                    log.warning("cannot read %s: %s", path, reason)
                self.broken[path] = reason
            check_share(self.broken, len(self.data), self.share)
            if not self.name and len(batch) < len(self.batches[position]):
                named = "\n".join(f"  {path}: {reason}" for path, reason in dict(batch.broken).items())
                raise BrokenVideosError(
                    f"{ATTEMPTS} videos drawn one after the other cannot be read; visagent-videos verify finds all of "
                    f"them:\n{named}"
                )
            yield replace(batch, progress=first + (last - first) * position / len(self.batches))


def check_share(broken: Mapping[str, str], videos: int, share: float) -> None:
    """Refuse more broken files than a share of the videos.

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

    Args:
        layout: one of `visagent.video.layouts.LAYOUTS`.
        root: `embedded` (synthetic actions, made where missing), or the data set's folder as it was unpacked.
        fold: split of UCF-101 and HMDB-51, 1 to 3.
        cache: where synthetic videos are kept.
        embedded_train, embedded_val, embedded_size, embedded_seed: synthetic videos: how many, their pixels, their
            draw.
        num_frames: frames of a clip.
        crop: height and width of network inputs, in pixels.
        resize: shorter side that evaluation crops from (256 for crops of 224 in the paper).
        batch_size: global; divided by the number of ranks.
        eval_batch_size: videos per batch and rank in evaluation.
        workers: decoding processes per rank.
        backend: `decord`, `pyav` or `torchcodec`.
        mirror: `none`, or `labels`: mirror half of the training clips, with the label that belongs to the mirrored
            video, and never where a class has a direction but no opposite.
        dense: sample training clips densely instead of from segments.
        protocols: of testing, any of `1_clip`, `2_clip`, `dense`.
        broken_share: of the videos of a split that may be unreadable before the run stops; in training another one
            stands in for each, in testing it is left out.
        seed: of the order and of all that is drawn.
    """

    def __init__(
        self,
        layout: str,
        root: str,
        fold: int,
        cache: str,
        embedded_train: int,
        embedded_val: int,
        embedded_size: int,
        embedded_seed: int,
        num_frames: int,
        crop: int,
        resize: int,
        batch_size: int,
        eval_batch_size: int,
        workers: int,
        backend: str,
        mirror: str,
        dense: bool,
        protocols: Sequence[str],
        broken_share: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.layout, self.fold, self.num_frames, self.crop, self.resize = layout, fold, num_frames, crop, resize
        self.batch_size, self.eval_batch_size, self.workers, self.backend = (
            batch_size,
            eval_batch_size,
            workers,
            backend,
        )
        self.mirror, self.dense, self.protocols, self.broken_share, self.seed = (
            mirror,
            dense,
            tuple(protocols),
            broken_share,
            seed,
        )
        self.recipe = (
            Recipe(layout, embedded_train, embedded_val, embedded_size, embedded_seed) if root == EMBEDDED else None
        )
        self.root = Path(cache) / self.recipe.name if self.recipe is not None else Path(root)
        self.broken: dict[str, dict[str, str]] = {"train": {}, "val": {}}
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
            require(self.backend)
            self._lists = {split: read(self.layout, self.root, split, self.fold) for split in ("train", "val")}
            count = len(self._lists["train"].clips)
            if count < self.batch_size:
                raise ConfigError(
                    f"datamodule.batch_size={self.batch_size} exceeds the {count} training videos: use {count} or less"
                )
            self._warn(self._lists)

    def _warn(self, lists: Mapping[str, ClipList]) -> None:
        """Of what the folder holds that is not what it seems."""
        if self.trainer is not None and not self.trainer.is_global_zero:
            return
        refused = sorted({name for found in lists.values() for name in found.refused})
        both = sorted({clip.path for clip in lists["train"].clips} & {clip.path for clip in lists["val"].clips})
        for names, what in ((refused, "not read"), (both, "both trained and tested on")):
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
    def _device(self) -> str:
        return device_of(self.backend, self.trainer.strategy.root_device if self.trainer else torch.device("cpu"))

    def train_dataloader(self) -> ClipLoader:
        """One pass over the training videos, in the order of (seed, epoch)."""
        epoch = next_epoch(self.trainer)
        epochs = (self.trainer.max_epochs or 1) if self.trainer else 1
        clips = self.lists["train"].clips
        order = torch.randperm(len(clips), generator=generator(self.seed, "order", epoch)).tolist()
        rank, world = shard(self.trainer, self.batch_size)
        batches = [
            order[start + rank : start + self.batch_size : world]
            for start in range(0, len(order) - self.batch_size + 1, self.batch_size)
        ]
        mirrored = mirrored_labels(self.classes) if self.mirror == "labels" else []
        data = TrainingClips(
            clips, self.num_frames, self.crop, self.backend, mirrored, self.dense, self.seed, epoch, self._device
        )
        phase = (epoch / epochs, (epoch + 1) / epochs)
        return ClipLoader(data, batches, self.workers, "", self.broken["train"], self.broken_share, phase)

    def _evaluation(self, name: str) -> ClipLoader:
        clips = self.lists["val"].clips
        rank, world = shard(self.trainer, self.batch_size)
        mine = range(rank, len(clips), world)
        # A rank without videos has a batch without videos: it must come along to where results of all ranks are added
        # up.
        batches = [
            list(mine[start : start + self.eval_batch_size])
            for start in range(0, max(1, len(mine)), self.eval_batch_size)
        ]
        data = EvaluationClips(
            clips, self.num_frames, protocol(name, self.resize, self.crop), self.backend, self._device
        )
        return ClipLoader(data, batches, self.workers, name, self.broken["val"], self.broken_share)

    def val_dataloader(self) -> ClipLoader:
        """One clip of each validation video."""
        return self._evaluation("validation")

    def test_dataloader(self) -> Chain:
        """The validation videos by each protocol."""
        return Chain([self._evaluation(name) for name in self.protocols])

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
            check_share(files, len(self.lists[split].clips), self.broken_share)

    def state_dict(self) -> dict[str, Any]:
        """The account of broken files, and which clips these were."""
        return {"broken": {split: dict(files) for split, files in self.broken.items()}, "clips": self._fingerprint()}

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr(self.classes).encode())
        for clip in self.lists["train"].clips:
            digest.update(f"{Path(clip.path).relative_to(self.root)} {clip.label}\n".encode())
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
            self.broken[split].update({path: reason for path, reason in files.items() if not self._readable(path)})

    def _readable(self, path: str) -> bool:
        try:
            read_frames(path, lambda count: np.array([count - 1]), self.backend)
        except VideoError:
            return False
        return True
