"""Typed schemas of action recognition: its algorithms, networks and data, and what measures them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from visagent.config.registry import Fit, registered
from visagent.config.settings import MOST_PROCESSES, Settings, require, setting
from visagent.config.trained_weights import TrainedWeights

LAYOUTS = ("something_v2", "something_v1", "ucf101", "hmdb51", "kinetics", "lists")
DENSE_SPAN = 64
BACKENDS = ("decord", "pyav", "torchcodec")


@registered("algorithm", "action_recognition", Fit(("rubiksnet", "video_resnet"), ("action_recognition",)))
@dataclass
class ActionRecognitionSettings(Settings):
    """Classification of clips; see `lightning_modules.action_recognition.ActionRecognition`."""

    precisions: ClassVar[tuple[str, ...]] = ("32-true", "bf16-mixed", "16-mixed")
    _target_: str = "lightning_modules.action_recognition.ActionRecognition"
    label_smoothing: float = setting("label smoothing of the cross-entropy", least=0, below=1, example=0.1)
    schedule: str = setting(
        "schedule of the learning rate: cosine ends at 0, steps has a tenth after each milestone",
        among=("constant", "cosine", "steps"),
    )
    milestones: list[float] = setting(
        "milestones of steps, as shares of the run", above=0, below=1, expected="shares of the run in (0, 1)"
    )
    warmup: float = setting(
        "share of the run over which the rate rises linearly",
        least=0,
        below=1,
        expected="0.05 or another share of the run, in [0, 1)",
    )
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
    mixup: float = setting("alpha of mixup (Zhang et al. 2018); 0: none", least=0, example=0.8, as_before=0.0)
    cutmix: float = setting(
        "alpha of CutMix (Yun et al. 2019), one box for all frames; 0: none; with mixup either is drawn for each batch",
        least=0,
        example=1.0,
        as_before=0.0,
    )
    sync_batch_norm: bool = setting("whether batches of all processes are normalised together")
    seed: int = setting("seed of the weights")


@registered("network", "rubiksnet")
@dataclass
class RubiksNetConfig(TrainedWeights):
    """RubiksNet; see `visagent.networks.rubiksnet.RubiksNet`."""

    _target_: str = "visagent.networks.rubiksnet.RubiksNet"
    _partial_: bool = True
    tier: str = setting(
        "size of the network; micro is not the paper's",
        among=("micro", "tiny", "small", "medium", "large"),
        expected="tiny, small, medium, large or micro",
    )
    variant: str = setting(
        "learned shifts, quantised ones (IQ), attention in time (AQ), or shifts in each frame alone",
        among=("rubiks3d", "rubiks3d-iq", "rubiks3d-aq", "rubiks2d"),
    )
    spatial: str = setting("shifts in space: learned, or ShiftNet's (Table 6.4)", among=("learned", "fixed"))
    temporal: str = setting("shifts in time: learned, or TSM's (Table 6.4)", among=("learned", "fixed"))


@registered("network", "video_resnet")
@dataclass
class VideoResNetConfig(TrainedWeights):
    """TSN and TSM; see `visagent.networks.video_resnet.VideoResNet`."""

    _target_: str = "visagent.networks.video_resnet.VideoResNet"
    _partial_: bool = True
    depth: int = setting("layers of the ResNet", among=(18, 34, 50))
    temporal: str = setting("none (TSN) or shift (TSM)", among=("none", "shift"), expected="none (TSN) or shift (TSM)")
    dropout: float = setting("dropout before the classifier", least=0, below=1, example=0.5)


@registered("algorithm", "network_cost", Fit(("rubiksnet", "video_resnet", "block"), ("random_clips",)))
@dataclass
class NetworkCostSettings(Settings):
    """Counting and timing; see `lightning_modules.network_cost.NetworkCost`."""

    _target_: str = "lightning_modules.network_cost.NetworkCost"
    trials: int = setting("timed forward passes, and as many forward and backward ones; 0: counting alone", least=0)
    seed: int = setting("seed of the weights")


@registered("network", "block")
@dataclass
class BlockConfig(TrainedWeights):
    """The blocks of Table 6.6; see `visagent.networks.blocks.Block`."""

    _target_: str = "visagent.networks.blocks.Block"
    _partial_: bool = True
    kind: str = setting(
        "3D convolution, TSM's shift and convolution, or learned shift and pointwise convolution",
        among=("conv3d", "conv2d_shift", "rubiks_shift"),
    )
    channels: int = setting("channels in and out", least=1)


@registered("datamodule", "random_clips")
@dataclass
class RandomClipsSettings(Settings):
    """Clips to measure on; see `datamodules.random_clips.RandomClipsDataModule`."""

    _target_: str = "datamodules.random_clips.RandomClipsDataModule"
    shape: list[int] = setting("shape of the clips, [N,T,C,H,W]")
    num_classes: int | None = setting("classes that a network is made for; null: a block without classes")
    seed: int = setting("seed of the numbers")

    def check(self) -> None:
        whole = len(self.shape) == 5 and all(length >= 1 for length in self.shape)
        require(whole, "datamodule.shape", list(self.shape), "[N,T,C,H,W], such as [1,8,3,224,224]")


@registered("datamodule", "action_recognition")
@dataclass
class ActionRecognitionDataSettings(Settings):
    """Videos of one layout; see `datamodules.action_recognition.ActionRecognitionDataModule`."""

    _target_: str = "datamodules.action_recognition.ActionRecognitionDataModule"
    layout: str = setting("layout of the data set", among=LAYOUTS)
    root: str = setting("embedded (synthetic actions), or the data set's folder as it was unpacked")
    fold: int = setting("split of UCF-101 and HMDB-51", among=(1, 2, 3))
    cache: str = setting("folder of synthetic videos")
    embedded_train: int = setting("synthetic training videos")
    embedded_val: int = setting("synthetic validation videos")
    embedded_size: int = setting("their side, pixels")
    embedded_seed: int = setting("seed of their draw")
    num_frames: int = setting("frames of a clip", least=1)
    crop: int = setting("height and width of network inputs, pixels", least=16, expected="at least 16 pixels")
    resize: int = setting("shorter side that evaluation crops from, pixels; 256 for crops of 224 in the paper")
    batch_size: int = setting("clips of a batch, of all ranks together", least=1)
    eval_batch_size: int = setting("videos of a batch and rank in evaluation", least=1)
    workers: int = setting(
        "decoding processes of each rank",
        least=0,
        most=MOST_PROCESSES,
        expected=f"at least 0 and at most {MOST_PROCESSES}",
    )
    backend: str = setting("what decodes videos", among=BACKENDS)
    mirror: str = setting(
        "none, or half of the training clips are mirrored, with the label that belongs to the mirrored video, "
        "except those of classes that have a direction and no opposite",
        among=("none", "labels"),
    )
    dense: bool = setting("whether training clips are sampled densely instead of from segments")
    rand_augment: int = setting(
        "operations of RandAugment (Cubuk et al. 2020) on each training clip, the same for all frames; 0: none",
        least=0,
        example=2,
        as_before=0,
    )
    rand_augment_magnitude: int = setting("strength of these, of 31", least=0, most=30, example=9, as_before=9)
    color_jitter: float = setting(
        "jitter of brightness, contrast and saturation of training clips, a fourth of it of hue; 0: none",
        least=0,
        most=1,
        example=0.4,
        as_before=0.0,
    )
    repeats: int = setting(
        "clips that are drawn of each training video of a batch (repeated sampling, Hoffer et al. 2020)",
        least=1,
        example=2,
        as_before=1,
    )
    protocols: list[str] = setting("protocols of the test")
    test_split: str = setting(
        "split that is tested: val, or Something-Something's test, whose labels nobody says and whose predictions are "
        "handed in",
        among=("val", "test"),
        as_before="val",
    )
    broken_share: float = setting(
        "share of a split's videos that may be unreadable before the run stops", least=0, most=1, example=0.01
    )
    missing_share: float = setting(
        "share of a split's videos that may be missing, in layouts that leave those out (kinetics with CVDF's lists, "
        "lists)",
        least=0,
        below=1,
        example=0.1,
        as_before=0.0,
    )
    seed: int = setting("seed of the order and of all that is drawn")

    def check(self) -> None:
        require(
            self.resize >= self.crop, "datamodule.resize", self.resize, f"at least datamodule.crop, {self.crop} pixels"
        )
        require(
            self.test_split == "val" or self.layout.startswith("something"),
            "datamodule.test_split",
            self.test_split,
            f"val with datamodule.layout={self.layout}, which has no other",
        )
        require(
            self.batch_size % self.repeats == 0,
            "datamodule.repeats",
            self.repeats,
            f"a divisor of datamodule.batch_size, {self.batch_size}",
        )
        for name in self.protocols or [""]:
            require(
                name in ("1_clip", "2_clip", "dense"),
                "datamodule.protocols",
                name,
                "[1_clip,2_clip], [dense] or others of these",
            )
        dense = [
            key
            for key, asked in (
                ("datamodule.dense=true", self.dense),
                ("datamodule.protocols=[dense]", "dense" in self.protocols),
            )
            if asked
        ]
        possible = not dense or self.num_frames <= DENSE_SPAN
        require(
            possible,
            "datamodule.num_frames",
            self.num_frames,
            f"at most {DENSE_SPAN} with {' and '.join(dense)}, whose clips span as many frames",
        )
