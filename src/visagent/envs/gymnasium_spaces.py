"""Gymnasium's spaces as the suite's: what is shown becomes `state`, `pixels` and `mask`, and what a policy chooses an
action.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from visagent.envs.border import WorldError, described
from visagent.envs.frames import FrameStack
from visagent.envs.spaces import ActionSpace, Part, WorldSpaces
from visagent.errors import ConfigError

if TYPE_CHECKING:
    from visagent.envs.gymnasium_world import GymnasiumWorlds

MASK = "action_mask"
"""Under which environments say which actions are valid."""
MASKS = "action_masks"
"""A method of environments that say it so."""
Path = tuple[str | int, ...]


def leaves(space: spaces.Space[Any], path: Path = ()) -> Iterator[tuple[Path, spaces.Space[Any]]]:
    """The spaces that a Dict or a Tuple is made of, in gymnasium's order, with the keys that lead there; else the space
    itself.
    """
    if isinstance(space, spaces.Dict):
        for name, part in space.spaces.items():
            yield from leaves(part, (*path, name))
    elif isinstance(space, spaces.Tuple):
        for number, part in enumerate(space.spaces):
            yield from leaves(part, (*path, number))
    else:
        yield path, space


def is_picture(space: spaces.Space[Any]) -> bool:
    """Whether a space holds uint8 pictures `[H, W, C]`, `[C, H, W]` or `[H, W]`."""
    return isinstance(space, spaces.Box) and len(space.shape) in (2, 3) and space.dtype == np.uint8


class Observations:
    """Reads observations of a space: the one picture that there may be is `pixels`, everything else the vector
    `state`, flattened as `gymnasium.spaces.flatten` does it.

    Args:
        name: of the world, in messages.
        space: of the environment.
        masked: an `action_mask` in a Dict is not observed.

    Attributes:
        shapes: of the parts.

    Raises:
        ConfigError: for a space that cannot be read so.
    """

    def __init__(self, name: str, space: spaces.Space[Any], masked: bool = False) -> None:
        self.name, self.space = name, space
        parts = [(path, part) for path, part in leaves(space) if not (masked and path == (MASK,))]
        pictures = [(path, part) for path, part in parts if is_picture(part)]
        self.vector = [(path, part) for path, part in parts if not is_picture(part)]
        wrong = [str(part) for _, part in self.vector if not part.is_np_flattenable]
        if wrong or len(pictures) > 1 or not parts:
            got = f"pictures {', '.join(map(named, dict(pictures)))}" if len(pictures) > 1 else ", ".join(wrong)
            raise ConfigError(
                f"{name}: expected observations of numbers and at most one uint8 picture [H, W, C] or [C, H, W], got "
                f"{got or space}; type datamodule.env.wrappers=[{{name:FilterObservation,filter_keys:[KEY,...]}}]"
            )
        self.shapes: dict[str, tuple[int, ...]] = {}
        if self.vector:
            self.shapes["state"] = (sum(spaces.flatdim(part) for _, part in self.vector),)
        self.picture: Path | None = None
        if pictures:
            self.picture, self.shape = pictures[0][0], pictures[0][1].shape or ()
            self.shapes["pixels"] = self._channels_first(np.empty(self.shape, np.uint8)).shape
        single = len(parts) == 1 and parts[0][0] == ()
        # As nearly all are: nothing is flattened, and so nothing copied.
        self.plain = single and isinstance(space, spaces.Box) and len(space.shape) == 1

    def _channels_first(self, picture: NDArray[Any]) -> NDArray[Any]:
        if picture.ndim == 2:
            return picture[None]
        height, width, channels = picture.shape
        # as wrappers that stack frames leave them
        return picture if height < min(width, channels) else picture.transpose(2, 0, 1)

    def read(self, shown: Any) -> dict[str, NDArray[Any]]:
        """The parts of an observation.

        Raises:
            WorldError: when it is not of the space.
        """
        if self.plain:
            return {"state": self._of_shape(shown, self.space.shape or ())}
        frame = {}
        if self.vector:
            frame["state"] = np.concatenate([self._flat(path, part, shown) for path, part in self.vector])
        if self.picture is not None:
            frame["pixels"] = self._channels_first(self._of_shape(self._at(self.picture, shown), self.shape))
        return frame

    def _of_shape(self, value: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        array = np.asarray(value)
        if array.shape != shape:
            raise WorldError(
                f"{self.name}: expected observations of shape {list(shape)}, as its observation_space says, got "
                f"{list(array.shape)} from the environment"
            )
        return array

    def _at(self, path: Path, shown: Any) -> Any:
        try:
            for key in path:
                shown = shown[key]
        except (KeyError, IndexError, TypeError) as error:
            raise WorldError(
                f"{self.name}: expected {named(path)} in observations, as its observation_space says, got "
                f"{described(shown)}"
            ) from error
        return shown

    def _flat(self, path: Path, part: spaces.Space[Any], shown: Any) -> NDArray[Any]:
        value = self._at(path, shown)
        if isinstance(part, spaces.Box):
            return self._of_shape(value, part.shape).ravel()
        try:
            flat: Any = spaces.flatten(part, value)
        except (ValueError, TypeError, KeyError, IndexError, AssertionError) as error:
            raise WorldError(
                f"{self.name}: expected {named(path)} in {part}, got {described(value)} ({error})"
            ) from error
        return np.asarray(flat, np.float32)


def named(path: Path) -> str:
    """A place in a space, for messages."""
    return ".".join(map(str, path)) or "the observation"


class Actions:
    """Makes actions of a space: Box parts, of any shape, are continuous; Discrete, MultiDiscrete and MultiBinary ones
    are whole numbers with choices of their own. A Dict or Tuple has parts of one of the two kinds.

    Args:
        name: of the world, in messages.
        space: of the environment.

    Attributes:
        suite_space: as the suite says it.
        parts: of the numbers of an action.

    Raises:
        ConfigError: for a space that has both kinds of parts, others, or a Box without bounds.
    """

    def __init__(self, name: str, space: spaces.Space[Any]) -> None:
        self.space = space
        parts = [part for _, part in leaves(space)]
        self.continuous = all(isinstance(part, spaces.Box) and part.is_bounded() for part in parts)
        whole = all(isinstance(part, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary) for part in parts)
        if not parts or not (self.continuous or whole):
            raise ConfigError(
                f"{name}: expected actions that are all bounded Box, or all Discrete, MultiDiscrete or MultiBinary, "
                f"got {space}"
            )
        if isinstance(space, spaces.Discrete):
            self.suite_space = ActionSpace("discrete", int(space.n))
        elif whole:
            self.suite_space = ActionSpace.multi_discrete(count for part in parts for count in choices(part))
        else:
            self.suite_space = ActionSpace("continuous", sum(int(np.prod(part.shape or ())) for part in parts))
        places = self._places(parts)
        self.parts = tuple(
            Part(".".join(map(str, path)), place.stop - place.start, str(part))
            for (path, part), place in zip(leaves(space), places, strict=True)
        )
        self.write: Callable[[NDArray[Any]], Any] = self._writer(space, iter(places))

    def read(self, action: Any) -> NDArray[Any]:
        """What a policy would have chosen for an action of the environment: the inverse of `write`.

        Raises:
            WorldError: when it is not of the space's structure.
        """
        numbers: list[Any] = []
        try:
            for path, part in leaves(self.space):
                value = action
                for key in path:
                    value = value[key]
                numbers.append(_from_box(part, value) if isinstance(part, spaces.Box) else _chosen(part, value))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise WorldError(f"expected an action in {self.space}, got {described(action)} ({error})") from error
        if self.suite_space.kind == "discrete":
            return np.asarray(numbers[0][0], np.int64)
        joined: NDArray[Any] = np.concatenate(numbers).astype(np.float32 if self.continuous else np.int64)
        return joined

    def _places(self, parts: Sequence[spaces.Space[Any]]) -> list[slice]:
        """Where each part's numbers are in an action."""
        counts = [len(choices(part)) if not self.continuous else int(np.prod(part.shape or ())) for part in parts]
        ends = list(accumulate(counts))
        return [slice(end - count, end) for count, end in zip(counts, ends, strict=True)]

    def _writer(self, space: spaces.Space[Any], places: Iterator[slice]) -> Callable[[NDArray[Any]], Any]:
        if isinstance(space, spaces.Dict):
            by_name = {name: self._writer(part, places) for name, part in space.spaces.items()}
            return lambda action: {name: write(action) for name, write in by_name.items()}
        if isinstance(space, spaces.Tuple):
            each = [self._writer(part, places) for part in space.spaces]
            return lambda action: tuple(write(action) for write in each)
        place = next(places)
        if isinstance(space, spaces.Box):
            return _box(space, place)
        if isinstance(space, spaces.Discrete):
            first, kind = int(space.start), space.dtype.type
            if space is self.space:
                return lambda action: int(action) + first
            return lambda action: kind(action[place.start] + first)
        shape, dtype = space.shape or (), space.dtype
        start = space.start if isinstance(space, spaces.MultiDiscrete) else 0
        return lambda action: (action[place].reshape(shape) + start).astype(dtype)

    def mask(self, said: Any) -> NDArray[np.float32]:
        """`[P]` float32 of what an environment says of its choices, all in one array or, for several numbers, in one
        for each.

        Raises:
            ValueError: when it is of another size.
        """
        parts = said if isinstance(said, tuple | list) else [said]
        flat: NDArray[np.float32] = np.concatenate([np.asarray(part, np.float32).ravel() for part in parts])
        if len(flat) != self.suite_space.outputs:
            raise ValueError(f"expected {self.suite_space.outputs} numbers, one of each choice, got {len(flat)}")
        return (flat > 0).astype(np.float32)

    def first_of(self, mask: NDArray[np.float32]) -> NDArray[np.int64]:
        """The first valid action."""
        counts = self.suite_space.choices or (self.suite_space.size,)
        parts = np.split(mask, np.cumsum(counts)[:-1])
        chosen = np.array([int(part.argmax()) for part in parts], np.int64)
        return chosen if self.suite_space.choices else chosen[0]


