"""Typed schemas of imitation navigation: its algorithms, network and data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from visagent.config.registry import Fit, registered
from visagent.config.settings import Settings, require, setting
from visagent.config.trained_weights import TrainedWeights
from visagent.experts.schedules import beta_schedule


@registered("algorithm", "behaviour_cloning", Fit(("navigation",), ("navigation",)))
@dataclass
class BehaviourCloningSettings(Settings):
    """Behaviour cloning; see `lightning_modules.behaviour_cloning.BehaviourCloning`."""

    precisions: ClassVar[tuple[str, ...]] = ("32-true", "bf16-mixed")
    _target_: str = "lightning_modules.behaviour_cloning.BehaviourCloning"
    labels: str = setting(
        "cross-entropy with the expert's action (the paper), or any optimal action counts",
        among=("expert", "optimal_set"),
    )
    label_smoothing: float = setting("label smoothing of the cross-entropy", least=0, below=1, example=0.1)
    schedule: str = setting(
        "schedule of the learning rate over a training phase; cosine ends at 0", among=("constant", "cosine")
    )
    seed: int = setting("seed of the weights")


@registered("algorithm", "dagger", Fit(("navigation",), ("dagger", "navigation")))
@dataclass
class DAggerSettings(BehaviourCloningSettings):
    """DAgger; see `lightning_modules.dagger.DAgger`."""

    _target_: str = "lightning_modules.dagger.DAgger"
    retrain: str = setting(
        "each round begins with new weights (Algorithm 1), or goes on from the last round's (Section 3.3)",
        among=("scratch", "continue"),
    )


@registered("algorithm", "safe_dagger", Fit(("navigation",), ("safe_dagger",)))
@dataclass
class SafeDAggerSettings(DAggerSettings):
    """SafeDAgger; see `lightning_modules.safe_dagger.SafeDAgger`."""

    _target_: str = "lightning_modules.safe_dagger.SafeDAgger"
    tolerance: float = setting(
        "probability of non-optimal actions above which a state is unsafe", symbol="tau", least=0, below=1, example=0.5
    )
    recall: float = setting("share of the unsafe held-out states that must be warned of", above=0, most=1, example=0.8)
    unsafe_weight: float | None = setting(
        "weight of an unsafe state in the safety loss; null: the ratio of safe to unsafe states",
        above=0,
        expected="null or a number above 0",
    )


@registered("network", "navigation")
@dataclass
class NavigationNetworkConfig(TrainedWeights):
    """The network of Figure 4; see `visagent.networks.navigation.NavigationNetwork`."""

    _target_: str = "visagent.networks.navigation.NavigationNetwork"
    _partial_: bool = True
    embedding: int = setting("width of the embeddings; 512 in the paper", least=1)
    fusion: int = setting("width of the fusion layer; 512 in the paper", least=1)
    scene_layer: int = setting("width of the scene layers; 512 in the paper", least=1)
    projection: int | None = setting(
        "principal directions kept of each frame; null: all 2048 features (the paper)",
        least=1,
        expected="null or at least 1",
    )
    random_feature_sample: bool = setting(
        "in training, look up a random one of a dump's feature samples instead of the first"
    )


@registered("datamodule", "navigation")
@dataclass
class NavigationDataSettings(Settings):
    """Navigation demonstrations; see `datamodules.navigation.NavigationDataModule`."""

    _target_: str = "datamodules.navigation.NavigationDataModule"
    scenes: str = setting("embedded, or a folder of NAME.h5 dumps")
    scene_names: list[str] = setting("which scenes; empty: all of a folder")
    cache: str = setting("folder of embedded scenes")
    extractor: str = setting("feature extractor of embedded scenes")
    extractor_weights: str | None = setting("its .pth file; null: the default place", as_before=None, signed=True)
    make_workers: int = setting(
        "processes that make missing embedded scenes; 0: one per core",
        least=0,
        most=1024,
        expected="0 (one per core), or at most 1024",
    )
    targets_per_scene: int = setting("targets picked in each scene", least=1)
    targets: dict[str, list[int]] = setting(
        "target states of scenes that choose their own, such as {kitchen_02: [90, 136]}", nested=dict
    )
    starts_per_target: int = setting("demonstrations for each target; 50 in the paper", least=1)
    batch_size: int = setting("samples of a batch, of all ranks together", least=1)
    passes_per_epoch: int = setting("passes over the data between two evaluations", least=1)
    max_steps: int = setting("cut-off of evaluated episodes; 300 in Table 1, 200 in Tables 2 and 4", least=1)
    val_starts_per_target: int = setting("random starts for each target in validation", least=1)
    test_starts_per_target: int = setting("random starts for each target in the test; 50 in the paper", least=1)
    action_modes: list[str] = setting(
        "how evaluated policies act", among=("sampled", "argmax"), expected="[sampled,argmax] or one of them"
    )
    new_target_distances: list[int] = setting(
        "steps from the nearest trained target at which new targets are tested",
        least=1,
        expected="distances of at least 1 step",
    )
    new_targets_per_distance: int = setting("such targets in each scene")
    new_target_starts: int = setting("starts for each of them", least=1)
    new_target_max_steps: int = setting("their cut-off; 200 in Table 4", least=1)
    disjoint_starts: bool = setting(
        "test from starts in which no training episode for the same target begins", as_before=False
    )
    recompute_distances: bool = setting("take shortest paths from the graph, whatever the dump holds")
    seed: int = setting("seed of starts, new targets and the order of samples")

    def check(self) -> None:
        require(
            len(self.action_modes) > 0,
            "datamodule.action_modes",
            list(self.action_modes),
            "[sampled,argmax] or one of them",
        )
        require(
            self.scenes != "embedded" or len(self.scene_names) > 0,
            "datamodule.scene_names",
            [],
            "at least one embedded scene, not zero scenes, such as [kitchen_01]",
        )


@registered("datamodule", "dagger")
@dataclass
class DAggerDataSettings(NavigationDataSettings):
    """DAgger's rounds; see `datamodules.dagger.DAggerDataModule`."""

    _target_: str = "datamodules.dagger.DAggerDataModule"
    beta: str = setting("schedule of the share of steps that the expert takes", symbol="beta")
    beta_parameter: float | None = setting("its parameter")
    passes_first_round: int = setting("passes over the demonstrations in round 0", least=1)
    collect_starts_per_target: int = setting("episodes for each target in a round", least=1)
    collect_max_steps: int = setting("their cut-off", least=1)

    def check(self) -> None:
        super().check()
        beta_schedule(self.beta, self.beta_parameter)


@registered("datamodule", "safe_dagger")
@dataclass
class SafeDAggerDataSettings(DAggerDataSettings):
    """SafeDAgger's rounds; see `datamodules.safe_dagger.SafeDAggerDataModule`."""

    _target_: str = "datamodules.safe_dagger.SafeDAggerDataModule"
    safety_starts_per_target: int = setting("held-out episodes for each target, for D_safe", least=1)
    safety_max_steps: int = setting("their cut-off; short, or a few deadlocks fill D_safe", least=1)
    safety_updates: int = setting("updates of the safety policy in a round", least=1)

    def check(self) -> None:
        super().check()
        require(self.batch_size >= 2, "datamodule.batch_size", self.batch_size, "at least 2 (half D_safe, half D_i)")
