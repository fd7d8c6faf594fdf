"""Typed schemas behind our config groups; the YAML files in conf/ hold the values.

A schema carries the `_target_`, so that YAML has no Python path to mistype. `check` holds the rules that types cannot express. No
module here imports torch or lightning: `--help` and `--cfg job` stay fast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from omegaconf import MISSING

from visagent.errors import ConfigError
from visagent.experts.schedules import beta_schedule


def _require(condition: bool, key: str, value: object, expected: str) -> None:
    if not condition:
        example = next((word.strip(",") for word in expected.split() if word.strip(",").replace(".", "").isdigit()), None)
        hint = f"; for example {key}={example}" if example and not isinstance(value, list) else ""
        raise ConfigError(f"{key}: expected {expected}, got {value!r}{hint}")


def _positive(group: str, config: object, *names: str) -> None:
    for name in names:
        _require(getattr(config, name) >= 1, f"{group}.{name}", getattr(config, name), "at least 1")


@dataclass
class BehaviourCloningConfig:
    """Behaviour cloning; see `lightning_modules.behaviour_cloning.BehaviourCloning`."""

    _target_: str = "lightning_modules.behaviour_cloning.BehaviourCloning"
    labels: str = MISSING
    label_smoothing: float = MISSING
    schedule: str = MISSING
    seed: int = MISSING

    def check(self) -> None:
        _require(self.schedule in ("constant", "cosine"), "algorithm.schedule", self.schedule, "constant or cosine")
        _require(self.labels in ("expert", "optimal_set"), "algorithm.labels", self.labels, "expert or optimal_set")
        _require(0 <= self.label_smoothing < 1, "algorithm.label_smoothing", self.label_smoothing, "0.1 or another number in [0, 1)")


@dataclass
class DAggerConfig(BehaviourCloningConfig):
    """DAgger; see `lightning_modules.dagger.DAgger`."""

    _target_: str = "lightning_modules.dagger.DAgger"
    retrain: str = MISSING

    def check(self) -> None:
        super().check()
        _require(self.retrain in ("scratch", "continue"), "algorithm.retrain", self.retrain, "scratch or continue")


@dataclass
class SafeDAggerConfig(DAggerConfig):
    """SafeDAgger; see `lightning_modules.safe_dagger.SafeDAgger`."""

    _target_: str = "lightning_modules.safe_dagger.SafeDAgger"
    tolerance: float = MISSING
    recall: float = MISSING
    unsafe_weight: float | None = MISSING

    def check(self) -> None:
        super().check()
        _require(0 < self.recall <= 1, "algorithm.recall", self.recall, "0.8 or another number in (0, 1]")
        _require(0 <= self.tolerance < 1, "algorithm.tolerance", self.tolerance, "0.5 or another number in [0, 1)")
        _require(self.unsafe_weight is None or self.unsafe_weight > 0, "algorithm.unsafe_weight", self.unsafe_weight, "null or a number above 0")


@dataclass
class NavigationNetworkConfig:
    """The network of Figure 4; see `visagent.networks.navigation.NavigationNetwork`."""

    _target_: str = "visagent.networks.navigation.NavigationNetwork"
    _partial_: bool = True
    embedding: int = MISSING
    fusion: int = MISSING
    scene_layer: int = MISSING
    projection: int | None = MISSING
    random_feature_sample: bool = MISSING

    def check(self) -> None:
        _positive("network", self, "embedding", "fusion", "scene_layer")
        _require(self.projection is None or self.projection >= 1, "network.projection", self.projection, "null or at least 1")


@dataclass
class NavigationDataConfig:
    """Navigation demonstrations; see `datamodules.navigation.NavigationDataModule`."""

    _target_: str = "datamodules.navigation.NavigationDataModule"
    scenes: str = MISSING
    scene_names: list[str] = MISSING
    cache: str = MISSING
    extractor: str = MISSING
    extractor_weights: str | None = MISSING
    make_workers: int = MISSING
    targets_per_scene: int = MISSING
    targets: dict[str, list[int]] = field(default_factory=dict)
    starts_per_target: int = MISSING
    batch_size: int = MISSING
    passes_per_epoch: int = MISSING
    max_steps: int = MISSING
    val_starts_per_target: int = MISSING
    test_starts_per_target: int = MISSING
    action_modes: list[str] = MISSING
    new_target_distances: list[int] = MISSING
    new_targets_per_distance: int = MISSING
    new_target_starts: int = MISSING
    new_target_max_steps: int = MISSING
    recompute_distances: bool = MISSING
    seed: int = MISSING

    def check(self) -> None:
        _positive("datamodule", self, "targets_per_scene", "starts_per_target", "batch_size", "passes_per_epoch", "max_steps")
        _positive("datamodule", self, "val_starts_per_target", "test_starts_per_target", "new_target_starts", "new_target_max_steps")
        modes = ("sampled", "argmax")
        for mode in self.action_modes:
            _require(mode in modes, "datamodule.action_modes", mode, "[sampled,argmax] or one of them")
        _require(len(self.action_modes) > 0, "datamodule.action_modes", list(self.action_modes), "[sampled,argmax] or one of them")
        _require(
            all(d >= 1 for d in self.new_target_distances), "datamodule.new_target_distances", list(self.new_target_distances), "distances of at least 1 step"
        )
        _require(self.make_workers >= 0, "datamodule.make_workers", self.make_workers, "0 (one per core) or more")
        _require(
            self.scenes != "embedded" or len(self.scene_names) > 0,
            "datamodule.scene_names",
            [],
            "at least one embedded scene, not zero scenes, such as [kitchen_01]",
        )


@dataclass
class DAggerDataConfig(NavigationDataConfig):
    """DAgger's rounds; see `datamodules.dagger.DAggerDataModule`."""

    _target_: str = "datamodules.dagger.DAggerDataModule"
    beta: str = MISSING
    beta_parameter: float | None = MISSING
    passes_first_round: int = MISSING
    collect_starts_per_target: int = MISSING
    collect_max_steps: int = MISSING

    def check(self) -> None:
        super().check()
        beta_schedule(self.beta, self.beta_parameter)
        _positive("datamodule", self, "passes_first_round", "collect_starts_per_target", "collect_max_steps")


