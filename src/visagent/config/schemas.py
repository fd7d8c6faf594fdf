"""The schemas of the commands' roots, and all others as Hydra knows them; the YAML files in conf/ hold the values.

A schema carries the `_target_`, so that YAML has no Python path to mistype. `check` holds the rules that types cannot
express. No module here imports torch or lightning: `--help` and `--cfg job` stay fast.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any

from omegaconf import MISSING

from visagent.config import (
    classification_schemas,
    learner_schemas,
    navigation_schemas,
    option_schemas,
    reinforcement_schemas,
    reinforcement_worlds,
    secant_schemas,
    video_schemas,
)
from visagent.config.cluster_schemas import LauncherConfig, MachineConfig
from visagent.config.extensions import load_extensions
from visagent.config.precision import check_precision
from visagent.config.presets import options
from visagent.config.registry import GROUP_SCHEMAS, complete, moved
from visagent.config.scales import SCALES
from visagent.config.settings import MOST_PROCESSES, PROCESSES, require, setting
from visagent.config.table_schemas import TableRootConfig


@dataclass
class LoggerConfig:
    """Where runs are tracked; see `visagent.runtime.tracking`."""

    enabled: bool = setting("whether MLflow is told")
    tensorboard: bool = setting("whether TensorBoard's files are written as well", default=False)
    experiment: str = setting("MLflow's experiment")
    tracking_uri: str | None = setting(
        "where MLflow is; null: MLFLOW_TRACKING_URI, or a database in the outputs folder", default=None
    )


@dataclass
class PathsConfig:
    """Folders. None of them changes a result by its name; what a video data set is, `datamodule.root` says."""

    outputs: str = setting("folder of runs, tables and caches")
    run: str | None = setting("folder of the run; null: its signature below runs/", default=None)
    videos: str = setting("folder of a video data set; embedded: synthetic actions are made", default="embedded")

    def check(self) -> None:
        for name in ("outputs", "run", "videos"):
            value = getattr(self, name)
            require(value is None or value.strip() != "", f"paths.{name}", value, "a folder")
            require(
                value is None or not value.startswith("~"),
                f"paths.{name}",
                value,
                f"a folder from / on, {os.path.expanduser(str(value))}",  # noqa: PTH111
            )


@dataclass
class ProgressConfig:
    """The progress bar and the closing table."""

    bar: bool = setting("whether there is a progress bar")
    refresh_rate: int = setting("batches between two looks of the bar", least=1)
    watch: bool = setting("whether curves are drawn in the terminal instead of the bar", as_before=False)
    summary: Any = setting(
        "whether the closing table is shown: true, in what fits one screen; full, all of it; or false",
        as_before=True,
        signed=True,
        among=(True, False, "full"),
    )


UNWATCHED: Mapping[str, Any] = {"monitor": None, "mode": "max", "every": 1, "keep": 1, "patience": None}
"""With which runs test their last epoch, as all did before there was a choice."""


@dataclass
class CheckpointConfig:
    """Which epoch's weights are tested; see `visagent.runtime.best`."""

    monitor: str | None = setting(
        "metric of validation by whose best epoch a run is tested, such as val/validation/top1; null: the last epoch"
    )
    mode: str = setting("whether large values of it are good (max) or small ones (min)", among=("max", "min"))
    every: int = setting("epochs between two looks at it", least=1)
    keep: int = setting("checkpoints of best epochs that are kept beside the last", least=1)
    patience: int | None = setting("epochs without a better one, after which a run ends; null: it goes on", least=1)

    def check(self) -> None:
        for name in ("every", "keep", "patience"):
            require(
                self.monitor is not None or getattr(self, name) == UNWATCHED[name],
                f"checkpoint.{name}",
                getattr(self, name),
                f"{UNWATCHED[name]} without checkpoint.monitor=METRIC, such as val/return".replace("None", "null"),
            )


