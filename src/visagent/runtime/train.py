"""`visagent-train`: one config, one recorded run."""

from __future__ import annotations

import logging
import os
import signal
import time
import traceback
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from visagent.config.schemas import TrainConfig
from visagent.config.signature import signature
from visagent.config.validation import check_targets, validate
from visagent.errors import ConfigError, UserError
from visagent.runtime.memory import keep_memory
from visagent.runtime.record import Record, RunFolder, command, commit, hardware, now, versions

if TYPE_CHECKING:
    import pytorch_lightning as pl

    from visagent.runtime.mlflow_logger import MLflowTracker

log = logging.getLogger(__name__)


class Cancelled(KeyboardInterrupt):
    """The user (Ctrl-C) or a scheduler (SIGTERM, whose number is the argument) ends the run."""


def train(config: DictConfig) -> Record:
    """Validate a composed config, then train, resume or report the run that it names.

    Args:
        config: composed from conf/train.yaml, without the `hydra` node.

    Returns:
        The finished run's record.

    Raises:
        UserError: for anything that the user can mend.
    """
    resolved = validate(config, TrainConfig)
    outputs = Path(resolved["paths"]["outputs"])
    name = signature(resolved)
    folder = RunFolder(resolved["paths"]["run"] or outputs / "runs" / name)
    folder.check(resolved)
    record = folder.load()
    if record is not None and record.status == "FINISHED":
        log.info("this run is finished (change seed=... or name=... for another):")
        _summarise(resolved, record, folder)
        return record
    if resolved["scale"] == "paper" and resolved["datamodule"].get("root") == "embedded":
        raise ConfigError("paths.videos: expected the real data set's folder at paper scale, got embedded; type paths.videos=DIR, or scale=laptop")
    check_targets(resolved)
    folder.create(resolved)
    if _rank() > 0:  # a rank that Lightning started: the first one keeps the record
        _fit(resolved, folder, record or _new_record(resolved, name), None)
        return record or _new_record(resolved, name)
    with folder.locked():
        record = folder.load() or _new_record(resolved, name)
        return _tracked(resolved, folder, record, outputs)


def _rank() -> int:
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_PROCID", "0")))


def _new_record(config: dict[str, Any], name: str) -> Record:
    return Record(signature=name, name=str(config["name"]), command=command(), seed=int(config["seed"]), scale=str(config["scale"]))


def _tracked(config: dict[str, Any], folder: RunFolder, record: Record, outputs: Path) -> Record:
    """Run with the record and the tracker kept true, however it ends."""
    if record.attempts:
        status = "cut off" if record.status == "RUNNING" else record.status
        log.info("resuming the run in %s (%s, %d epochs done)", folder.path, status, len(record.history))
    record.status, record.error, record.command = "RUNNING", None, command()
    record.commit, record.versions, record.hardware = commit(), versions(), hardware()
    record.attempts += 1
    began, before = time.monotonic(), record.seconds
    folder.save(record)
    tracker: MLflowTracker | None = None
    received: list[int] = []
    try:
        with _sigterm_cancels(received):
            tracker = _tracker(config, folder, record, outputs)
            _fit(config, folder, record, tracker)
            record.status = "FINISHED"
    except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns the former into the latter
        record.status = "KILLED"
        raise Cancelled(*received) from stop
    except UserError as error:
        record.status, record.error = "FAILED", str(error)
        raise
    except BaseException:
        record.status, record.error = "FAILED", traceback.format_exc()
        raise
    finally:
        record.seconds, record.finished = before + time.monotonic() - began, now()
        folder.save(record)
        if tracker is not None:
            tracker.save_artifact(folder.path / "record.json")
            tracker.close(record.status)
    _summarise(config, record, folder)
    return record


def _summarise(config: dict[str, Any], record: Record, folder: RunFolder) -> None:
    if config["progress"]["summary"]:
        from visagent.runtime.report import print_table

        print_table(record, folder)