@dataclass
class SafeDAggerDataConfig(DAggerDataConfig):
    """SafeDAgger's rounds; see `datamodules.safe_dagger.SafeDAggerDataModule`."""

    _target_: str = "datamodules.safe_dagger.SafeDAggerDataModule"
    safety_starts_per_target: int = MISSING
    safety_max_steps: int = MISSING
    safety_updates: int = MISSING

    def check(self) -> None:
        super().check()
        _positive("datamodule", self, "safety_starts_per_target", "safety_max_steps", "safety_updates")
        _require(self.batch_size >= 2, "datamodule.batch_size", self.batch_size, "at least 2 (half D_safe, half D_i)")


@dataclass
class ActionRecognitionConfig:
    """Classification of clips; see `lightning_modules.action_recognition.ActionRecognition`."""

    _target_: str = "lightning_modules.action_recognition.ActionRecognition"
    label_smoothing: float = MISSING
    schedule: str = MISSING
    milestones: list[float] = MISSING
    warmup: float = MISSING
    shift_lr_factor: float = MISSING
    attention_lr_factor: float = MISSING
    t_factor: float = MISSING
    budget: float | None = MISSING
    budget_weight: float = MISSING
    anneal_epochs: float = MISSING
    final_temperature: float = MISSING
    initialize_from: str | None = MISSING
    sync_batch_norm: bool = MISSING
    seed: int = MISSING

    def check(self) -> None:
        _require(self.schedule in ("constant", "cosine", "steps"), "algorithm.schedule", self.schedule, "constant, cosine or steps")
        _require(0 <= self.label_smoothing < 1, "algorithm.label_smoothing", self.label_smoothing, "0.1 or another number in [0, 1)")
        _require(0 <= self.warmup < 1, "algorithm.warmup", self.warmup, "0.05 or another share of the run, in [0, 1)")
        _require(all(0 < m < 1 for m in self.milestones), "algorithm.milestones", list(self.milestones), "shares of the run between 0 and 1")
        _require(self.budget is None or 0 < self.budget < 1, "algorithm.budget", self.budget, "null, or 0.125 or another number between 0 and 1")
        _require(self.budget_weight >= 0, "algorithm.budget_weight", self.budget_weight, "at least 0")
        _require(self.anneal_epochs > 0, "algorithm.anneal_epochs", self.anneal_epochs, "40 or another number above 0")
        _require(0 < self.final_temperature <= 2, "algorithm.final_temperature", self.final_temperature, "0.001 or another number in (0, 2]")


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
        _require(self.tier in ("micro", "tiny", "small", "medium", "large"), "network.tier", self.tier, "tiny, small, medium, large or micro")
        variants = ("rubiks3d", "rubiks3d-iq", "rubiks3d-aq", "rubiks2d")
        _require(self.variant in variants, "network.variant", self.variant, ", ".join(variants[:-1]) + f" or {variants[-1]}")
        _require(self.spatial in ("learned", "fixed"), "network.spatial", self.spatial, "learned or fixed")
        _require(self.temporal in ("learned", "fixed"), "network.temporal", self.temporal, "learned or fixed")


