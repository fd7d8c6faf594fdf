"""What DataModules ask the trainer: which share of a batch is this process's, and which epoch comes next."""

from __future__ import annotations

from typing import Any

from visagent.errors import ConfigError


def shard(trainer: Any, batch_size: int) -> tuple[int, int]:
    """(rank, world size) of this process; (0, 1) without a trainer.

    Raises:
        ConfigError: when the global batch does not divide by the number of ranks, with the nearest sizes that do.
    """
    world = trainer.world_size if trainer else 1
    if batch_size % world:
        lower = batch_size - batch_size % world
        raise ConfigError(f"datamodule.batch_size={batch_size} is not divisible by {world} ranks: use {lower or world} or {lower + world}")
    return (trainer.global_rank if trainer else 0, world)


def next_epoch(trainer: Any) -> int:
    """The epoch that is about to be trained; 0 without a trainer.

    Raises:
        ConfigError: when Lightning would not ask for each epoch's own data.
    """
    if trainer is None:
        return 0
    if trainer.max_epochs != 1 and trainer.reload_dataloaders_every_n_epochs != 1:
        raise ConfigError(f"each epoch has its own data: expected trainer.reload_dataloaders_every_n_epochs=1, got {trainer.reload_dataloaders_every_n_epochs}")
    return int(trainer.current_epoch)
