"""Clips as samples: decoded, sampled, cropped, with a broken file replaced by another one and named; and as batches
from worker processes.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from visagent.errors import ConfigError
from visagent.seeding import derive_seed
from visagent.video import sampling, transforms
from visagent.video.clip_lists import Clip
from visagent.video.decode import OPENED_AT_MOST, Choose, Frames, VideoError, frame_rate, is_frames, read_frames

log = logging.getLogger(__name__)
ATTEMPTS = 20
"""Videos tried for one sample; after these it has none."""
Views = list[Frames]
"""Clips `[T, H, W, 3]` of one video."""


@dataclass(frozen=True)
class VideoBatch:
    """Clips and their classes.

    Attributes:
        clips: `[N, V, T, 3, H, W]` uint8 RGB, V views of each video, to be normalised where they are used.
        label: `[N]` int64.
        index: `[N]` int64, the videos' numbers in their list.
        broken: (path, reason) of files that could not be read while this batch was made.
        name: of the protocol that evaluates it, for example `1_clip`; empty in training.
        progress: share of the training run that is done, from 0 to 1.
    """

    clips: Tensor
    label: Tensor
    index: Tensor
    broken: tuple[tuple[str, str], ...] = ()
    name: str = ""
    progress: float = 0.0

    def __post_init__(self) -> None:
        if self.clips.dim() != 6 or self.clips.shape[3] != 3 or self.clips.dtype != torch.uint8:
            raise ValueError(
                f"VideoBatch: expected uint8 clips [N, V, T, 3, H, W], got {self.clips.dtype} {list(self.clips.shape)}"
            )
        if not len(self.clips) == len(self.label) == len(self.index):
            raise ValueError(
                f"VideoBatch: expected as many labels and numbers as clips, got {len(self.clips)}, {len(self.label)}, "
                f"{len(self.index)}"
            )

    def __len__(self) -> int:
        return len(self.label)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> VideoBatch:
        """The batch on another device."""
        return replace(
            self,
            clips=self.clips.to(device, non_blocking=non_blocking),
            label=self.label.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> VideoBatch:
        """The batch in page-locked memory, from which it is copied to a device while that works."""
        return replace(self, clips=self.clips.pin_memory(), label=self.label.pin_memory())


@dataclass(frozen=True)
class Sample:
    """One video as drawn."""

    clips: NDArray[np.uint8]
    label: int
    index: int
    broken: tuple[tuple[str, str], ...]


Augmentation = Callable[[Frames, int], Frames]
"""Changes a clip `[T, H, W, 3]` by random numbers of a seed."""


class TrainingClips(Dataset[Sample]):
    """One random clip of each video; what is drawn for a video depends on (seed, epoch, its number) alone.

    Args:
        clips: the videos.
        num_frames: T.
        crop: height and width.
        backend: of decoding.
        mirrored: for each class, the class of its mirror images, or None where there is none: such videos are never
            mirrored. Empty: no video is.
        dense: sample densely instead of from segments.
        seed, epoch: of what is drawn.
        device: where torchcodec decodes.
        augment: changes a clip `[T, H, W, 3]` by random numbers from the global generator; None for no change.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        num_frames: int,
        crop: int,
        backend: str,
        mirrored: Sequence[int | None],
        dense: bool,
        seed: int,
        epoch: int,
        device: str = "cpu",
        augment: Augmentation | None = None,
    ) -> None:
        self.clips, self.num_frames, self.crop, self.backend = clips, num_frames, crop, backend
        self.mirrored, self.dense, self.seed, self.epoch, self.device = tuple(mirrored), dense, seed, epoch, device
        self.shape, self.augment = (num_frames, 3, crop, crop), augment

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Sample:
        """A clip of a video; with the number of videos added once or several times, another one of the same."""
        again, index = divmod(index, len(self.clips))
        rng = np.random.default_rng(derive_seed(self.seed, "clip", self.epoch, index, *([again] if again else [])))
        broken: list[tuple[str, str]] = []
        for _ in range(ATTEMPTS):
            clip = self.clips[index]
            try:
                return self._sample(clip, index, rng, tuple(broken))
            except VideoError as error:
                broken.append((clip.path, error.reason))
            index = int(rng.integers(len(self.clips)))  # another video in its place
        return Sample(np.zeros((0, *self.shape), np.uint8), clip.label, index, tuple(broken))

    def _sample(self, clip: Clip, index: int, rng: np.random.Generator, broken: tuple[tuple[str, str], ...]) -> Sample:
        draw = sampling.random_dense if self.dense else sampling.random_segments
        choose = within(clip, lambda count: draw(count, self.num_frames, rng)[0])
        frames = read_frames(clip.path, choose, self.backend, self.device)
        frames = transforms.random_crop(frames, self.crop, rng)
        label = clip.label
        if self.mirrored and rng.random() < 0.5 and (mirrored := self.mirrored[label]) is not None:
            frames, label = frames[:, :, ::-1], mirrored
        if self.augment is not None:
            frames = self.augment(frames, int(rng.integers(2**31)))
        return Sample(transforms.channels_first(frames)[None], label, index, broken)


