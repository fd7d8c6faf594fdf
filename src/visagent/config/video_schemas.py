"""Typed schemas of action recognition: its algorithms, networks and data, and what measures them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from omegaconf import MISSING

from visagent.config.rules import positive, processes
from visagent.config.settings import Settings, require, setting

LAYOUTS = ("something_v2", "something_v1", "ucf101", "hmdb51", "kinetics")
DENSE_SPAN = 64
BACKENDS = ("decord", "pyav", "torchcodec")


@dataclass
class ActionRecognitionSettings(Settings):
    """Classification of clips; see `lightning_modules.action_recognition.ActionRecognition`."""

    precisions: ClassVar[tuple[str, ...]] = ("32-true", "bf16-mixed", "16-mixed")
    _target_: str = "lightning_modules.action_recognition.ActionRecognition"
    label_smoothing: float = setting("label smoothing of the cross-entropy", least=0, below=1, example=0.1)
    schedule: str = setting("schedule of the learning rate: cosine ends at 0, steps has a tenth after each milestone", among=("constant", "cosine", "steps"))
    milestones: list[float] = setting("milestones of steps, as shares of the run", above=0, below=1, expected="shares of the run between 0 and 1")
    warmup: float = setting("share of the run over which the rate rises linearly", least=0, below=1, expected="0.05 or another share of the run, in [0, 1)")
    shift_lr_factor: float = setting("learning rate of spatial and spatiotemporal shifts, relative")
    attention_lr_factor: float = setting("learning rate of the temporal attention (RS-AQ), relative")
    t_factor: float = setting("factor of the scaled gradient normalisation (Eq. 6.9)", symbol="lambda")
    budget: float | None = setting(
        "share of channels that may move in time (RS-AQ, Eq. 6.8); null: no budget",
        above=0,
        below=1,
        expected="null, or 0.125 or another number between 0 and 1",
    )
    budget_weight: float = setting("weight of the budget's loss", least=0)
    anneal_epochs: float = setting("epochs over which the attention's softmax is annealed", above=0, example=40)
    final_temperature: float = setting("temperature of that softmax in the end", above=0, most=2, example=0.001)
    initialize_from: str | None = setting("checkpoint to start from, of the released format or a run's; null: none")
    sync_batch_norm: bool = setting("whether batches of all processes are normalised together")
    seed: int = setting("seed of the weights")


@dataclass
class RubiksNetConfig:
    """RubiksNet; see `visagent.networks.rubiksnet.RubiksNet`."""

    _target_: str = "visagent.networks.rubiksnet.RubiksNet"
    _partial_: bool = True
    tier: str = MISSING
    variant: str = MISSING
    spatial: str = MISSING
    temporal: str = MISSING

    def check(self) -> None:
        require(self.tier in ("micro", "tiny", "small", "medium", "large"), "network.tier", self.tier, "tiny, small, medium, large or micro")
        variants = ("rubiks3d", "rubiks3d-iq", "rubiks3d-aq", "rubiks2d")
        require(self.variant in variants, "network.variant", self.variant, ", ".join(variants[:-1]) + f" or {variants[-1]}")
        require(self.spatial in ("learned", "fixed"), "network.spatial", self.spatial, "learned or fixed")
        require(self.temporal in ("learned", "fixed"), "network.temporal", self.temporal, "learned or fixed")


@dataclass
class VideoResNetConfig:
    """TSN and TSM; see `visagent.networks.video_resnet.VideoResNet`."""

    _target_: str = "visagent.networks.video_resnet.VideoResNet"
    _partial_: bool = True
    depth: int = MISSING
    temporal: str = MISSING
    dropout: float = MISSING

    def check(self) -> None:
        require(self.depth in (18, 34, 50), "network.depth", self.depth, "18, 34 or 50")
        require(self.temporal in ("none", "shift"), "network.temporal", self.temporal, "none (TSN) or shift (TSM)")
        require(0 <= self.dropout < 1, "network.dropout", self.dropout, "0.5 or another number in [0, 1)")


@dataclass
class NetworkCostConfig:
    """Counting and timing; see `lightning_modules.network_cost.NetworkCost`."""

    _target_: str = "lightning_modules.network_cost.NetworkCost"
    trials: int = MISSING
    seed: int = MISSING

    def check(self) -> None:
        require(self.trials >= 0, "algorithm.trials", self.trials, "at least 0")


@dataclass
class BlockConfig:
    """The blocks of Table 6.6; see `visagent.networks.blocks.Block`."""

    _target_: str = "visagent.networks.blocks.Block"
    _partial_: bool = True
    kind: str = MISSING
    channels: int = MISSING

    def check(self) -> None:
        require(self.kind in ("conv3d", "conv2d_shift", "rubiks_shift"), "network.kind", self.kind, "conv3d, conv2d_shift or rubiks_shift")
        positive("network", self, "channels")


@dataclass
class RandomClipsConfig:
    """Clips to measure on; see `datamodules.random_clips.RandomClipsDataModule`."""

    _target_: str = "datamodules.random_clips.RandomClipsDataModule"
    shape: list[int] = MISSING
    num_classes: int | None = MISSING
    seed: int = MISSING

    def check(self) -> None:
        whole = len(self.shape) == 5 and all(length >= 1 for length in self.shape)
        require(whole, "datamodule.shape", list(self.shape), "[N,T,C,H,W], such as [1,8,3,224,224]")


@dataclass
class ActionRecognitionDataConfig:
    """Videos of one layout; see `datamodules.action_recognition.ActionRecognitionDataModule`."""

    _target_: str = "datamodules.action_recognition.ActionRecognitionDataModule"
    layout: str = MISSING
    root: str = MISSING
    fold: int = MISSING
    cache: str = MISSING
    embedded_train: int = MISSING
    embedded_val: int = MISSING
    embedded_size: int = MISSING
    embedded_seed: int = MISSING
    num_frames: int = MISSING
    crop: int = MISSING
    resize: int = MISSING
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    workers: int = MISSING
    backend: str = MISSING
    mirror: str = MISSING
    dense: bool = MISSING
    protocols: list[str] = MISSING
    broken_share: float = MISSING
    seed: int = MISSING

    def check(self) -> None:
        positive("datamodule", self, "num_frames", "batch_size", "eval_batch_size")
        require(self.layout in LAYOUTS, "datamodule.layout", self.layout, ", ".join(LAYOUTS[:-1]) + f" or {LAYOUTS[-1]}")
        require(1 <= self.fold <= 3, "datamodule.fold", self.fold, "1, 2 or 3")
        require(self.crop >= 16, "datamodule.crop", self.crop, "at least 16 pixels")
        require(self.resize >= self.crop, "datamodule.resize", self.resize, f"at least datamodule.crop, {self.crop} pixels")
        processes("datamodule", self, "workers", least=0)
        require(self.backend in BACKENDS, "datamodule.backend", self.backend, ", ".join(BACKENDS[:-1]) + f" or {BACKENDS[-1]}")
        require(self.mirror in ("none", "labels"), "datamodule.mirror", self.mirror, "none or labels")
        for name in self.protocols or [""]:
            require(name in ("1_clip", "2_clip", "dense"), "datamodule.protocols", name, "[1_clip,2_clip], [dense] or others of these")
        dense = [key for key, asked in (("datamodule.dense=true", self.dense), ("datamodule.protocols=[dense]", "dense" in self.protocols)) if asked]
        possible = not dense or self.num_frames <= DENSE_SPAN
        require(possible, "datamodule.num_frames", self.num_frames, f"at most {DENSE_SPAN} with {' and '.join(dense)}, whose clips span as many frames")
        require(0 <= self.broken_share <= 1, "datamodule.broken_share", self.broken_share, "0.01 or another number in [0, 1]")