@contextmanager
def _sigterm_cancels(received: list[int]) -> Iterator[None]:
    """While training, SIGTERM ends the run like Ctrl-C does, so that it is recorded as KILLED; its number goes to `received`."""

    def cancel(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise Cancelled(number)

    try:
        before = signal.signal(signal.SIGTERM, cancel)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _tracker(config: dict[str, Any], folder: RunFolder, record: Record, outputs: Path) -> MLflowTracker | None:
    if not config["logger"]["enabled"]:
        return None
    from visagent.runtime.mlflow_logger import MLflowTracker
    from visagent.runtime.tracking import connect, tracking_uri

    uri = tracking_uri(config["logger"], outputs)
    client, experiment = connect(uri, config["logger"]["experiment"], outputs)
    tags = {
        "visagent.signature": record.signature,
        "visagent.kind": "run",
        "visagent.scale": record.scale,
        "visagent.commit": record.commit,
        "visagent.folder": str(folder.path.resolve()),
        "visagent.command": record.command,
    }
    known = record.mlflow_run_id if record.tracking_uri == uri else None
    tracker = MLflowTracker.open(client, experiment, known, f"{record.name}-s{record.seed}", config, tags)
    if record.mlflow_run_id != tracker.run_id:
        tracker.save_artifact(folder.path / "config.yaml")
    record.mlflow_run_id, record.tracking_uri = tracker.run_id, uri
    folder.save(record)
    return tracker


def build(config: dict[str, Any]) -> tuple[pl.LightningModule, pl.LightningDataModule]:
    """The module and the DataModule that a resolved config names.

    Raises:
        UserError: when one of them refuses its settings.
    """
    datamodule: pl.LightningDataModule = _make("datamodule", config["datamodule"])
    module: pl.LightningModule = _make("algorithm", config["algorithm"], network=config["network"], optimizer=config["optimizer"])
    return module, datamodule


def build_trainer(config: dict[str, Any], **settings: Any) -> pl.Trainer:
    """The Trainer that a resolved config names, with further arguments.

    Raises:
        ConfigError: when Lightning refuses the settings.
    """
    trainer: pl.Trainer = _make("trainer", config["trainer"], **settings)
    return trainer


def _make(group: str, config: dict[str, Any], **settings: Any) -> Any:
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate

    try:
        return instantiate(config, **settings)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from error
        given = ", ".join(f"{group}.{key}={value}" for key, value in config.items() if not key.startswith("_") and not isinstance(value, dict))
        raise ConfigError(f"{group}: {cause or error}; its settings are {given}") from error


def check_checkpoint(path: Path) -> None:
    """Refuse a checkpoint that is not whole (checkpoints are zip archives; a cut one has lost its directory).

    Raises:
        ConfigError: with what to do.
    """
    if not zipfile.is_zipfile(path):
        raise ConfigError(f"checkpoint {path}: expected a whole file, got one that does not read; delete it to train the run anew")


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
    warnings.filterwarnings("ignore", message=".*`LightningModule.configure_optimizers` returned `None`.*")


def forget_absent_gpu() -> None:
    """Undo what importing Lightning did where there is no GPU; call it afterwards.

    It has PyTorch look for one through NVML, which guards processes that fork from a GPU. Every step of an optimizer looks, and without NVML each
    look searches the disk for it: 40 microseconds, a tenth of a small network's step.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


def _fit(config: dict[str, Any], folder: RunFolder, record: Record, tracker: MLflowTracker | None) -> None:
    prepare(config["threads"])
    import pytorch_lightning as pl

    forget_absent_gpu()

    from visagent.runtime.callbacks import AtomicCheckpointIO, EpochCheckpoint, Progress, RandomState, RecordEpochs
    from visagent.runtime.divergence import StopWhereDiverged, diverged, undefined_metric

    pl.seed_everything(config["seed"], workers=True, verbose=False)
    module, datamodule = build(config)
    callbacks: list[pl.Callback] = [RandomState(), RecordEpochs(folder, record), StopWhereDiverged(), EpochCheckpoint(folder.checkpoint)]
    if config["progress"]["bar"]:
        callbacks.append(Progress(refresh_rate=config["progress"]["refresh_rate"]))
    trainer = build_trainer(
        config,
        callbacks=callbacks,
        logger=tracker or False,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=config["progress"]["bar"],
        default_root_dir=str(folder.path),
    )
    record.hardware["device"] = _device_name(trainer)
    resumed = folder.checkpoint.is_file()
    if resumed:
        check_checkpoint(folder.checkpoint)
    trainer.fit(module, datamodule, ckpt_path=str(folder.checkpoint) if resumed else None, weights_only=True)
    if config["evaluate_after_training"]:
        trainer.test(module, datamodule, verbose=False)
        record.metrics = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("test/")}
        undefined = undefined_metric(record.metrics)
        if undefined is not None:
            raise diverged(trainer, module, undefined, None, record.env_steps)
    if trainer.is_global_zero:
        draw(module, folder, record, tracker)


def _device_name(trainer: pl.Trainer) -> str:
    import torch

    device = trainer.strategy.root_device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{trainer.world_size} x {name}"


def draw(module: pl.LightningModule, folder: RunFolder, record: Record, tracker: MLflowTracker | None) -> None:
    """Save the learning curves and the module's own `figures()` and `videos()` in the run folder and as artifacts."""
    from visagent.runtime.report import learning_curves

    figures = dict(getattr(module, "figures", dict)())
    curves = learning_curves(record)
    if curves is not None:
        figures["learning_curves"] = curves
    folder.figures.mkdir(exist_ok=True)
    for name, figure in figures.items():
        path = folder.figures / f"{name}.png"
        figure.savefig(path, dpi=110, bbox_inches="tight")
        if tracker is not None:
            tracker.save_artifact(path, "figures")
    for name, film in dict(getattr(module, "videos", dict)()).items():
        path = folder.path / "videos" / f"{name}.mp4"
        try:
            film.make(path)
        except UserError as error:  # the numbers are there; a training does not fail for want of a picture
            log.warning("no film of %s: %s", name, error)
            continue
        if tracker is not None:
            tracker.save_artifact(path, "videos")
