"""The shared noise of evolution strategies: a perturbation is named by where it begins, and never sent (Salimans et al.
2017, Section 2.1).
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from visagent.errors import ConfigError


@dataclass(frozen=True)
class NoiseTable:
    """A block of standard normal numbers that every process of a machine maps from one file.

    It is a pure function of (seed, size): every machine makes its own file, the same one.

    Args:
        folder: where the file is; made where it is missing.
        seed: of the numbers.
        size: how many, 4 bytes each.
    """

    folder: str
    seed: int
    size: int

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.folder) / f"noise_{self.seed}_{self.size}.npy"

    @cached_property
    def numbers(self) -> NDArray[np.float32]:
        """All of them, read-only."""
        if not self.path.is_file():
            self._make()
        numbers: NDArray[np.float32] = np.load(self.path, mmap_mode="r")
        return numbers

    def __getstate__(self) -> dict[str, object]:
        """Fields alone: another process maps the file itself."""
        return {"folder": self.folder, "seed": self.seed, "size": self.size}

    def _make(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        numbers = np.random.default_rng(self.seed).standard_normal(self.size, np.float32)
        with tempfile.NamedTemporaryFile(dir=self.path.parent, suffix=".part", delete=False) as file:
            np.save(file, numbers)
        os.replace(file.name, self.path)  # whole or not at all, however many processes make it at once

    def offsets(self, count: int, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Where `count` perturbations of `length` numbers begin.

        Raises:
            ConfigError: when the table is too small for one.
        """
        if length > self.size:
            raise ConfigError(
                f"datamodule.noise_size: expected at least the {length} parameters of the policy, got {self.size}"
            )
        return rng.integers(0, self.size - length + 1, count)

    def rows(self, offsets: NDArray[np.int64], length: int) -> NDArray[np.float32]:
        """The perturbations `[N, length]` that begin there."""
        return np.stack([self.numbers[offset : offset + length] for offset in offsets])
