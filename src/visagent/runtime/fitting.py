"""A run's training and tests: what a config names is built, trained from where its last attempt stopped, and tested."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visagent.config.precision import SINGLE, precision_of
from visagent.config.trained_weights import weights_file
from visagent.config.trainer_settings import EMA
from visagent.errors import ConfigError
from visagent.runtime.allocation import meet
from visagent.runtime.building import make
from visagent.runtime.checkpoints import checkpoint_to_resume, reading_checkpoint
from visagent.runtime.drawing import draw
from visagent.runtime.experts import trained_expert
from visagent.runtime.memory import keep_memory
from visagent.runtime.record import Record, write_atomically
from visagent.runtime.report import what_was_tested
from visagent.runtime.run_folder import RunFolder

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from visagent.networks.weights import Taken
    from visagent.runtime.best import BestEpochs
    from visagent.runtime.learners import Learner
    from visagent.runtime.mlflow_logger import MLflowTracker

log = logging.getLogger(__name__)
WEIGHTS = "weights.txt"
"""In a run's folder: what became of the weights that its network began with."""


def build(
    config: dict[str, Any], tell: Callable[[Taken], None] | None = None
) -> tuple[pl.LightningModule, pl.LightningDataModule]:
    """The module and the DataModule that a resolved config names.

    Args:
        config: resolved.
        tell: given, the network begins with the weights that the config names, and this is told what became of them;
            None where a checkpoint's come later.

    Raises:
        UserError: when one of them refuses its settings.
    """
    datamodule: pl.LightningDataModule = make("datamodule", config["datamodule"])
    parts = {group: make(group, config[group]) for group in ("network", "optimizer")}
    file = None if tell is None else weights_file(config)
    if tell is not None and file is not None:
        strict, whole = bool(config["network"].get("strict")), not config["training"]
        parts["network"] = Begun(parts["network"], file, strict, whole, tell)
    if "expert" in config["algorithm"]:
        parts["expert"] = trained_expert(config)
    module: pl.LightningModule = make("algorithm", config["algorithm"], **parts)
    return module, datamodule


class Begun:
    """Makes a network that begins with the weights of a file.

    Args:
        factory: makes the network.
        file, strict, whole: see `visagent.networks.weights.take_weights`.
        tell: told what became of them.
    """

    def __init__(self, factory: Any, file: Path, strict: bool, whole: bool, tell: Callable[[Taken], None]) -> None:
        self.func = getattr(factory, "func", factory)  # by which errors name it
        self.factory, self.file, self.strict, self.whole, self.tell = factory, file, strict, whole, tell
        self.classes: tuple[str, ...] | None = None

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        from visagent.networks.weights import take_weights

        network = self.factory(*arguments, **settings)
        taken = take_weights(network, self.file, self.strict, self.whole)
        self.classes = taken.classes
        self.tell(taken)
        return network


def build_trainer(config: dict[str, Any], **settings: Any) -> pl.Trainer:
    """The Trainer that a resolved config names, with further arguments.

    Raises:
        ConfigError: when Lightning refuses the settings.
    """
    known = {key: value for key, value in config["trainer"].items() if key != EMA}
    trainer: pl.Trainer = make("trainer", known, **settings)
    asked = precision_of(config["trainer"])
    if trainer.precision != asked:  # Lightning takes another one where the device has none of that
        device = trainer.strategy.root_device.type
        raise ConfigError(
            f"trainer.precision: expected one that {device} has, got {asked!r}; type trainer.precision={SINGLE}, or "
            f"{trainer.precision}"
        )
    return trainer


def prepare(threads: int) -> None:
    """Process-wide settings, once torch may be imported."""
    import warnings

    import torch

    torch.set_num_threads(threads)
    keep_memory()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*`training_step` returned `None`.*")
    warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
    warnings.filterwarnings("ignore", message=".*The `srun` command is available.*")
    warnings.filterwarnings("ignore", message=".*`LightningModule.configure_optimizers` returned `None`.*")


