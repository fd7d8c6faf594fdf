"""What a world shows and takes, in plain Python: enough to build a policy without the world."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ActionSpace:
    """What a policy chooses from.

    Attributes:
        kind: `continuous`, A numbers in [-1, 1], or `discrete`, one of A.
        size: A.
    """

    kind: str
    size: int

    def __post_init__(self) -> None:
        if self.kind not in ("continuous", "discrete") or self.size < 1:
            raise ValueError(
                f"ActionSpace: expected continuous or discrete and a size of at least 1, got {self.kind!r} and "
                f"{self.size}"
            )


@dataclass(frozen=True)
class WorldSpaces:
    """Shapes of one observation and the actions.

    Attributes:
        observation: by part: `state` is a float32 vector `(D,)`, `pixels` is a uint8 picture `(C, H, W)`; one of them
            or both.
        action: what is chosen.
        frames: that an observation joins along its first axis, the newest last; the first of an episode stands for
            those before it.
    """

    observation: Mapping[str, tuple[int, ...]]
    action: ActionSpace
    frames: int = 1

    def only(self, names: Collection[str]) -> WorldSpaces:
        """The same with some parts of the observation alone.

        Raises:
            ValueError: when there is none of them.
        """
        return replace(self, observation={name: shape for name, shape in self.observation.items() if name in names})

    @property
    def frame(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the newest frame alone."""
        return {name: (shape[0] // self.frames, *shape[1:]) for name, shape in self.observation.items()}

    def __post_init__(self) -> None:
        ranks = {"state": 1, "pixels": 3}
        for name, shape in self.observation.items():
            if name not in ranks or len(shape) != ranks[name]:
                raise ValueError(f"WorldSpaces: expected state (D,) or pixels (C, H, W), got {name} {shape}")
            if shape[0] % self.frames:
                raise ValueError(f"WorldSpaces: expected {name} of {self.frames} joined frames, got {shape}")
        if not self.observation:
            raise ValueError("WorldSpaces: expected state or pixels, got neither")
