"""What every run needs from Lightning: all random state in the checkpoint, atomic checkpoints, the record."""

from __future__ import annotations

import io
import os
import random
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback, Checkpoint

from visagent.errors import DivergedError
from visagent.runtime.allocation import this_node
from visagent.runtime.best import BestEpochs, require_metric
from visagent.runtime.checkpoints import FORMAT, STAMP, check_content, reading_checkpoint
from visagent.runtime.mlflow_logger import MLflowTracker
from visagent.runtime.record import Record
from visagent.runtime.run_folder import RunFolder


def random_state(device: torch.device) -> dict[str, Any]:
    """The global generators of this process, and that of its device, as tensors and plain Python."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, state, gauss_next = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state(device)] if device.type == "cuda" else [],
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(gauss)],
        "python": [version, list(state), gauss_next],
    }


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Put the generators where they were."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and device.type == "cuda":
        # Earlier checkpoints hold the generators of all devices that the first process saw.
        torch.cuda.set_rng_state(state["cuda"][device.index or 0 if len(state["cuda"]) > 1 else 0], device)
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    version, numbers, gauss_next = state["python"]
    random.setstate((version, tuple(numbers), gauss_next))


class RandomState(Callback):
    """Saves the global generators of every rank, which Lightning does not: a resumed run then ends bitwise like an
    unbroken one.

    Tensors and plain Python only, so that checkpoints load with `weights_only=True`.
    """

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        own = random_state(trainer.strategy.root_device)
        everyone: list[Any] = [own] * trainer.world_size
        if trainer.world_size > 1:  # a checkpoint is made by all ranks and written by the first
            torch.distributed.all_gather_object(everyone, own)
        checkpoint["random_state"] = everyone

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = checkpoint["random_state"]
        states = saved if isinstance(saved, list) else [saved]  # earlier checkpoints hold the first rank's alone
        self._waiting = states[trainer.global_rank % len(states)]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # As late as can be: setting up the resumed run may draw numbers too.
        waiting = self.__dict__.pop("_waiting", None)
        if waiting is None:
            return
        restore_random_state(waiting, trainer.strategy.root_device)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it once it is on the disk: a kill, or a loss of power, leaves
    the old one whole.

    The one before is kept as `previous.ckpt`, in case the disk spoils the last.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        partial = path.with_name(f"{path.name}.partial")
        buffer = io.BytesIO()
        torch.save({**checkpoint, STAMP: {"format": FORMAT, "version": version("visagent")}}, buffer)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from error
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        if path.is_file():
            os.replace(path, path.with_name("previous.ckpt"))
        os.replace(partial, path)
        _settle_folder(path.parent)

    def load_checkpoint(self, path: Any, *arguments: Any, **settings: Any) -> dict[str, Any]:
        with reading_checkpoint(Path(path)):
            checkpoint = super().load_checkpoint(path, *arguments, **settings)
        check_content(Path(path), checkpoint)
        return checkpoint


def _settle_folder(folder: Path) -> None:
    """Have the names in a folder on the disk too."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


class EpochCheckpoint(Checkpoint):
    """Saves everything at the end of every epoch to one file, and nowhere else.

    `ModelCheckpoint(save_top_k=0, save_last=True)` looks like the same but saves nothing until the run ends.

    Args:
        path: the file.
        tracker: what is told of metrics; it has all of the epoch's on the disk before the checkpoint is.
        best: keeps those of the best epochs.
        untrained: whether nothing is trained: what is tested is saved before that.
        objective: metric of validation that a search asks for.
    """

    def __init__(
        self,
        path: Path,
        tracker: MLflowTracker | None = None,
        best: BestEpochs | None = None,
        untrained: bool = False,
        objective: str | None = None,
    ) -> None:
        self.path, self.tracker, self.best, self.untrained = path, tracker, best, untrained
        self.objective = objective
        self.validated = False
        self.resuming: tuple[pl.Trainer, int] | None = None

    def state_dict(self) -> dict[str, Any]:
        return {} if self.best is None else self.best.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.best is None or self.resuming is None:
            return
        (trainer, epoch), self.resuming = self.resuming, None
        self.best.load_state_dict(state_dict)
        if self.best.looked == epoch and trainer.is_global_zero:
            self.best.keep(Path(str(trainer.ckpt_path)))  # the run may have been ended before that
        trainer.should_stop = self.best.is_over

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if trainer.state.fn == "fit":  # not of a best epoch, which is tested
            self.resuming = trainer, int(checkpoint["epoch"])

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.validated = True

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.untrained:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        values = trainer._logger_connector.metrics["log"]  # on all ranks: reading may reduce over them
        if self.tracker is not None:
            logged = {key: float(value) for key, value in values.items()}
            step = logged.pop("step", trainer.fit_loop.epoch_loop._batches_that_stepped - 1)
            self.tracker.log_early(logged, int(step))
            self.tracker.before_checkpoint()
        looked = self.best is not None and self.validated
        there = {key: float(value) for key, value in trainer.callback_metrics.items()} if self.validated else {}
        if self.validated and self.objective is not None:
            require_metric("objective", self.objective, there)  # not when the run has come to its end
        self.validated = False
        if self.best is not None and looked:
            self.best.look(trainer.current_epoch, there)
        trainer.save_checkpoint(self.path)
        if self.best is not None and looked:
            if trainer.is_global_zero and self.best.looked == trainer.current_epoch:
                self.best.keep(self.path)
            trainer.should_stop = trainer.should_stop or self.best.is_over
        if self.tracker is not None:
            self.tracker.after_checkpoint()


class RecordEpochs(Checkpoint):
    """Writes each epoch's metrics into the record; an epoch run again after a resume overwrites its entry.

    A `Checkpoint` by type, because Lightning calls those after the module's own hook at an epoch's end.

    Args:
        folder, record: of the run.
        learners: that the run has, each with devices like these.
    """

    def __init__(self, folder: RunFolder, record: Record, learners: int = 1) -> None:
        self.folder, self.record, self.learners = folder, record, learners
        self.written = -1

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Name the machines and devices of all ranks."""
        there = [(this_node(), device_name(trainer.strategy.root_device))] * trainer.world_size
        if trainer.world_size > 1:
            torch.distributed.all_gather_object(there, there[0])
        self.record.hardware["nodes"] = ", ".join(dict.fromkeys(node for node, _ in there))
        devices = Counter(device for _, device in there)
        named = ", ".join(f"{count * self.learners} x {device}" for device, count in devices.items())
        self.record.hardware["device"] = named

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if "device" not in self.record.hardware:  # nothing has been trained
            self.on_fit_start(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.written = trainer.current_epoch
        self._write(trainer, pl_module, {key: float(value) for key, value in trainer.callback_metrics.items()})

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Keep what a run showed that diverged inside an epoch; what was evaluated is of the epoch before."""
        if isinstance(exception, DivergedError) and self.written != trainer.current_epoch:
            self._write(
                trainer,
                pl_module,
                {key: float(value) for key, value in trainer.callback_metrics.items() if not key.startswith("val/")},
            )

    def _write(self, trainer: pl.Trainer, pl_module: pl.LightningModule, values: Mapping[str, float]) -> None:
        """On all ranks: reading the values may reduce over them."""
        if not trainer.is_global_zero:
            return
        self.record.idle_attempts = 0
        # what is undefined stands there as NaN
        self.record.history[str(trainer.current_epoch)] = dict(sorted(values.items()))
        self.record.env_steps = int(getattr(pl_module, "env_steps", 0))  # none where the data come from files
        self.folder.save(self.record)


def device_name(device: torch.device) -> str:
    """What a device is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
