"""Typed schemas of imitation navigation: its algorithms, network and data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from omegaconf import MISSING

from visagent.config.rules import added, positive
from visagent.config.settings import require
from visagent.experts.schedules import beta_schedule


@dataclass
class BehaviourCloningConfig:
    """Behaviour cloning; see `lightning_modules.behaviour_cloning.BehaviourCloning`."""

    precisions: ClassVar[tuple[str, ...]] = ("32-true", "bf16-mixed")
    _target_: str = "lightning_modules.behaviour_cloning.BehaviourCloning"
    labels: str = MISSING
    label_smoothing: float = MISSING
    schedule: str = MISSING
    seed: int = MISSING

    def check(self) -> None:
        require(self.schedule in ("constant", "cosine"), "algorithm.schedule", self.schedule, "constant or cosine")
        require(self.labels in ("expert", "optimal_set"), "algorithm.labels", self.labels, "expert or optimal_set")
        require(0 <= self.label_smoothing < 1, "algorithm.label_smoothing", self.label_smoothing, "0.1 or another number in [0, 1)")


@dataclass
class DAggerConfig(BehaviourCloningConfig):
    """DAgger; see `lightning_modules.dagger.DAgger`."""

    _target_: str = "lightning_modules.dagger.DAgger"
    retrain: str = MISSING

    def check(self) -> None:
        super().check()
        require(self.retrain in ("scratch", "continue"), "algorithm.retrain", self.retrain, "scratch or continue")


@dataclass
class SafeDAggerConfig(DAggerConfig):
    """SafeDAgger; see `lightning_modules.safe_dagger.SafeDAgger`."""

    _target_: str = "lightning_modules.safe_dagger.SafeDAgger"
    tolerance: float = MISSING
    recall: float = MISSING
    unsafe_weight: float | None = MISSING

    def check(self) -> None:
        super().check()
        require(0 < self.recall <= 1, "algorithm.recall", self.recall, "0.8 or another number in (0, 1]")
        require(0 <= self.tolerance < 1, "algorithm.tolerance", self.tolerance, "0.5 or another number in [0, 1)")
        require(self.unsafe_weight is None or self.unsafe_weight > 0, "algorithm.unsafe_weight", self.unsafe_weight, "null or a number above 0")


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
        positive("network", self, "embedding", "fusion", "scene_layer")
        require(self.projection is None or self.projection >= 1, "network.projection", self.projection, "null or at least 1")


@dataclass
class NavigationDataConfig:
    """Navigation demonstrations; see `datamodules.navigation.NavigationDataModule`."""

    _target_: str = "datamodules.navigation.NavigationDataModule"
    scenes: str = MISSING
    scene_names: list[str] = MISSING
    cache: str = MISSING
    extractor: str = MISSING
    extractor_weights: str | None = added(as_before=None, signed=True)
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
    disjoint_starts: bool = added(as_before=False)
    recompute_distances: bool = MISSING
    seed: int = MISSING

    def check(self) -> None:
        positive("datamodule", self, "targets_per_scene", "starts_per_target", "batch_size", "passes_per_epoch", "max_steps")
        positive("datamodule", self, "val_starts_per_target", "test_starts_per_target", "new_target_starts", "new_target_max_steps")
        modes = ("sampled", "argmax")
        for mode in self.action_modes:
            require(mode in modes, "datamodule.action_modes", mode, "[sampled,argmax] or one of them")
        require(len(self.action_modes) > 0, "datamodule.action_modes", list(self.action_modes), "[sampled,argmax] or one of them")
        require(
            all(d >= 1 for d in self.new_target_distances), "datamodule.new_target_distances", list(self.new_target_distances), "distances of at least 1 step"
        )
        require(0 <= self.make_workers <= 1024, "datamodule.make_workers", self.make_workers, "0 (one per core), or at most 1024")
        require(
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
        positive("datamodule", self, "passes_first_round", "collect_starts_per_target", "collect_max_steps")


@dataclass
class SafeDAggerDataConfig(DAggerDataConfig):
    """SafeDAgger's rounds; see `datamodules.safe_dagger.SafeDAggerDataModule`."""

    _target_: str = "datamodules.safe_dagger.SafeDAggerDataModule"
    safety_starts_per_target: int = MISSING
    safety_max_steps: int = MISSING
    safety_updates: int = MISSING

    def check(self) -> None:
        super().check()
        positive("datamodule", self, "safety_starts_per_target", "safety_max_steps", "safety_updates")
        require(self.batch_size >= 2, "datamodule.batch_size", self.batch_size, "at least 2 (half D_safe, half D_i)")
