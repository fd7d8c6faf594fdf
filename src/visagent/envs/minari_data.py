"""Data sets of Minari (Farama), read as demonstrations in gymnasium's worlds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray

from visagent.envs.border import WorldError
from visagent.envs.demonstrated import Demonstrated
from visagent.envs.frames import FrameStack
from visagent.errors import ConfigError

if TYPE_CHECKING:
    from visagent.envs.gymnasium_world import GymnasiumWorld, GymnasiumWorlds

KEY = "algorithm.cloning.demonstrations"


def demonstrated(factory: GymnasiumWorlds, name: str, episodes: int | None) -> Demonstrated:
    """The first episodes of a data set, as a factory's worlds would show them.

    Args:
        factory: its spaces must be those of the data set; actions are brought to [-1, 1] as the worlds take them.
        name: of a data set in Minari's folder (`~/.minari/datasets`, or `MINARI_DATASETS_PATH`), or a data set's
            folder.
        episodes: how many are read; None for all.

    Raises:
        ConfigError: when it is not there, is not Minari's, or of other spaces, or the worlds show more than it has.
    """
    for setting, expected, shown in (
        ("observe", "own", "own"),
        ("action_repeat", 1, "1"),
        ("action_mask", False, "false"),
        ("wrappers", [], "[]"),
    ):
        got = list(factory.wrappers) if setting == "wrappers" else getattr(factory, setting)
        if got != expected:
            raise ConfigError(
                f"datamodule.env.{setting}: expected {shown} where demonstrations are imitated, which say what the "
                f"environment itself showed; type datamodule.env.{setting}={shown}"
            )
    data, world = _opened(name), factory.make()
    try:
        for what, theirs, ours in (
            ("observations", data.observation_space, world.env.observation_space),
            ("actions", data.action_space, world.env.action_space),
        ):
            if not _alike(theirs, ours, bounds=what == "actions"):
                raise ConfigError(
                    f"{KEY}={name}: expected {what} in {ours}, as {factory.name} has them, got {theirs}; choose its "
                    "environment with datamodule.env.id"
                )
        return _read(data, name, world, factory.frame_stack, episodes)
    finally:
        world.close()


def _opened(name: str) -> Any:
    try:
        import minari
    except ImportError as error:
        raise ConfigError(f"{KEY}={name}: {error}; pip install 'visagent[minari]'") from error
    folder = Path(name).expanduser()
    try:
        if folder.is_dir():
            return minari.MinariDataset(folder / "data" if (folder / "data").is_dir() else folder)
        return minari.load_dataset(name)
    except Exception as error:  # Minari's, h5py's and JSON's, each with errors of its own
        there = ", ".join(sorted(minari.list_local_datasets())) or "none"
        raise ConfigError(
            f"{KEY}: expected a Minari data set of this machine ({there}) or the folder of one, got {name} "
            f"({type(error).__name__}: {error})"
        ) from error


def _alike(theirs: spaces.Space[Any], ours: spaces.Space[Any], bounds: bool) -> bool:
    """Whether they are of one structure. Bounds of what is observed differ between versions, and do not matter; those
    of actions say what a number means.
    """
    if isinstance(theirs, spaces.Box) and isinstance(ours, spaces.Box):
        same = np.array_equal(theirs.low, ours.low) and np.array_equal(theirs.high, ours.high)
        return theirs.shape == ours.shape and (same or not bounds)
    if isinstance(theirs, spaces.Dict) and isinstance(ours, spaces.Dict):
        return theirs.spaces.keys() == ours.spaces.keys() and all(
            _alike(part, ours.spaces[key], bounds) for key, part in theirs.spaces.items()
        )
    if isinstance(theirs, spaces.Tuple) and isinstance(ours, spaces.Tuple):
        pairs = zip(theirs.spaces, ours.spaces, strict=False)
        return len(theirs.spaces) == len(ours.spaces) and all(_alike(*pair, bounds) for pair in pairs)
    return bool(theirs == ours)


def _read(data: Any, name: str, world: GymnasiumWorld, frames: int, episodes: int | None) -> Demonstrated:
    chosen = data.episode_indices[:episodes]
    if episodes is not None and not 1 <= episodes <= len(data.episode_indices):
        raise ConfigError(
            f"algorithm.cloning.episodes: expected 1 to {len(data.episode_indices)}, as {name} has, got {episodes}"
        )
    observation: dict[str, list[NDArray[Any]]] = {part: [] for part in world.spaces.observation}
    actions, rewards, last = [], [], []
    for episode in data.iterate_episodes(chosen):
        stack, steps = FrameStack(frames), len(episode.rewards)
        try:
            for step, shown in zip(range(steps), _each(episode.observations, steps + 1), strict=False):
                frame = world.reads.read(shown)
                for part, array in (stack.add(frame) if step else stack.begin(frame)).items():
                    observation[part].append(np.array(array, np.uint8 if part == "pixels" else np.float32))
            actions += [world.actions.read(action) for action in _each(episode.actions, steps)]
        except (WorldError, IndexError) as error:
            raise ConfigError(f"{KEY}={name}: episode {episode.id} cannot be read: {error}") from error
        gained = np.asarray(episode.rewards, np.float32)
        rewards.append(np.sign(gained) if world.factory.clip_reward else gained)
        last.append(np.arange(steps) == steps - 1)
    return Demonstrated(
        name,
        {part: torch.from_numpy(np.stack(arrays)) for part, arrays in observation.items()},
        torch.from_numpy(np.stack(actions)),
        torch.from_numpy(np.concatenate(rewards)),
        torch.from_numpy(np.concatenate(last)),
    )


def _each(batch: Any, count: int) -> Iterator[Any]:
    """What a Dict, a Tuple or an array of them says of each step."""
    if isinstance(batch, Mapping):
        parts = {key: _each(value, count) for key, value in batch.items()}
        for _ in range(count):
            yield {key: next(part) for key, part in parts.items()}
    elif isinstance(batch, tuple):
        yield from zip(*(_each(part, count) for part in batch), strict=True)
    else:
        for step in range(count):
            yield batch[step]