@dataclass
class TrainConfig:
    """The root of `visagent-train`."""

    name: str = setting("what the run is called; another name makes another run of the same settings")
    seed: int = setting("of all that is drawn", expected="a whole number from 0 to 4294967295")
    scale: str = setting("of its numbers", expected=" or ".join(SCALES))
    evaluate_after_training: bool = setting("whether it is tested at its end")
    training: bool = setting(
        "whether it learns before it is tested; false tests the weights that its network begins with", as_before=True
    )
    threads: int = setting("threads of a process", least=1, most=MOST_PROCESSES, expected=PROCESSES)
    algorithm: Any = None
    network: Any = None
    optimizer: Any = None
    datamodule: Any = None
    trainer: Any = None
    checkpoint: CheckpointConfig = setting("which epoch is tested", as_before=dict(UNWATCHED), nested=CheckpointConfig)
    callbacks: dict[str, Any] = setting(
        "callbacks of Lightning's kind beside a run's own, by name", as_before={}, nested=dict
    )
    extend: str | None = setting("finished run that this one goes on with, for more epochs", as_before=None)
    objective: str | None = setting("metric of the finished run that is told to the sweeper", as_before=None)
    prune: str | None = setting("file by which a search has the run end early", as_before=None)
    allow_targets: list[str] = setting("code of others that the config of extend= may name", as_before=[])
    learners: Any = setting("how several learners keep together; null for one, as usual", as_before=None)
    progress: ProgressConfig = field(default_factory=ProgressConfig)
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    paths: PathsConfig = field(default_factory=PathsConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def check(self) -> None:
        require(0 <= self.seed < 2**32, "seed", self.seed, "a whole number from 0 to 4294967295")
        epochs = (self.trainer or {}).get("max_epochs", 1)
        require(type(epochs) is int and epochs >= 1, "trainer.max_epochs", epochs, "a whole number, at least 1")
        require(
            self.name.strip() != "" and self.name.isprintable(),
            "name",
            self.name,
            "a name in one line, or none for the preset's",
        )
        require(self.scale in SCALES, "scale", self.scale, " or ".join(SCALES))
        require(
            self.training or (self.network or {}).get("weights", "") is not None,
            "network.weights",
            None,
            "what is to be tested, with training=false: visagent-evaluate weights=FILE, or weights=run:SIGNATURE",
        )
        require(self.training or self.learners is None, "learners", self.learners, "null with training=false")
        alone = self.learners is None
        watched: Any = self.checkpoint  # a dict here, as the other groups
        monitor = watched["monitor"]
        require(alone or monitor is None, "checkpoint.monitor", monitor, "null with learners")
        ema = (self.trainer or {}).get("ema")
        require(alone or ema is None, "trainer.ema", ema, "null with learners, which average in their own ways")
        for name in ("devices", "num_nodes"):
            value = (self.trainer or {}).get(name, 1)
            require(
                self.learners is None or str(value) == "1",
                f"trainer.{name}",
                value,
                "1 with learners, each of which has one",
            )
        check_precision(
            schema_of((self.algorithm or {}).get("_target_", "")), self.trainer or {}, self.datamodule or {}
        )


@dataclass
class EvaluateConfig:
    """The root of `visagent-evaluate`."""

    run: Any = MISSING
    fuse: list[float] | None = None
    threads: int = MISSING
    allow_targets: list[str] = field(default_factory=list)
    algorithm: dict[str, Any] = field(default_factory=dict)
    network: dict[str, Any] = field(default_factory=dict)
    datamodule: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    paths: PathsConfig = field(default_factory=PathsConfig)

    def check(self) -> None:
        runs = self.run if isinstance(self.run, list) else [self.run]
        expected = "a signature, the beginning of one, or a run folder; or several, run=r3f2,r81c"
        require(bool(runs) and all(isinstance(run, str) and run for run in runs), "run", self.run, expected)
        require(
            self.fuse is None or (len(self.fuse) == len(runs) > 1 and all(weight > 0 for weight in self.fuse)),
            "fuse",
            self.fuse,
            f"a weight above 0 for each of several runs, such as run=r3f2,r81c fuse=[1,1], of which there are "
            f"{len(runs)}",
        )


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
    allow_targets: list[str] = field(default_factory=list)
    paths: PathsConfig = field(default_factory=PathsConfig)

    def check(self) -> None:
        require(self.format in ("onnx", "pt2"), "format", self.format, "onnx or pt2")
        named = self.output is None or self.output.endswith(f".{self.format}")
        require(named, "output", self.output, f"a file NAME.{self.format}, as format={self.format}")
        for name in ("batch", "trials", "threads"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


__all__ = ["GROUP_SCHEMAS"]  # complete here, once the files are imported that register their schemas
FAMILIES = (
    classification_schemas,
    learner_schemas,
    navigation_schemas,
    option_schemas,
    reinforcement_schemas,
    reinforcement_worlds,
    secant_schemas,
    video_schemas,
)
"""The files that do."""
load_extensions()  # which do so as well
PACKAGES = {"env": "datamodule.env"}
"""Where groups are in the config, where not at their names."""
REQUIRED_GROUPS = ("algorithm", "network", "optimizer", "datamodule", "trainer")


def schema_of(target: str) -> type | None:
    """The schema that stands behind a `_target_`, or None for third-party objects."""
    target = moved().get(target, target)
    for schemas in GROUP_SCHEMAS.values():
        for schema in schemas.values():
            if getattr(schema, "_target_", None) == target:
                return schema
    return None


def schema_below(schema: type | None, key: str, child: Mapping[Any, Any]) -> type | None:
    """The schema of a dict within a config: its `_target_`'s, else the one that the schema above it declares for the
    key.
    """
    target = child.get("_target_")
    if isinstance(target, str) and (found := schema_of(target)) is not None:
        return found
    declared = next((item.type for item in fields(schema) if item.name == key), None) if schema is not None else None
    named = getattr(sys.modules[schema.__module__], str(declared), None) if schema is not None else None
    fits = isinstance(named, type) and is_dataclass(named) and target in (None, getattr(named, "_target_", None))
    return named if fits else None


@cache
def register() -> None:
    """Put the schemas into Hydra's store, as `schema/<group>: <name>` and as the roots' bases; once."""
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    for group, schemas in GROUP_SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=f"schema/{group}", name=name, node=schema)
        for name in set(complete(group)) - set(options(group, with_yaml=True)):
            store.store(group=group, name=name, node=schemas[name], package=PACKAGES.get(group, group))
    store.store(group="schema/root", name="train", node=TrainConfig)
    store.store(group="schema/root", name="evaluate", node=EvaluateConfig)
    store.store(group="schema/root", name="export", node=ExportConfig)
    store.store(group="schema/root", name="table", node=TableRootConfig)


def known_keys(schema: type) -> Sequence[str]:
    """The fields of a schema."""
    return tuple(item.name for item in fields(schema))