def choices(space: spaces.Space[Any]) -> list[int]:
    """How many choices each whole number of a space has."""
    if isinstance(space, spaces.Discrete):
        return [int(space.n)]
    if isinstance(space, spaces.MultiDiscrete):
        return [int(count) for count in space.nvec.ravel()]
    return [2] * int(np.prod(space.shape or ()))


def _box(space: spaces.Box, place: slice) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """From [-1, 1] to the space's bounds; in whole numbers, each has an equal part of the range."""
    shape, dtype = space.shape, space.dtype
    low = space.low.ravel().astype(np.float64)
    span = (space.high.ravel().astype(np.float64) - low) / 2
    if np.issubdtype(dtype, np.integer):
        return lambda action: (
            (low + np.minimum((np.clip(action[place], -1.0, 1.0) + 1.0) * (span + 0.5) // 1, 2 * span))
            .astype(dtype)
            .reshape(shape)
        )
    return lambda action: (low + (np.clip(action[place], -1.0, 1.0) + 1.0) * span).astype(dtype).reshape(shape)


def _from_box(space: spaces.Box, value: Any) -> NDArray[np.float64]:
    """The inverse of `_box`; of whole numbers, the middle of the range that makes each."""
    low, high = space.low.ravel().astype(np.float64), space.high.ravel().astype(np.float64)
    given = np.asarray(value, np.float64).reshape(space.shape).ravel()
    whole = np.issubdtype(space.dtype, np.integer)
    width = (high - low + (1.0 if whole else 0.0)) / 2
    scaled: NDArray[np.float64] = (given - low + (0.5 if whole else 0.0)) / np.where(width > 0, width, 1.0)
    return scaled.clip(0.0, 2.0) - 1.0


def _chosen(space: spaces.Space[Any], value: Any) -> NDArray[np.int64]:
    start = getattr(space, "start", 0)
    return (np.asarray(value, np.int64).reshape(space.shape or ()) - start).ravel()


def method_of(env: Any, name: str) -> Callable[[], Any] | None:
    """A method of an environment, wrappers and all; None where it has none of the name."""
    try:
        found: Callable[[], Any] = getattr(env, "get_wrapper_attr", partial(getattr, env))(name)
    except AttributeError:
        return None
    return found


def masks_of(method: Callable[[], Any] | None) -> Callable[[Any, Mapping[str, Any]], Any]:
    """Where an environment says which actions are valid: in a Dict observation, in what it returns as info, or by a
    method of its own; None where it does not.

    Args:
        method: `action_masks()` of the environment, if it has one.
    """

    def said(shown: Any, info: Mapping[str, Any]) -> Any:
        if isinstance(shown, Mapping) and MASK in shown:
            return shown[MASK]
        if MASK in info:
            return info[MASK]
        return None if method is None else method()

    return said


def spaces_of(
    factory: GymnasiumWorlds, shapes: dict[str, tuple[int, ...]], reads: Observations, actions: Actions
) -> WorldSpaces:
    """What worlds show and take.

    Args:
        factory: that makes them.
        shapes: of the parts of a frame.
        reads: the environment's observations.
        actions: of the environment.

    Raises:
        ConfigError: when a mask is asked for of continuous actions.
    """
    stacked = FrameStack(factory.frame_stack).shapes(shapes)
    if factory.action_mask:
        if actions.continuous:
            raise ConfigError(
                f"datamodule.env.action_mask=true: expected discrete actions, got {actions.space} of {factory.id}; "
                "type datamodule.env.action_mask=false"
            )
        stacked["mask"] = (actions.suite_space.outputs,)
    parts = {"action": actions.parts}
    if "state" in shapes:
        parts["state"] = tuple(Part(".".join(map(str, at)), spaces.flatdim(one), str(one)) for at, one in reads.vector)
    return WorldSpaces(stacked, actions.suite_space, factory.frame_stack, parts)


def read_mask(name: str, actions: Actions, said: Any, over: bool) -> NDArray[np.float32]:
    """Which choices are valid.

    Args:
        name: of the world.
        actions: of the environment.
        said: by the environment; None for nothing.
        over: the episode ended, so that nobody will choose.

    Raises:
        WorldError: for something else than a number for each choice, or where none is valid.
    """
    if said is None and over:
        return np.ones(actions.suite_space.outputs, np.float32)
    try:
        if said is None:
            raise ValueError("it says nothing of them; type datamodule.env.action_mask=false")
        mask = actions.mask(said)
        start = 0
        for count in actions.suite_space.choices or (actions.suite_space.size,):
            if not over and not mask[start : start + count].any():
                raise ValueError(f"none of the choices {start} to {start + count - 1} is valid")
            start += count
    except (TypeError, ValueError) as error:
        raise WorldError(
            f"{name}: expected which actions are valid as action_mask in its observation or info, or by "
            f"action_masks(): {error}"
        ) from error
    return mask


def success_of(info: Mapping[str, Any]) -> bool | None:
    """Whether an environment reports its task as done, as `is_success` or `success`."""
    success = info.get("is_success", info.get("success"))
    return None if success is None else bool(success)
