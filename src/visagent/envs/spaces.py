"""What a world shows and takes, in plain Python: enough to build a policy without the world."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class ActionSpace:
    """What a policy chooses from.

    Attributes:
        kind: `continuous`, A numbers in [-1, 1]; `discrete`, one of A; or `multi_discrete`, A numbers, each one of its
            own choices.
        size: A.
        choices: of each number of a multi-discrete action.
    """

    kind: str
    size: int
    choices: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in ("continuous", "discrete", "multi_discrete") or self.size < 1:
            raise ValueError(
                "ActionSpace: expected continuous, discrete or multi_discrete and a size of at least 1, got "
                f"{self.kind!r} and {self.size}"
            )
        if len(self.choices) != (self.size if self.kind == "multi_discrete" else 0) or min(self.choices, default=1) < 1:
            raise ValueError(
                f"ActionSpace: expected choices of each of {self.size} numbers, where they are multi_discrete alone, "
                f"got {self.kind} and {self.choices}"
            )

    @classmethod
    def multi_discrete(cls, choices: Iterable[int]) -> ActionSpace:
        """Several numbers, each one of its own choices."""
        each = tuple(int(count) for count in choices)
        return cls("multi_discrete", len(each), each)

    @property
    def outputs(self) -> int:
        """What a network says of an action: a number for each component, or for each choice."""
        return sum(self.choices) if self.choices else self.size


@dataclass(frozen=True)
class Part:
    """Numbers of a vector that are one part of what the environment shows or takes.

    Attributes:
        name: of the part, empty where there is but one.
        count: of its numbers, which follow those of the parts before.
        space: of the environment, as it says it.
    """

    name: str
    count: int
    space: str


@dataclass(frozen=True)
class WorldSpaces:
    """Shapes of one observation and the actions.

    Attributes:
        observation: by part: `state` is a float32 vector `(D,)`, `pixels` is a uint8 picture `(C, H, W)`; one of them
            or both. With `mask`, a float32 vector, worlds say of each choice of a discrete or multi-discrete action
            whether it is valid now (1) or not (0).
        action: what is chosen.
        frames: that `state` and `pixels` join along their first axis, the newest last; the first of an episode stands
            for those before it.
        parts: of one frame's `state` and of the `action`, for who uses a policy without the world.
    """

    observation: Mapping[str, tuple[int, ...]]
    action: ActionSpace
    frames: int = 1
    parts: Mapping[str, tuple[Part, ...]] = field(default_factory=dict, compare=False)

    def only(self, names: Collection[str]) -> WorldSpaces:
        """The same spaces with only some parts of the observation.

        Raises:
            ValueError: when there is none of them.
        """
        return replace(self, observation={name: shape for name, shape in self.observation.items() if name in names})

    @property
    def frame(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the newest frame alone."""
        return {
            name: shape if name == "mask" else (shape[0] // self.frames, *shape[1:])
            for name, shape in self.observation.items()
        }

    @property
    def masked(self) -> bool:
        """Whether worlds say which actions are valid."""
        return "mask" in self.observation

    def __post_init__(self) -> None:
        ranks = {"state": 1, "pixels": 3, "mask": 1}
        for name, shape in self.observation.items():
            if name not in ranks or len(shape) != ranks[name]:
                raise ValueError(f"WorldSpaces: expected state (D,) or pixels (C, H, W), got {name} {shape}")
            if name == "mask":
                if self.action.kind == "continuous" or shape[0] != self.action.outputs:
                    raise ValueError(f"WorldSpaces: expected a mask of the choices of {self.action}, got {shape}")
            elif shape[0] % self.frames:
                raise ValueError(f"WorldSpaces: expected {name} of {self.frames} joined frames, got {shape}")
        if not self.observation.keys() - {"mask"}:
            raise ValueError("WorldSpaces: expected state or pixels, got neither")
