"""Arrays and weights that several processes of a machine see."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Mapping
from multiprocessing import get_context, parent_process
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.actors.pool import Weights


class SharedArrays:
    """Named arrays in memory that other processes see; it crosses to them when they start.

    The memory has no name in the file system, so nothing is left of it however the processes end.
    """

    def __init__(self, shapes: Mapping[str, tuple[tuple[int, ...], str]]) -> None:
        self.places: dict[str, tuple[int, tuple[int, ...], str]] = {}
        end = 0
        for name, (shape, dtype) in shapes.items():
            self.places[name] = (end, shape, dtype)
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            end += -(-size // 64) * 64
        self.memory = get_context("spawn").RawArray(ctypes.c_byte, max(end, 1))

    def views(self) -> dict[str, NDArray[Any]]:
        """The arrays."""
        arrays = {}
        for name, (offset, shape, dtype) in self.places.items():
            count = int(np.prod(shape, dtype=np.int64))
            arrays[name] = np.frombuffer(memoryview(self.memory), dtype, count, offset).reshape(shape)
        return arrays


class SharedWeights:
    """A policy's weights with their version, written by one process and read by many without a lock.

    The version is odd while they are written; a reader that saw it change reads again. A process killed at any moment
    blocks nobody.
    """

    VERSION = "version."

    def __init__(self, weights: Weights) -> None:
        shapes = {
            name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for name, tensor in weights.items()
        }
        self.shared = SharedArrays({self.VERSION: ((1,), "int64"), **shapes})

    def write(self, weights: Weights, version: int) -> None:
        """Publish weights as `version` (from 0)."""
        views = self.shared.views()
        views[self.VERSION][0] = 2 * version + 1
        for name, tensor in weights.items():
            np.copyto(views[name], tensor.detach().cpu().numpy())
        views[self.VERSION][0] = 2 * version + 2

    def version(self) -> int:
        """The last version written whole, -1 before the first."""
        return int(self.shared.views()[self.VERSION][0]) // 2 - 1

    def read(self) -> tuple[dict[str, Any], int]:
        """A copy of the weights, and their version."""
        import torch

        views = self.shared.views()
        while True:
            before = int(views[self.VERSION][0])
            copied = {name: torch.from_numpy(view.copy()) for name, view in views.items() if name != self.VERSION}
            if before % 2 == 0 and int(views[self.VERSION][0]) == before:
                return copied, before // 2 - 1
            writer = parent_process()
            if writer is not None and not writer.is_alive():  # killed while it wrote
                raise EOFError("whoever wrote the weights is gone")
            time.sleep(1e-4)
