"""A run of a search that ends early: its validation is worse than that of most others at the same epoch."""

from __future__ import annotations

import json
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from visagent.errors import ConfigError
from visagent.runtime.record import Record
from visagent.runtime.stopping import PRUNED, Pruned


class PruneByMedian(Checkpoint):
    """Asks Optuna's median pruner at the end of each epoch, once its checkpoint is written.

    A `Checkpoint` by type, and to be the last of them: see `visagent.runtime.callbacks.RecordEpochs`.

    Args:
        path: of what the search has written; see `visagent.search.study.Search.write_pruning`.
        record: of the run.

    Raises:
        ConfigError: when there is no such file.
    """

    def __init__(self, path: str, record: Record) -> None:
        try:
            self.known = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"prune={path}: expected the file of a search ({error}); type prune=null") from error
        self.record = record

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.world_size > 1:
            raise ConfigError(
                f"hydra.sweeper.prune=median: expected runs of one process, got {trainer.world_size} ranks; type "
                "hydra.sweeper.prune=none"
            )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs:
            return
        metric, epoch = self.known["metric"], trainer.current_epoch
        history = {int(number): values for number, values in self.record.history.items() if metric in values}
        if epoch not in history:
            return
        import optuna
        from optuna.trial import create_trial

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        # its epochs count from 0, ours that every run has from 1
        pruner = optuna.pruners.MedianPruner(max(1, self.known["startup"]), self.known["warmup"] - 1)
        study = optuna.create_study(direction=self.known["direction"], pruner=pruner)
        for others in self.known["others"]:
            values = {int(number): value for number, value in others.items()}
            study.add_trial(create_trial(value=list(values.values())[-1], intermediate_values=values))
        trial = study.ask()
        for number, shown in sorted(history.items()):
            trial.report(shown[metric], number)
        if trial.should_prune():
            raise Pruned(
                f"{PRUNED} epoch {epoch + 1}: {metric} has come to {history[epoch][metric]:.4g}, worse than the "
                f"median of {len(self.known['others'])} other runs"
            )
