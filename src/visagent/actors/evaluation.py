"""Episodes on worlds of their own, with generators of their own: evaluating never changes training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from visagent.actors.threads import one_thread
from visagent.envs.border import longest_episode, no_end
from visagent.envs.episodes import episodes_of
from visagent.envs.world import Observation, WorldFactory
from visagent.errors import UserError
from visagent.experience.rollouts import Episode
from visagent.networks.policy import Policy, begin_again
from visagent.seeding import generator

AT_ONCE = 16
"""Worlds that are best stepped together."""
FILM_STEPS = 300
"""Pictures of a film, at most."""


def run_episodes(policy: Policy, worlds: WorldFactory, seeds: Sequence[int], deterministic: bool) -> list[Episode]:
    """One episode for each seed, all together.

    Args:
        policy: acts.
        worlds: makes the worlds.
        seeds: of the worlds; the first also seeds all actions.
        deterministic: act by the distribution's mode.

    Raises:
        WorldError: when an episode does not end.
    """
    count, episodes = len(seeds), episodes_of(worlds, len(seeds))
    longest = longest_episode(worlds, episodes)
    try:
        episodes.reset(seeds)
        rng, state = generator(seeds[0], "act"), policy.initial_state(count)
        shown = {name: torch.from_numpy(array) for name, array in episodes.observation.items()}
        reward, terminated, truncated = np.zeros(count), np.zeros(count, bool), np.zeros(count, bool)
        first: dict[int, Episode] = {}
        while len(first) < count:
            step = policy.act(shown, state, deterministic, rng)
            ended = episodes.step(step.action.numpy(), reward, terminated, truncated)
            for end in ended:
                first.setdefault(end.index, Episode(end.total_reward, end.steps, end.success))
            state = begin_again(step.state, [end.index for end in ended])
            if episodes.steps.max() >= longest and any(
                episodes.steps[index] >= longest for index in range(count) if index not in first
            ):
                raise no_end(worlds, int(episodes.steps.max()))
        return [first[index] for index in range(count)]
    finally:
        episodes.close()


def as_batch(observation: Observation) -> dict[str, torch.Tensor]:
    """One observation as a batch of one."""
    kinds = {name: torch.uint8 if name == "pixels" else torch.float32 for name in observation}
    return {
        name: torch.as_tensor(np.ascontiguousarray(part), dtype=kinds[name])[None] for name, part in observation.items()
    }


@dataclass(frozen=True)
class Film:
    """An episode to be filmed: the first `FILM_STEPS` of it.

    Drawing and encoding load libraries that do not bear with others (OpenGL, SDL, FFmpeg), so it is made in a process
    of its own.

    Args:
        policy: acts.
        worlds: makes the world.
        seed: of the world and its actions.
        deterministic: act by the distribution's mode.
    """

    policy: Policy
    worlds: WorldFactory
    seed: int
    deterministic: bool

    def make(self, path: Path) -> None:
        """Write the film.

        Raises:
            UserError: when it cannot be drawn or written, whatever the process that does so dies of.
        """
        make_film(_shoot, self, path)


@dataclass(frozen=True)
class Played:
    """An episode that a trained policy has played.

    Attributes:
        seed: of the episode.
        numbers: what it came to, by name.
        film: of it, with `make(path)`.
    """

    seed: int
    numbers: Mapping[str, float]
    film: Any


@dataclass(frozen=True)
class PictureFilm:
    """A film of pictures that are there.

    Args:
        pictures: uint8 `[T, H, W, 3]`.
        fps: how many are shown in a second.
    """

    pictures: NDArray[np.uint8]
    fps: float

    def make(self, path: Path) -> None:
        """Write the film; see `make_film`."""
        make_film(_shown, self, path)


def _shown(film: PictureFilm) -> tuple[list[NDArray[np.uint8]], float]:
    return list(film.pictures), film.fps


def make_film(shoot: Callable[[Any], tuple[list[NDArray[np.uint8]], float]], film: Any, path: Path) -> None:
    """Write a film, drawn and encoded in a process of its own.

    Args:
        shoot: draws it: pictures `[H, W, 3]`, and how many are shown in a second.
        film: its argument.
        path: of the file.

    Raises:
        UserError: when it cannot be drawn or written, whatever the process that does so dies of.
    """
    with one_thread(), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            pool.submit(_write, shoot, film, path).result()
        except Exception as error:  # drawing and encoding are others' code, each with errors of its own
            raise UserError(f"{path} could not be drawn and written ({type(error).__name__}: {error})") from error


def _write(shoot: Callable[[Any], tuple[list[NDArray[np.uint8]], float]], film: Any, path: Path) -> None:
    from visagent.video.decode import write_video

    torch.set_num_threads(1)
    pictures, fps = shoot(film)
    frames = np.stack(pictures)
    even = frames[:, : frames.shape[1] // 2 * 2, : frames.shape[2] // 2 * 2]  # as the codec needs it
    write_video(path, even, "libx264", max(1, round(fps)))


def _shoot(film: Film) -> tuple[list[NDArray[np.uint8]], float]:
    world, policy = film.worlds.make(drawn=True), film.policy
    try:
        observation, rng, state = world.reset(film.seed), generator(film.seed, "act"), policy.initial_state(1)
        pictures, over = [world.picture()], False
        while not over and len(pictures) < FILM_STEPS:
            step = policy.act(as_batch(observation), state, film.deterministic, rng)
            observation, _, terminated, truncated = world.step(step.action[0].numpy())
            state, over = step.state, terminated or truncated
            pictures.append(world.picture())
    finally:
        world.close()
    return pictures, world.fps
