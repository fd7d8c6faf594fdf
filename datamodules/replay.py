"""Off-policy experience: actors write streams, shards of a replay keep them and draw batches."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from datamodules.actors import ActorDataModule
from datamodules.ranks import shard
from visagent.actors.exploration import Exploration
from visagent.actors.pool import ActorPool, Collected, SerialActors
from visagent.actors.process import ProcessActors
from visagent.actors.roles import Task
from visagent.actors.shards import ReplayShards, ShardOrder, shard_folder
from visagent.actors.transitions import TransitionRoleFactory
from visagent.config.reinforcement_schemas import ReplayDataSettings
from visagent.errors import ConfigError
from visagent.experience.replay import write_down
from visagent.experience.transitions import TransitionBatch


class ReplayDataModule(ActorDataModule):
    """Draws from a replay that actors fill.

    In an iteration every world takes T steps and the learner gets draws for U updates. The replay lies in memory-mapped
    files in the run's folder until the run is finished; a checkpoint holds the numbers of rows alone. Rows that were
    written after it do not touch those before, so that a resumed run draws what an unbroken one does.

    Args:
        settings: see `visagent.config.reinforcement_schemas.ReplayDataSettings`.

    Raises:
        ConfigError: when numbers do not divide.
    """

    settings: ReplayDataSettings

    def __init__(self, settings: ReplayDataSettings) -> None:
        super().__init__(settings)
        size, shards, self.steps = settings.batch_size, settings.shards, settings.steps
        self.streams = settings.actors * settings.worlds_per_actor
        if size % shards:
            lower = size - size % shards
            raise ConfigError(
                f"datamodule.batch_size={size} is not divisible by {shards} shards: use {lower or shards} or "
                f"{lower + shards}"
            )
        if self.streams < shards:
            raise ConfigError(f"datamodule.shards: expected at most {self.streams}, the number of worlds, got {shards}")
        self.first_tasks = -(-settings.warmup // self.steps_per_batch)
        self.stored = torch.zeros(self.streams, dtype=torch.int64)  # rows of the streams of all ranks, of a checkpoint
        self.replay: ActorPool | None = None
        self.drawn: Collected | None = None
        self.pending = self.resumed = False

    @property
    def steps_per_batch(self) -> int:
        """Steps of all worlds in an iteration."""
        return self.streams * self.steps

    def make_role(self, policy: nn.Module) -> TransitionRoleFactory:
        collect = self.settings.collect
        asks = {"dagger": "expert_action", "expert": "expert_action", "both": "expert_sample"}
        if collect in asks and not hasattr(policy, asks[collect]):
            method = "parallel_cloning" if collect == "both" else "self_expert_cloning"
            raise ConfigError(
                f"datamodule.collect={collect}: expected a method that imitates an expert, got a policy without one; "
                f"type datamodule.collect=policy, or algorithm={method}"
            )
        acting = (
            cast(Exploration, self.settings.exploration),  # what its settings name
            self.settings.worlds_per_actor,
            self.streams,
            self.steps,
            self.first_tasks,
            self.iterations_per_epoch,
            self.settings.seed,
            self.settings.collect,
        )
        return TransitionRoleFactory(self.env, self.spaces, policy, *acting)

    @property
    def folder(self) -> Path:
        """Folder of the replay's files."""
        return Path(self.trainer.default_root_dir) / "replay"  # type: ignore[union-attr]

    def _start_replay(self) -> ActorPool:
        assert self.actors is not None
        rank, world = shard(self.trainer, self.settings.shards, "datamodule.shards")
        count, streams = self.settings.shards // world, self.streams // world
        self.written = self.stored[rank * streams : (rank + 1) * streams].numpy().copy()
        # Behind the rows that are drawn from lie those that an unfinished epoch may overwrite, and frames of a stack.
        slack = 2 * self.steps * self.iterations_per_epoch + self.spaces.frames
        shards = ReplayShards(
            list(self.actors.slots),
            self.spaces,
            str(self.folder),
            rank * count,
            count,
            streams,
            max(self.settings.capacity // self.streams, 2 * self.steps),
            slack,
            self.settings.updates,
            self.settings.batch_size // self.settings.shards,
            self.settings.n_step,
            self.settings.seed,
        )
        for worker in range(count):
            store = shards.store(worker, fresh=not self.resumed)
            if self.resumed:
                store.require(self.written[list(shards.mine(worker))])
        if self.settings.pool == "serial":
            return SerialActors(shards, count)
        memory, timeout = self.settings.shared_memory, self.settings.timeout
        return ProcessActors(shards, count, {}, ahead=1, shared_memory=memory, timeout=timeout)

    def next_batch(self, epoch: int, iteration: int) -> TransitionBatch:
        batch = epoch * self.iterations_per_epoch + iteration
        self._settle()  # the actors are about to write where the replay reads
        collected = self.collect(epoch, iteration)
        if self.replay is None:
            self.replay = self._start_replay()
        if self.settings.prefetch and self.drawn is None:  # nothing was asked for yet in this process
            self._order(None, batch)
            self._settle()
        ready = self.drawn
        self._order(collected.slot, batch + 1 if self.settings.prefetch else batch)
        self.written += collected.arrays["length"]
        if not self.settings.prefetch:
            self._settle()
            ready = self.drawn
        assert ready is not None and self.trainer is not None
        timing = {**collected.timing, **{f"replay_{name}": seconds for name, seconds in ready.timing.items()}}
        return TransitionBatch.join(
            ready.arrays,
            self._updates(batch),
            self.steps_per_batch // self.trainer.world_size,
            collected.version,
            collected.episodes,
            timing,
        )

    def _updates(self, batch: int) -> int:
        return self.settings.updates if batch >= self.first_tasks else 0

    def _order(self, slot: int | None, batch: int) -> None:
        """Have all shards take in the rows of a slot, then draw a batch."""
        assert self.replay is not None
        self.replay.request(
            Task(0, batch, False, order=ShardOrder(slot, tuple(self.written.tolist()), self._updates(batch), batch))
        )
        self.pending = True

    def _settle(self) -> None:
        """Wait until the shards have done what they were told."""
        if self.pending:
            assert self.replay is not None
            self.drawn, self.pending = self.replay.receive(), False

    def state_dict(self) -> dict[str, Any]:
        self._settle()
        if self.replay is not None:
            write_down(self.folder)  # before the checkpoint says that they are there
            everyone = self.learner.ranks.all_gather(torch.from_numpy(self.written).to(self.learner.device))
            self.stored = torch.cat([part.cpu() for part in everyone])
        return {"written": self.stored}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stored = state_dict["written"]
        self.resumed = True

    def close(self) -> None:
        replay, self.replay, self.pending = self.replay, None, False
        try:
            if replay is not None:
                replay.close()
        finally:
            super().close()

    def teardown(self, stage: str) -> None:
        try:
            self._settle()  # the shards are to write all that they were told
        finally:
            super().teardown(stage)
        if stage == "fit" and self.trainer is not None and self.trainer.current_epoch >= (self.trainer.max_epochs or 0):
            self._remove_files()

    def _remove_files(self) -> None:
        """Give back the disk of this rank's shards; other ranks may still be writing theirs."""
        rank, world = shard(self.trainer, self.settings.shards, "datamodule.shards")
        count = self.settings.shards // world
        for number in range(rank * count, (rank + 1) * count):
            shutil.rmtree(shard_folder(self.folder, number), ignore_errors=True)
        with suppress(OSError):  # not empty, or not there: another rank's doing
            self.folder.rmdir()
