"""What DataModules ask the trainer: which share of a batch is this process's, which epoch comes next, and what the
other processes found.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch

from visagent.errors import ConfigError

Found = TypeVar("Found")


def shard(trainer: Any, count: int, key: str = "datamodule.batch_size") -> tuple[int, int]:
    """(rank, world size) of this process; (0, 1) without a trainer.

    Args:
        trainer: Lightning's.
        count: of what all ranks share, such as the samples of a batch.
        key: of the config where it stands.

    Raises:
        ConfigError: when it cannot be divided by the number of ranks, with the nearest numbers that can.
    """
    world = trainer.world_size if trainer else 1
    if count % world:
        lower = count - count % world
        raise ConfigError(
            f"{key}={count} is not divisible by {world} ranks: use {f'{lower} or ' if lower else ''}{lower + world}"
        )
    return (trainer.global_rank if trainer else 0, world)


def of_all_ranks(trainer: Any, mine: Found) -> list[Found]:
    """What every rank has found, in the order of ranks: all of them must ask."""
    if not trainer or trainer.world_size == 1:
        return [mine]
    gathered: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, mine)
    return gathered


def next_epoch(trainer: Any) -> int:
    """The epoch that is about to be trained; 0 without a trainer.

    Raises:
        ConfigError: when Lightning would not ask for each epoch's own data.
    """
    if trainer is None:
        return 0
    if trainer.max_epochs != 1 and trainer.reload_dataloaders_every_n_epochs != 1:
        raise ConfigError(
            "each epoch has its own data: expected trainer.reload_dataloaders_every_n_epochs=1, got "
            f"{trainer.reload_dataloaders_every_n_epochs}"
        )
    return int(trainer.current_epoch)
