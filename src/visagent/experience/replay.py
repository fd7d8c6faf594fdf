"""Replay of streams of rows: uniform draws, n-step returns and frame stacks rebuilt from rows that are kept once, on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.errors import UserError
from visagent.experience.rollouts import PREFIX
from visagent.experience.transitions import Columns


class ReplayMissing(UserError):
    """The files of a replay are not those that a resumed run needs."""


class ReplayStore:
    """The newest rows of S streams, each in a ring of its own, in memory-mapped files.

    A row is named by its number in its stream, from 0. What the store holds is said by whoever keeps the numbers `written` `[S]`; the store itself
    keeps rows alone, so that writing the same rows again changes nothing.

    Args:
        folder: of the files, one for each column.
        columns: of a row.
        streams: S.
        capacity: rows of a stream that are drawn from.
        slack: further rows that stay readable behind them: frames of a stack, and what a resumed run goes back to.
        fresh: make the files anew; otherwise they must be there.

    Raises:
        ReplayMissing: when they are not there, or hold other rows.
    """

    def __init__(self, folder: Path, columns: Columns, streams: int, capacity: int, slack: int, fresh: bool) -> None:
        self.folder, self.streams, self.capacity, self.ring = folder, streams, capacity, capacity + slack
        folder.mkdir(parents=True, exist_ok=True)
        self.rows: dict[str, NDArray[Any]] = {}
        for name, (shape, dtype) in columns.items():
            path, expected = folder / f"{name}.npy", (streams, self.ring, *shape)
            if fresh:
                np.lib.format.open_memmap(path, "w+", dtype, expected).flush()  # type: ignore[no-untyped-call]
            try:
                found = np.load(path, mmap_mode="r+")
            except (OSError, ValueError) as error:
                raise ReplayMissing(f"replay {path}: expected the rows of the run that is resumed ({error}); delete the run's folder to begin anew") from error
            if found.shape != expected or found.dtype != dtype:
                got = f"{found.dtype} {list(found.shape)}"
                raise ReplayMissing(f"replay {path}: expected {dtype} {list(expected)}, got {got}; delete the run's folder to begin anew")
            self.rows[name] = found

    def write(self, stream: int, number: int, rows: Mapping[str, NDArray[Any]], count: int) -> None:
        """Put `count` rows in a stream, the first as row `number`."""
        start = number % self.ring
        head = min(count, self.ring - start)
        for name, kept in self.rows.items():
            kept[stream, start : start + head] = rows[name][:head]
            kept[stream, : count - head] = rows[name][head:count]

    def draw(self, written: NDArray[np.int64], count: int, n_step: int, frames: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Uniform draws of rows that have a successor.

        From each, the successor k steps later is taken, k being `n_step` or as many as are known: up to the episode's end, the end of the stream,
        or a break in it (an actor that died, a new epoch).

        Args:
            written: `[S]` rows of each stream so far.
            count: N.
            n_step: n.
            frames: of a stack, the newest last.

        Raises:
            UserError: when nothing was written yet.

        Returns:
            As `visagent.experience.transitions.draw_fields`, `[N, ...]`.
        """
        stream, number, steps = self._valid(written, count, n_step, rng)
        ahead = number[:, None] + np.arange(n_step)
        used = np.arange(n_step) < steps[:, None]
        place = ahead % self.ring
        last = (number + steps - 1) % self.ring
        found = {
            "action": self.rows["action"][stream, number % self.ring],
            "rewards": np.where(used, self.rows["reward"][stream[:, None], place], np.float32(0)),
            "steps": steps,
            "terminated": self.rows["terminated"][stream, last],
        }
        for name, kept in self.rows.items():
            if name.startswith(PREFIX):
                found[name] = self._stack(kept, stream, number, frames)
                found[f"next_{name}"] = self._stack(kept, stream, number + steps, frames)
        return found

    def _valid(self, written: NDArray[np.int64], count: int, n_step: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], ...]:
        window = np.minimum(written, self.capacity)
        borders = np.cumsum(window)
        if not borders[-1]:
            raise UserError("replay: expected rows to draw from, got none; type datamodule.warmup=1000 or another number of steps above 0")
        found: list[tuple[NDArray[np.int64], ...]] = []
        missing = count
        while missing > 0:
            flat = rng.integers(0, borders[-1], missing + missing // 4 + 8)
            stream = np.searchsorted(borders, flat, side="right")
            number = written[stream] - borders[stream] + flat
            steps = self._known(stream, number, written, n_step)
            keep = np.flatnonzero(steps > 0)[:missing]
            found.append((stream[keep], number[keep], steps[keep]))
            missing -= len(keep)
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def _known(self, stream: NDArray[np.int64], number: NDArray[np.int64], written: NDArray[np.int64], n_step: int) -> NDArray[np.int64]:
        """How many steps after each row, up to n, are known: 0 for the rows that nothing follows."""
        ahead = number[:, None] + np.arange(n_step + 1)
        place = ahead % self.ring
        step = self.rows["step"][stream[:, None], place].astype(np.int64)
        goes_on = (step == step[:, :1] + np.arange(n_step + 1)) & (ahead < written[stream][:, None])
        goes_on[:, 1:] &= ~self.rows["final"][stream[:, None], place[:, :-1]]
        known: NDArray[np.int64] = np.logical_and.accumulate(goes_on, axis=1).sum(axis=1) - 1
        return known

    def _stack(self, kept: NDArray[Any], stream: NDArray[np.int64], number: NDArray[np.int64], frames: int) -> NDArray[Any]:
        stacked: NDArray[Any] = kept[stream, number % self.ring]
        if frames == 1:
            return stacked
        step = self.rows["step"][stream, number % self.ring].astype(np.int64)
        back = np.minimum(np.arange(frames - 1, -1, -1), step[:, None])
        stacked = kept[stream[:, None], (number[:, None] - back) % self.ring]
        return stacked.reshape(len(stream), frames * kept.shape[2], *kept.shape[3:])

    def flush(self) -> None:
        """Have the operating system write everything down."""
        for kept in self.rows.values():
            if isinstance(kept, np.memmap):
                kept.flush()
