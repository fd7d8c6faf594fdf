"""Joining the newest frames of a world."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class FrameStack:
    """The newest frames of an observation, joined along their first axis; the first of an episode stands for those
    before it.

    Args:
        count: frames.
    """

    def __init__(self, count: int) -> None:
        self.frames: deque[Mapping[str, NDArray[Any]]] = deque(maxlen=count)
        self.count = count

    def begin(self, frame: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The first observation of an episode."""
        self.frames.extend([self._kept(frame)] * self.count)
        return self._joined()

    def add(self, frame: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The next one."""
        self.frames.append(self._kept(frame))
        return self._joined()

    def _kept(self, frame: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """A copy, as the world may write the next one in the same place; a single frame is not kept beyond its step."""
        return frame if self.count == 1 else {part: np.array(array) for part, array in frame.items()}

    def _joined(self) -> dict[str, NDArray[Any]]:
        if self.count == 1:
            return dict(self.frames[-1])
        return {part: np.concatenate([frame[part] for frame in self.frames]) for part in self.frames[-1]}

    def shapes(self, frame: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Shapes of what is joined, from those of one frame."""
        return {part: (shape[0] * self.count, *shape[1:]) for part, shape in frame.items()}
