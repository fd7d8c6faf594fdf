"""The border of worlds: what they return is copied and checked here, wherever they come from."""

from __future__ import annotations

import traceback
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.envs.spaces import WorldSpaces
from visagent.envs.world import Observation, World, WorldFactory
from visagent.errors import UserError

LARGEST = float(np.finfo(np.float32).max)
SMALL = LARGEST**2
LONGEST = 20_000
"""Steps after which somebody who waits for the end of an episode gives up, where no longer time limit is known."""


class WorldError(UserError):
    """A world returned what its spaces do not allow, or has no end."""


class WorldFailure(WorldError):
    """A world raised an error of its own; the message has its traceback."""


def failed(name: str, where: str, error: Exception) -> UserError:
    """The error for one that a world raised: its own where it is a user's mistake.

    Args:
        name: of the world.
        where: `reset` or `step`.
        error: that it raised.
    """
    if isinstance(error, UserError):
        return error
    return WorldFailure(f"{name} raised an error in {where}:\n{''.join(traceback.format_exception(error)).rstrip()}")


class Border:
    """Steps worlds of the same kind and lets pass what their spaces say.

    What a step shows is where the world has it, and may change with the next step: it is to be written elsewhere or
    `kept`. Whether its numbers are finite is asked of all worlds at once, `require_finite`, which costs as much as
    asking one.

    Args:
        name: of the worlds, in messages.
        spaces: of the worlds.
    """

    def __init__(self, name: str, spaces: WorldSpaces) -> None:
        self.name, self.shapes = name, dict(spaces.observation)

    @classmethod
    def of(cls, factory: WorldFactory, world: World) -> Border:
        """The border of a factory's worlds, one of which says what it shows if it can."""
        spaces = getattr(world, "spaces", None)
        return cls(name_of(factory), spaces if isinstance(spaces, WorldSpaces) else factory.spaces())

    def reset(self, world: World, seed: int | None) -> Observation:
        """See `visagent.envs.world.World.reset`; copied.

        Raises:
            WorldError: for an observation of another shape or kind than the spaces say, or one that is not finite, and
                when the world raises an error.
        """
        try:
            shown = world.reset(seed)
        except Exception as error:
            raise failed(self.name, "reset", error) from error
        return self.kept(self._arrays(shown, "reset"), "reset")

    def step(self, world: World, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        """See `visagent.envs.world.World.step`; the observation is not copied.

        Raises:
            WorldError: for an observation of another shape or kind than the spaces say, a reward that is no finite
                number, and when the world raises an error.
        """
        try:
            returned = world.step(action)
        except Exception as error:
            raise failed(self.name, "step", error) from error
        if not isinstance(returned, tuple) or len(returned) != 4:
            raise WorldError(
                f"{self.name}: expected a step to return (observation, reward, terminated, truncated), got "
                f"{described(returned)}"
            )
        shown, reward, terminated, truncated = returned
        return self._arrays(shown, "step"), finite(self.name, reward), bool(terminated), bool(truncated)

    def _arrays(self, shown: Any, where: str) -> dict[str, NDArray[Any]]:
        try:
            return {part: fitting(self.name, shown[part], part, shape, where) for part, shape in self.shapes.items()}
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise WorldError(
                f"{self.name}: expected {where} to show {', '.join(self.shapes)} by name, got {described(shown)}"
            ) from error

    def kept(self, shown: Observation, where: str = "step") -> Observation:
        """A copy.

        Raises:
            WorldError: for numbers that are not finite.
        """
        return {
            part: array.copy() if part == "pixels" else finite_copy(self.name, array, part, where)
            for part, array in shown.items()
        }

    def require_finite(self, shown: Observation) -> None:
        """Refuse what is not finite.

        Args:
            shown: by part, of several worlds, `[B, ...]`.

        Raises:
            WorldError: naming the number.
        """
        for part, array in shown.items():
            if part != "pixels":
                every = array.reshape(-1)
                if not every.dot(every) <= SMALL:  # see `finite_copy`
                    for row in array:
                        finite_copy(self.name, row, part, "step")


def fitting(name: str, returned: Any, part: str, shape: tuple[int, ...], where: str) -> NDArray[Any]:
    """A part of what a world shows, as an array: uint8 `pixels`, or a vector of numbers.

    Args:
        name: of the world.
        returned: what it returned.
        part: its name.
        shape: as the spaces say.
        where: `reset` or `step`.

    Raises:
        WorldError: when it is something else.
    """
    array = returned if isinstance(returned, np.ndarray) else np.asarray(returned)
    if array.shape != shape:
        raise WorldError(
            f"{name}: expected {part} of shape {list(shape)}, as its spaces say, got {list(array.shape)} in {where}"
        )
    if part == "pixels":
        if array.dtype != np.uint8:
            raise WorldError(f"{name}: expected pixels of uint8, got {array.dtype} in {where}")
    elif array.dtype.kind not in "fiub":
        raise WorldError(f"{name}: expected {part} of numbers, got {array.dtype} in {where}")
    return array


def finite_copy(name: str, array: NDArray[Any], part: str, where: str) -> NDArray[Any]:
    """A vector as float32.

    Raises:
        WorldError: when one of its numbers is not finite there.
    """
    if array.dtype == np.float16:  # whose squares overflow soon
        array = array.astype(np.float32)
    # A sum of squares is quick to compute, and where it is small so are its summands; the rest is looked at one by one.
    if array.dtype.kind == "f" and not array.dot(array) <= SMALL:
        wrong = np.flatnonzero(~(np.abs(array) <= LARGEST))
        if len(wrong):
            raise WorldError(
                f"{name}: expected finite numbers of float32, got {array[wrong[0]]} as number {wrong[0]} of its "
                f"{part} in {where}"
            )
    return array.astype(np.float32)


def name_of(factory: object) -> str:
    """The name that messages give to what makes worlds: its own `name`, else that of its class."""
    kind = type(factory)
    return str(getattr(factory, "name", "") or f"{kind.__module__}.{kind.__qualname__}")


def finite(name: str, reward: Any) -> float:
    """A reward as a number; an array of one is one.

    Raises:
        WorldError: when it is none, or not finite.
    """
    if isinstance(reward, np.ndarray) and reward.size == 1:
        reward = reward.item()
    try:
        number = float(reward)
    except (TypeError, ValueError) as error:
        raise WorldError(f"{name}: expected a number for a reward, got {described(reward)}") from error
    if not -LARGEST <= number <= LARGEST:
        raise WorldError(f"{name}: expected a finite reward of float32, got {number}")
    return number


def longest_episode(factory: object, world: object = None) -> int:
    """Steps that an episode may last while somebody waits for its end, of a factory's worlds or of one that knows its
    own time limit as `max_steps`.
    """
    limits = (getattr(factory, "max_steps", None), getattr(factory, "horizon", None), getattr(world, "max_steps", None))
    return max(LONGEST, *(limit or 0 for limit in limits))


def no_end(factory: object, steps: int) -> WorldError:
    """The error for an episode that does not end."""
    limit = "type datamodule.env.max_steps=1000"
    if not hasattr(factory, "max_steps"):
        limit = (
            "have its worlds truncate episodes (datamodule.env.max_steps does so in gymnasium's and robosuite's), or "
            "say a longer one as its max_steps"
        )
    return WorldError(
        f"{name_of(factory)}: expected an episode to end, got {steps} steps without an end; give it a time limit: "
        f"{limit}"
    )


def described(value: Any) -> str:
    """What something is, in a few words of a message."""
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {list(value.shape)}"
    if isinstance(value, dict):
        return f"a dict of {', '.join(map(str, value)) or 'nothing'}"
    return f"{type(value).__name__} {value!r:.60}"