@dataclass
class VideoResNetConfig:
    """TSN and TSM; see `visagent.networks.video_resnet.VideoResNet`."""

    _target_: str = "visagent.networks.video_resnet.VideoResNet"
    _partial_: bool = True
    depth: int = MISSING
    temporal: str = MISSING
    dropout: float = MISSING

    def check(self) -> None:
        _require(self.depth in (18, 34, 50), "network.depth", self.depth, "18, 34 or 50")
        _require(self.temporal in ("none", "shift"), "network.temporal", self.temporal, "none (TSN) or shift (TSM)")
        _require(0 <= self.dropout < 1, "network.dropout", self.dropout, "0.5 or another number in [0, 1)")


@dataclass
class NetworkCostConfig:
    """Counting and timing; see `lightning_modules.network_cost.NetworkCost`."""

    _target_: str = "lightning_modules.network_cost.NetworkCost"
    trials: int = MISSING
    seed: int = MISSING

    def check(self) -> None:
        _require(self.trials >= 0, "algorithm.trials", self.trials, "at least 0")


@dataclass
class BlockConfig:
    """The blocks of Table 6.6; see `visagent.networks.blocks.Block`."""

    _target_: str = "visagent.networks.blocks.Block"
    _partial_: bool = True
    kind: str = MISSING
    channels: int = MISSING

    def check(self) -> None:
        _require(self.kind in ("conv3d", "conv2d_shift", "rubiks_shift"), "network.kind", self.kind, "conv3d, conv2d_shift or rubiks_shift")
        _positive("network", self, "channels")


@dataclass
class RandomClipsConfig:
    """Clips to measure on; see `datamodules.random_clips.RandomClipsDataModule`."""

    _target_: str = "datamodules.random_clips.RandomClipsDataModule"
    shape: list[int] = MISSING
    num_classes: int | None = MISSING
    seed: int = MISSING

    def check(self) -> None:
        whole = len(self.shape) == 5 and all(length >= 1 for length in self.shape)
        _require(whole, "datamodule.shape", list(self.shape), "[N,T,C,H,W], such as [1,8,3,224,224]")


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
        _positive("datamodule", self, "num_frames", "batch_size", "eval_batch_size")
        layouts = ("something_v2", "something_v1", "ucf101", "hmdb51", "kinetics")
        _require(self.layout in layouts, "datamodule.layout", self.layout, ", ".join(layouts[:-1]) + f" or {layouts[-1]}")
        _require(1 <= self.fold <= 3, "datamodule.fold", self.fold, "1, 2 or 3")
        _require(self.crop >= 16, "datamodule.crop", self.crop, "at least 16 pixels")
        _require(self.resize >= self.crop, "datamodule.resize", self.resize, f"at least datamodule.crop, {self.crop} pixels")
        _require(self.workers >= 0, "datamodule.workers", self.workers, "at least 0")
        _require(self.backend in ("decord", "pyav"), "datamodule.backend", self.backend, "decord or pyav")
        _require(self.mirror in ("none", "labels"), "datamodule.mirror", self.mirror, "none or labels")
        for name in self.protocols or [""]:
            _require(name in ("1_clip", "2_clip", "dense"), "datamodule.protocols", name, "[1_clip,2_clip], [dense] or others of these")
        _require(0 <= self.broken_share <= 1, "datamodule.broken_share", self.broken_share, "0.01 or another number in [0, 1]")


