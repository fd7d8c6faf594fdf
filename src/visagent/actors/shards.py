"""Shards of a replay, each in a worker of its own: they take what some of the actors wrote and draw their share of a
batch.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.actors.pool import Slot
from visagent.actors.roles import Report, Task
from visagent.envs.spaces import WorldSpaces
from visagent.experience.replay import ReplayStore
from visagent.experience.rollouts import Field
from visagent.experience.transitions import draw_fields, row_columns
from visagent.seeding import derive_seed


@dataclass(frozen=True)
class ShardOrder:
    """What a shard is to do; done twice, it leaves the same.

    Attributes:
        slot: of the actors' pool whose rows are to be taken in; None for none.
        written: rows of every stream before that.
        updates: for how many to draw.
        batch: number of the batch that is drawn, for its random numbers.
    """

    slot: int | None
    written: tuple[int, ...]
    updates: int
    batch: int


@dataclass(frozen=True)
class ReplayShards:
    """Makes the shards of one rank; each has streams that follow each other.

    Args:
        sources: where the actors' rows lie.
        spaces: of the worlds.
        folder: of the replay's files.
        first: number of this rank's first shard, of those of all ranks.
        shards: how many.
        streams: of these shards together.
        capacity, slack: of each stream; see `ReplayStore`.
        updates, count: U, and N of one shard.
        n_step: n.
        seed: of the draws.
    """

    sources: Sequence[Slot]
    spaces: WorldSpaces
    folder: str
    first: int
    shards: int
    streams: int
    capacity: int
    slack: int
    updates: int
    count: int
    n_step: int
    seed: int

    def fields(self) -> dict[str, Field]:
        return draw_fields(self.spaces, self.updates, self.count, self.n_step)

    def store(self, worker: int, fresh: bool) -> ReplayStore:
        """The rows of shard `worker`."""
        folder = shard_folder(Path(self.folder), self.first + worker)
        return ReplayStore(folder, row_columns(self.spaces), len(self.mine(worker)), self.capacity, self.slack, fresh)

    def mine(self, worker: int) -> range:
        """The streams of shard `worker`."""
        return range(worker * self.streams // self.shards, (worker + 1) * self.streams // self.shards)

    def __call__(self, worker: int) -> ReplayShard:
        return ReplayShard(self, worker)


def shard_folder(replay: Path, number: int) -> Path:
    """Where shard `number`, of those of all ranks, has its files."""
    return replay / f"shard_{number}"


class ReplayShard:
    """One shard; its files must be there."""

    def __init__(self, factory: ReplayShards, worker: int) -> None:
        self.factory, self.worker = factory, worker
        self.mine = factory.mine(worker)
        self.store = factory.store(worker, fresh=False)
        self.sources = [source.views() for source in factory.sources]

    @property
    def policy(self) -> Any:
        """Always None: a shard acts by no policy."""
        return None

    def run(self, task: Task, out: Mapping[str, NDArray[Any]], version: int) -> Report:
        order: ShardOrder = task.order
        began = time.perf_counter()
        written = np.array([order.written[stream] for stream in self.mine], np.int64)
        if order.slot is not None:
            source = self.sources[order.slot]
            for place, stream in enumerate(self.mine):
                count = int(source["length"][stream])
                rows = {name: array[stream] for name, array in source.items() if name != "length"}
                self.store.write(place, int(written[place]), rows, count)
                written[place] += count
        stored = time.perf_counter()
        rng = np.random.default_rng(
            derive_seed(self.factory.seed, "draw", order.batch, self.factory.first + self.worker)
        )
        for update in range(order.updates):
            for name, array in self.store.draw(
                written, self.factory.count, self.factory.n_step, self.factory.spaces.frames, rng
            ).items():
                out[name][update] = array
        return Report(version, (), {"store": stored - began, "draw": time.perf_counter() - stored})

    def close(self) -> None:
        self.store.flush()