def forget_absent_gpu() -> None:
    """Undo what importing Lightning did where there is no GPU; call it afterwards.

    It has PyTorch look for one through NVML, which guards processes that fork from a GPU. Every step of an optimizer
    looks, and without NVML each look searches the disk for it: 40 microseconds, a tenth of a small network's step.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


def _loggers(
    config: dict[str, Any], folder: RunFolder, record: Record, tracker: MLflowTracker | None, learner: Learner | None
) -> list[pl.loggers.Logger]:
    """MLflow's and TensorBoard's, where they are wanted.

    Raises:
        ConfigError: when TensorBoard is not installed.
    """
    loggers: list[pl.loggers.Logger] = [] if tracker is None else [tracker]
    if config["logger"]["tensorboard"] and (learner is None or learner.meeting.number == 0):
        from pytorch_lightning.loggers import TensorBoardLogger

        # what an attempt logged after its last checkpoint is logged again
        steps = [int(epoch["step"]) for epoch in record.history.values() if "step" in epoch]
        purged = max(steps) + 1 if steps else None
        try:
            loggers.append(TensorBoardLogger(folder.path, "", "tensorboard", purge_step=purged))
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"logger.tensorboard=true: {error}; pip install 'visagent[tensorboard]', or type logger=mlflow"
            ) from error
    return loggers


def _users(configs: dict[str, Any]) -> list[pl.Callback]:
    """The callbacks that a config names beside a run's own.

    Raises:
        ConfigError: for something else.
    """
    import pytorch_lightning as pl

    made = {name: make(f"callbacks.{name}", each) for name, each in configs.items()}
    for name, callback in made.items():
        if not isinstance(callback, pl.Callback):
            raise ConfigError(
                f"callbacks.{name}: expected a class of pytorch_lightning.Callback, got {type(callback).__name__}"
            )
    return list(made.values())


def fit(
    config: dict[str, Any],
    folder: RunFolder,
    record: Record,
    tracker: MLflowTracker | None,
    learner: Learner | None = None,
) -> None:
    """Train a run from where it stopped to its last epoch, and test what it has learned, or what it begins with.

    Args:
        config: resolved.
        folder: of the run, whose checkpoint is gone on from and written.
        record: filled, and saved after each epoch.
        tracker: told of all metrics.
        learner: this process's part, where the run has several learners.

    Raises:
        UserError: for what the user can mend.
    """
    learns = config["training"]
    resumed = None
    if learns:
        resumed = checkpoint_to_resume(folder) if learner is None else learner.meet(folder)
    prepare(config["threads"])
    import pytorch_lightning as pl

    forget_absent_gpu()

    from visagent.runtime.best import BestEpochs
    from visagent.runtime.callbacks import AtomicCheckpointIO, EpochCheckpoint, RandomState, RecordEpochs
    from visagent.runtime.divergence import StopWhereDiverged, diverged, undefined_metric
    from visagent.runtime.episode_log import EpisodeLog
    from visagent.runtime.keep_together import KeepTogether
    from visagent.runtime.launching import cluster_environment, leave_time_for_last_words, wait_for_others
    from visagent.runtime.preemption import MakeWay
    from visagent.runtime.progress import EpochLines, Progress, is_seen
    from visagent.runtime.pruning import PruneByMedian
    from visagent.runtime.watch import Watch
    from visagent.runtime.weight_average import WeightAverage

    leave_time_for_last_words()
    if learner is None:
        meet()
        wait_for_others(config["launcher"]["meeting_s"])
    pl.seed_everything(config["seed"], workers=True, verbose=False)
    module, datamodule = build(config, partial(_tell, folder) if resumed is None else None)
    if learner is not None and config["prune"] is not None:
        raise ConfigError("hydra.sweeper.prune: expected none with learners, got median; type hydra.sweeper.prune=none")
    together = [] if learner is None else [KeepTogether(learner)]
    decay, best = config["trainer"].get(EMA), None
    if config["checkpoint"]["monitor"] is not None and learns:
        best = BestEpochs(config["checkpoint"], folder)
    objective = config["objective"]
    judged = objective if objective is not None and objective.startswith("val/") else None
    callbacks: list[pl.Callback] = [
        *together,
        *([] if decay is None or not learns else [WeightAverage(decay)]),
        RandomState(),
        RecordEpochs(folder, record, 1 if learner is None else learner.learners.settings.count),
        StopWhereDiverged(),
        *([EpisodeLog(folder.episodes)] if learner is None or learner.meeting.number == 0 else []),
        EpochCheckpoint(folder.checkpoint, tracker, best, untrained=not learns, objective=judged),
        MakeWay(),
        *([] if config["prune"] is None else [PruneByMedian(config["prune"], record)]),
        *_users(config["callbacks"]),
    ]
    wanted, seen = config["progress"], is_seen()
    if wanted["watch"]:
        callbacks.append(Watch(record))
    callbacks.append(EpochLines(aloud=(wanted["bar"] or wanted["watch"]) and not seen))
    if bar := wanted["bar"] and seen:
        callbacks.append(Progress(refresh_rate=wanted["refresh_rate"]))
    trainer = build_trainer(
        config,
        callbacks=callbacks,
        logger=_loggers(config, folder, record, tracker, learner) or False,
        plugins=[AtomicCheckpointIO(), *cluster_environment()],
        enable_progress_bar=bar,
        default_root_dir=str(folder.path),
    )
    if learns and resumed is None:
        trainer.fit(module, datamodule, weights_only=True)
    elif resumed is not None:
        with reading_checkpoint(resumed):
            trainer.fit(module, datamodule, ckpt_path=str(resumed), weights_only=True)
    record.tested = _tested_epoch(config, len(record.history), best)
    if best is not None and best.best is not None:
        log.info("%s", what_was_tested(record))
    if config["evaluate_after_training"] or not learns:
        chosen = folder.best_checkpoint if best is not None and best.best is not None else None
        if chosen is None:
            trainer.test(module, datamodule, verbose=False)
        else:
            with reading_checkpoint(chosen):
                trainer.test(module, datamodule, ckpt_path=str(chosen), weights_only=True, verbose=False)
        record.metrics = {
            key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("test/")
        }
        undefined = undefined_metric(record.metrics)
        if undefined is not None:
            raise diverged(trainer, module, undefined, None, record.env_steps)
    if trainer.is_global_zero and (learner is None or learner.meeting.number == 0):
        draw(module, folder, record, tracker)


def _tested_epoch(config: dict[str, Any], epochs: int, best: BestEpochs | None) -> dict[str, Any]:
    """What is tested, for the record; nothing where it is the last epoch's weights, as usual."""
    tested: dict[str, Any] = {}
    if best is not None and best.best is not None:
        epoch, value = best.best
        tested = {"epoch": epoch, "of": epochs, "monitor": best.monitor, "value": value}
        tested |= {"stopped_early": best.is_over}
    decay = config["trainer"].get(EMA)
    return tested if decay is None or not config["training"] else {**tested, "ema": decay}


def _tell(folder: RunFolder, taken: Taken) -> None:
    """Say what became of the weights that a network begins with, in short, and in the run's folder of each of them."""
    from visagent.networks.weights import CLASSIFIER

    others = [own for own in taken.kept if not own.startswith(CLASSIFIER)]
    for line in taken.lines():
        log.log(logging.WARNING if others else logging.INFO, "%s", line)
    write_atomically(folder.path / WEIGHTS, taken.table())