@dataclass
class LoggerConfig:
    """Where runs are tracked; see `visagent.runtime.tracking`."""

    enabled: bool = MISSING
    experiment: str = MISSING
    tracking_uri: str | None = None


@dataclass
class PathsConfig:
    """Folders. None of them changes a result by its name; what a video data set is, `datamodule.root` says."""

    outputs: str = MISSING
    run: str | None = None
    videos: str = "embedded"


@dataclass
class ProgressConfig:
    """The progress bar and the closing table."""

    bar: bool = MISSING
    refresh_rate: int = MISSING
    summary: bool = MISSING

    def check(self) -> None:
        _positive("progress", self, "refresh_rate")


@dataclass
class TrainConfig:
    """The root of `visagent-train`."""

    name: str = MISSING
    seed: int = MISSING
    scale: str = MISSING
    evaluate_after_training: bool = MISSING
    threads: int = MISSING
    algorithm: Any = None
    network: Any = None
    optimizer: Any = None
    datamodule: Any = None
    trainer: Any = None
    progress: ProgressConfig = field(default_factory=ProgressConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)

    def check(self) -> None:
        _require(0 <= self.seed < 2**32, "seed", self.seed, "a whole number from 0 to 4294967295")
        epochs = (self.trainer or {}).get("max_epochs", 1)
        _require(isinstance(epochs, int) and epochs >= 1, "trainer.max_epochs", epochs, "at least 1")
        _require(self.threads >= 1, "threads", self.threads, "at least 1")
        _require(self.scale in SCALES, "scale", self.scale, " or ".join(SCALES))


@dataclass
class EvaluateConfig:
    """The root of `visagent-evaluate`."""

    run: str = MISSING
    threads: int = MISSING
    datamodule: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    paths: PathsConfig = field(default_factory=PathsConfig)


@dataclass
class ExportConfig:
    """The root of `visagent-export`."""

    run: str | None = None
    checkpoint: str | None = None
    format: str = MISSING
    output: str | None = None
    batch: int = MISSING
    trials: int = MISSING
    threads: int = MISSING
    paths: PathsConfig = field(default_factory=PathsConfig)

    def check(self) -> None:
        _require(self.format in ("onnx", "pt2"), "format", self.format, "onnx or pt2")
        for name in ("batch", "trials", "threads"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


SCALES = ("smoke", "laptop", "paper")
REQUIRED_GROUPS = ("algorithm", "network", "optimizer", "datamodule", "trainer")

GROUP_SCHEMAS: dict[str, dict[str, type]] = {
    "algorithm": {
        "behaviour_cloning": BehaviourCloningConfig,
        "dagger": DAggerConfig,
        "safe_dagger": SafeDAggerConfig,
        "action_recognition": ActionRecognitionConfig,
        "network_cost": NetworkCostConfig,
    },
    "network": {"navigation": NavigationNetworkConfig, "rubiksnet": RubiksNetConfig, "video_resnet": VideoResNetConfig, "block": BlockConfig},
    "datamodule": {
        "navigation": NavigationDataConfig,
        "dagger": DAggerDataConfig,
        "safe_dagger": SafeDAggerDataConfig,
        "action_recognition": ActionRecognitionDataConfig,
        "random_clips": RandomClipsConfig,
    },
}


def schema_of(target: str) -> type | None:
    """The schema that stands behind a `_target_`, or None for third-party objects."""
    for schemas in GROUP_SCHEMAS.values():
        for schema in schemas.values():
            if getattr(schema, "_target_", None) == target:
                return schema
    return None


def register() -> None:
    """Put the schemas into Hydra's store, as `schema/<group>: <name>` and as the roots' bases."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for group, schemas in GROUP_SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=f"schema/{group}", name=name, node=schema)
    store.store(group="schema/root", name="train", node=TrainConfig)
    store.store(group="schema/root", name="evaluate", node=EvaluateConfig)
    store.store(group="schema/root", name="export", node=ExportConfig)
    from visagent.config.table_schemas import TableRootConfig

    store.store(group="schema/root", name="table", node=TableRootConfig)


def known_keys(schema: type) -> Sequence[str]:
    """The fields of a schema."""
    return tuple(item.name for item in fields(schema))