def within(clip: Clip, choose: Choose) -> Choose:
    """What chooses frames of the part of a video that a clip is.

    Args:
        clip: of the video.
        choose: frame numbers, given how many there are.

    Raises:
        VideoError: when asked about a video that has no frame in that part.
    """
    if clip.span is None:
        return choose
    begin, end = clip.span
    rate = 1.0 if is_frames(clip.path) else frame_rate(clip.path)

    def chosen(count: int) -> NDArray[np.int64]:
        first, last = round(begin * rate), min(count, round(end * rate))
        if first >= last:
            raise VideoError(clip.path, f"it has no frame from {begin:g} to {end:g}: it has {count}, {rate:g} a second")
        return first + choose(last - first)

    return chosen


@dataclass(frozen=True)
class Protocol:
    """How a video is evaluated: which frames, which crops.

    Attributes:
        name: stands in metric names.
        views: (frames of the video, T) -> frame numbers `[views, T]`.
        resize: length of the shorter side before cropping.
        crop: height and width.
        three_crops: left, right and middle instead of the middle alone.
    """

    name: str
    views: Callable[[int, int], sampling.Indices]
    resize: int
    crop: int
    three_crops: bool


def protocol(name: str, resize: int, crop: int) -> Protocol:
    """The protocols by name.

    Args:
        name: `validation` (one clip, as while training), `1_clip` (Table 6.1: middle frames, centre crop), `2_clip`
            (two clips, three crops each), `dense` (ten spans of 64 frames, centre crop).
        resize, crop: pixels; 256 and 224 in the paper.

    Raises:
        ValueError: for another name.
    """
    plans: dict[str, tuple[Callable[[int, int], sampling.Indices], bool]] = {
        "validation": (sampling.validation_segments, False),
        "1_clip": (sampling.middle_segments, False),
        "2_clip": (sampling.two_clips, True),
        "dense": (sampling.ten_dense, False),
    }
    if name not in plans:
        raise ValueError(f"protocol: expected one of {', '.join(plans)}, got {name!r}")
    views, three = plans[name]
    return Protocol(name, views, resize, crop, three)


PROTOCOLS = ("1_clip", "2_clip", "dense")


class EvaluationClips(Dataset[Sample]):
    """All views of each video, crops first, then clips; no view of a video that cannot be read."""

    def __init__(
        self, clips: Sequence[Clip], num_frames: int, protocol: Protocol, backend: str, device: str = "cpu"
    ) -> None:
        self.clips, self.num_frames, self.protocol, self.backend, self.device = (
            clips,
            num_frames,
            protocol,
            backend,
            device,
        )
        self.shape = (num_frames, 3, protocol.crop, protocol.crop)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Sample:
        clip, plan = self.clips[index], self.protocol
        views = 0

        def choose(count: int) -> NDArray[np.int64]:
            nonlocal views
            chosen = plan.views(count, self.num_frames)
            views = len(chosen)
            return chosen.ravel()

        try:
            frames = transforms.resize_short_side(
                read_frames(clip.path, within(clip, choose), self.backend, self.device), plan.resize
            )
        except VideoError as error:
            empty = np.zeros((0, *self.shape), np.uint8)
            return Sample(empty, clip.label, index, ((clip.path, error.reason),))
        crops = (
            transforms.three_crops(frames, plan.crop)
            if plan.three_crops
            else [transforms.center_crop(frames, plan.crop)]
        )
        stacked = np.stack([transforms.channels_first(crop) for crop in crops])
        return Sample(stacked.reshape(len(crops) * views, *self.shape), clip.label, index, ())


