"""Replay of streams of rows: uniform draws, n-step returns and frame stacks rebuilt from rows that are kept once, on
disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.errors import UserError
from visagent.experience.rollouts import PREFIX
from visagent.experience.transitions import Columns

BEGIN_ANEW = "delete the run's folder to begin anew"


class ReplayMissing(UserError):
    """The files of a replay are not those that a resumed run needs."""


def write_down(folder: Path) -> None:
    """Have the operating system write the rows below a folder to the disk, whichever processes wrote them into its
    memory.
    """
    for path in sorted(folder.rglob("*.npy")):
        with path.open("rb+") as file:
            os.fsync(file.fileno())


class ReplayStore:
    """The newest rows of S streams, each in a ring of its own, in memory-mapped files.

    A row is named by its number in its stream, from 0. What the store holds is said by whoever keeps the numbers
    `written` `[S]`; the store itself keeps rows alone, so that writing the same rows again changes nothing.

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
                rows = np.load(path, mmap_mode="r+")
            except (OSError, ValueError) as error:
                raise ReplayMissing(
                    f"replay {path}: expected the rows of the run that is resumed ({error}); {BEGIN_ANEW}"
                ) from error
            if rows.shape != expected or rows.dtype != dtype:
                got = f"{rows.dtype} {list(rows.shape)}"
                raise ReplayMissing(f"replay {path}: expected {dtype} {list(expected)}, got {got}; {BEGIN_ANEW}")
            self.rows[name] = rows

    def write(self, stream: int, number: int, rows: Mapping[str, NDArray[Any]], count: int) -> None:
        """Put `count` rows in a stream, the first as row `number`."""
        start = number % self.ring
        head = min(count, self.ring - start)
        for name, kept in self.rows.items():
            kept[stream, start : start + head] = rows[name][:head]
            kept[stream, : count - head] = rows[name][head:count]

    def draw(
        self, written: NDArray[np.int64], count: int, n_step: int, frames: int, rng: np.random.Generator
    ) -> dict[str, NDArray[Any]]:
        """Uniform draws of rows that have a successor, and all frames of their stack.

        From each, the successor k steps later is taken, k being `n_step` or as many as are known: up to the episode's
        end, the end of the stream, or a break in it (an actor that died, a new epoch, rows that were dropped and made
        again).

        Args:
            written: `[S]` rows of each stream so far.
            count: N.
            n_step: n.
            frames: of a stack, the newest last.

        Raises:
            UserError: when nothing was written yet.
            ReplayMissing: when no row can be drawn.

        Returns:
            As `visagent.experience.transitions.draw_fields`, `[N, ...]`.
        """
        stream, number, steps = self._valid(written, count, n_step, frames, rng)
        ahead = number[:, None] + np.arange(n_step)
        used = np.arange(n_step) < steps[:, None]
        place = ahead % self.ring
        last = (number + steps - 1) % self.ring
        batch = {
            "action": self.rows["action"][stream, number % self.ring],
            "rewards": np.where(used, self.rows["reward"][stream[:, None], place], np.float32(0)),
            "steps": steps,
            "terminated": self.rows["terminated"][stream, last],
        }
        for name, kept in self.rows.items():
            if name.startswith(PREFIX):
                batch[name] = self._stack(kept, stream, number, frames)
                batch[f"next_{name}"] = self._stack(kept, stream, number + steps, frames)
        return batch

    def _valid(
        self, written: NDArray[np.int64], count: int, n_step: int, frames: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], ...]:
        window = np.minimum(written, self.capacity)
        borders = np.cumsum(window)
        if not borders[-1]:
            raise UserError(
                "replay: expected rows to draw from, got none; type datamodule.warmup=1000 or another number of steps "
                "above 0"
            )
        draws: list[tuple[NDArray[np.int64], ...]] = []
        missing = count
        while missing > 0:
            flat = rng.integers(0, borders[-1], missing + missing // 4 + 8)
            stream = np.searchsorted(borders, flat, side="right")
            number = written[stream] - borders[stream] + flat
            steps = self._known(stream, number, written, n_step)
            keep = np.flatnonzero((steps > 0) & self._whole(stream, number, frames))[:missing]
            if not len(keep) and not self._any(written, window, n_step, frames):
                raise ReplayMissing(
                    f"replay {self.folder}: expected rows that follow each other among {borders[-1]}, got none; "
                    f"{BEGIN_ANEW}, or type datamodule.steps=32"
                )
            draws.append((stream[keep], number[keep], steps[keep]))
            missing -= len(keep)
        return tuple(np.concatenate(parts) for parts in zip(*draws, strict=True))

    def _known(
        self, stream: NDArray[np.int64], number: NDArray[np.int64], written: NDArray[np.int64], n_step: int
    ) -> NDArray[np.int64]:
        """How many steps after each row, up to n, are known: 0 for the rows that nothing follows."""
        ahead = number[:, None] + np.arange(n_step + 1)
        place = ahead % self.ring
        serial = self.rows["serial"][stream[:, None], place]
        goes_on = (serial == serial[:, :1] + np.arange(n_step + 1)) & (ahead < written[stream][:, None])
        goes_on[:, 1:] &= ~self.rows["final"][stream[:, None], place[:, :-1]]
        known: NDArray[np.int64] = np.logical_and.accumulate(goes_on, axis=1).sum(axis=1) - 1
        return known

    def _whole(self, stream: NDArray[np.int64], number: NDArray[np.int64], frames: int) -> NDArray[np.bool_]:
        """Whether the frames before each row, up to its episode's first, lie before it in its stream."""
        place = number % self.ring
        serial = self.rows["serial"][stream, place]
        back = np.minimum(np.arange(frames), self.rows["step"][stream, place].astype(np.int64)[:, None])
        before = number[:, None] - back
        there = (self.rows["serial"][stream[:, None], before % self.ring] == serial[:, None] - back) & (before >= 0)
        whole: NDArray[np.bool_] = there.all(axis=1) & (serial > 0)
        return whole

    def _any(self, written: NDArray[np.int64], window: NDArray[np.int64], n_step: int, frames: int) -> bool:
        """Whether there is any row to draw."""
        for stream, (end, count) in enumerate(zip(written, window, strict=True)):
            number = np.arange(end - count, end)
            where = np.full(count, stream)
            if ((self._known(where, number, written, n_step) > 0) & self._whole(where, number, frames)).any():
                return True
        return False

    def require(self, written: NDArray[np.int64]) -> None:
        """Make sure that the rows are there which a resumed run draws from.

        Args:
            written: `[S]` rows of each stream.

        Raises:
            ReplayMissing: naming those that are not.
        """
        for stream, end in enumerate(written):
            number = np.arange(max(0, end - self.capacity), end)
            lost = number[self.rows["serial"][stream, number % self.ring] == 0]
            if len(lost):
                got = f"{len(lost)} of {len(number)} never written, the first of them row {lost[0]}"
                raise ReplayMissing(
                    f"replay {self.folder}: expected the rows of the run that is resumed, got {got} in stream "
                    f"{stream}; {BEGIN_ANEW}"
                )

    def _stack(
        self, kept: NDArray[Any], stream: NDArray[np.int64], number: NDArray[np.int64], frames: int
    ) -> NDArray[Any]:
        stacked: NDArray[Any] = kept[stream, number % self.ring]
        if frames == 1:
            return stacked
        step = self.rows["step"][stream, number % self.ring].astype(np.int64)
        back = np.minimum(np.arange(frames - 1, -1, -1), step[:, None])
        stacked = kept[stream[:, None], (number[:, None] - back) % self.ring]
        return stacked.reshape(len(stream), frames * kept.shape[2], *kept.shape[3:])

    def flush(self) -> None:
        """Have the operating system write everything down."""
        write_down(self.folder)