def collate(samples: Sequence[Sample], name: str, shape: Sequence[int]) -> VideoBatch:
    """A batch of the samples that could be read; where none could, one without videos.

    Args:
        samples: of one batch, none where a process has no video of its own.
        name: of the protocol.
        shape: of a clip, `[T, 3, H, W]`.
    """
    whole = [sample for sample in samples if len(sample.clips)]
    clips = (
        default_collate([torch.from_numpy(sample.clips) for sample in whole])
        if whole
        else torch.zeros(0, 1, *shape, dtype=torch.uint8)
    )
    return VideoBatch(
        clips,  # straight into shared memory where a worker does it
        torch.tensor([sample.label for sample in whole], dtype=torch.int64),
        torch.tensor([sample.index for sample in whole], dtype=torch.int64),
        tuple(entry for sample in samples for entry in sample.broken),
        name,
    )


def load(
    data: TrainingClips | EvaluationClips, batches: Sequence[Sequence[int]], workers: int, name: str = ""
) -> Iterator[VideoBatch]:
    """Batches in their order, made by worker processes, which are replaced before a backend that leaks has grown too
    much.

    Args:
        data: the samples.
        batches: numbers of the samples of each.
        workers: processes; 0 decodes in this one, which is not replaced.
        name: of the protocol.
    """
    limit = OPENED_AT_MOST.get(data.backend)
    if limit is not None and workers == 0 and sum(map(len, batches)) > limit:
        log.warning(
            "datamodule.backend=%s needs more memory with every file, and datamodule.workers=0 opens all in one "
            "process: use more",
            data.backend,
        )
    for stretch in stretches(batches, workers, limit):
        yield from DataLoader(
            data,
            batch_sampler=stretch,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=functools.partial(collate, name=name, shape=data.shape),
            pin_memory=torch.cuda.is_available(),
            # the loader draws a number that nobody needs: not from the global one, which evaluating must not change
            generator=torch.Generator(),
            # a fork cannot use the device that this process uses
            multiprocessing_context="spawn" if workers and data.device != "cpu" else None,
        )


def stretches(batches: Sequence[Sequence[int]], workers: int, limit: int | None) -> Iterator[Sequence[Sequence[int]]]:
    """Batches cut so that none of the workers, which take them in turn, opens more than a limit of files in one
    stretch.
    """
    if limit is None or workers == 0:
        yield batches
        return
    stretch: list[Sequence[int]] = []
    opened = [0] * workers
    for batch in batches:
        if stretch and opened[len(stretch) % workers] + len(batch) > limit:
            yield stretch
            stretch, opened = [], [0] * workers
        opened[len(stretch) % workers] += len(batch)
        stretch.append(batch)
    if stretch:
        yield stretch


def require_same_classes(
    trained: Sequence[str],
    classes: Sequence[str],
    what: str = "this run was",
    remedy: str = "leave datamodule.layout and datamodule.root as they were",
) -> None:
    """Refuse data of other classes than a network was trained on.

    Args:
        trained: names in the order of their labels, of the network.
        classes: of the data.
        what: was trained.
        remedy: what to do.

    Raises:
        ConfigError: naming the first that differ.
    """
    if list(trained) == list(classes):
        return
    differ = [f"{a!r} and {b!r}" for a, b in zip(trained, classes, strict=False) if a != b]
    where = f"first at {differ[0]}" if differ else f"{len(trained)} and {len(classes)}"
    raise ConfigError(f"{what} trained on other classes than the data has, {where}: {remedy}")
