"""Making the embedded scenes: layout, frames, features, dump; one process per core."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from visagent.errors import ConfigError
from visagent.lifeline import end_with_parent
from visagent.scenes.dump import write_dump
from visagent.scenes.layout import ROOM_TYPES, build_room

GENERATOR = 1
"""Version of the generator; a change of what it draws counts it up, so that stale caches are made again."""
BATCH = 32


@dataclass(frozen=True)
class SceneRecipe:
    """All that a generated dump depends on."""

    name: str
    kind: str
    layout_seed: int
    style_seed: int
    extractor: str = "efficientnet_lite0"
    weights: str | None = None

    def attributes(self) -> dict[str, str | int | float]:
        """The provenance written into the dump."""
        return {
            "visagent_generator": GENERATOR,
            "layout_seed": self.layout_seed,
            "style_seed": self.style_seed,
            "extractor": self.extractor,
            "extractor_weights": self.weights or "default",
        }


def recipes(
    kinds: Sequence[str] = ROOM_TYPES,
    count: int = 5,
    layout_seed: int = 0,
    style_seed: int = 0,
    extractor: str = "efficientnet_lite0",
    weights: str | None = None,
) -> list[SceneRecipe]:
    """`count` scenes of each kind, named as the original dumps: bathroom_01, bathroom_02, ...

    Raises:
        ConfigError: for an unknown room type or a count below one.
    """
    unknown = [kind for kind in kinds if kind not in ROOM_TYPES]
    if unknown or not kinds:
        raise ConfigError(f"room types: expected some of {', '.join(ROOM_TYPES)}, got {', '.join(unknown) or 'none'}")
    if count < 1:
        raise ConfigError(f"scenes per room type: expected at least 1, got {count}")
    return [
        SceneRecipe(
            f"{kind}_{index:02d}", kind, 1000 * layout_seed + index, 1000 * style_seed + index, extractor, weights
        )
        for kind in kinds
        for index in range(1, count + 1)
    ]


def recipe_for(name: str, **settings: int | str | None) -> SceneRecipe:
    """The recipe of one embedded scene by its name, for example `kitchen_02`.

    Raises:
        ConfigError: when the name is not a room type and a number from 01.
    """
    kind, _, number = name.rpartition("_")
    if kind not in ROOM_TYPES or not number.isdigit() or int(number) < 1 or name != f"{kind}_{int(number):02d}":
        raise ConfigError(
            f"unknown embedded scene {name!r}: expected ROOM_NN with ROOM one of {', '.join(ROOM_TYPES)} and NN from "
            "01, for example kitchen_02"
        )
    return recipes((kind,), int(number), **settings)[-1]  # type: ignore[arg-type]


def is_made(path: Path, recipe: SceneRecipe) -> bool:
    """Whether a finished dump of exactly this recipe lies at `path`."""
    if not path.is_file():
        return False
    try:
        with h5py.File(path, "r") as file:
            return all(file.attrs.get(key) == value for key, value in recipe.attributes().items())
    except OSError:
        return False


def make_scene(folder: Path, recipe: SceneRecipe) -> Path:
    """Make one dump in this process and return its path."""
    # Imported here: a process that only lists or reads dumps needs neither OpenGL nor torch.
    from visagent.scenes.render import SceneRenderer
    from visagent.scenes.room_model import HEIGHT, WIDTH

    room = build_room(recipe.kind, recipe.layout_seed, recipe.style_seed)
    observation = np.empty((len(room.graph), HEIGHT, WIDTH, 3), np.uint8)
    with SceneRenderer(room, recipe.style_seed) as renderer:
        for index, frame in enumerate(renderer.frames(room.location, room.rotation)):
            observation[index] = frame
    features = extract_features(observation, recipe.extractor, recipe.weights)
    path = folder / f"{recipe.name}.h5"
    write_dump(
        path,
        observation=observation,
        features=features,
        location=room.location,
        rotation=room.rotation,
        graph=room.graph,
        distance=room.distance,
        attributes=recipe.attributes(),
    )
    return path


def extract_features(observation: NDArray[np.uint8], extractor: str, weights: str | None = None) -> NDArray[np.float32]:
    """Features of uint8 frames `[N, H, W, 3]` as one sample per state, float32 `[N, 1, 2048]`."""
    import torch

    from visagent.scenes.extractors import build_extractor

    network = build_extractor(extractor, weights)
    batches = [
        network(torch.from_numpy(observation[start : start + BATCH])) for start in range(0, len(observation), BATCH)
    ]
    features: NDArray[np.float32] = torch.cat(batches).numpy()[:, None]
    return features


def _initialise_worker() -> None:
    end_with_parent()  # a killed command leaves no processes that wait for work
    import torch

    torch.set_num_threads(1)


def make_scenes(
    folder: str | Path, wanted: Iterable[SceneRecipe], workers: int | None = None, force: bool = False
) -> Iterator[tuple[SceneRecipe, Path, bool]]:
    """Make the wanted dumps in parallel processes, the big rooms first; finished ones are kept.

    Args:
        folder: where `NAME.h5` files go; created when missing.
        wanted: recipes.
        workers: processes; None for one per core.
        force: make dumps again that are there already.

    Yields:
        (recipe, path, made now?) as each dump is ready.

    Raises:
        RuntimeError: when a worker process dies (out of memory, for example).
        Exception: whatever a worker raised (`RenderingUnavailable`, `ExtractorUnavailable`, ...); finished dumps stay.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = list(wanted)
    there = [recipe for recipe in wanted if not force and is_made(folder / f"{recipe.name}.h5", recipe)]
    yield from ((recipe, folder / f"{recipe.name}.h5", False) for recipe in there)
    if len(there) < len(wanted):
        # Two runs that start together want the same rooms: one makes them, the other waits and finds them.
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield from _make_missing(folder, [recipe for recipe in wanted if recipe not in there], workers, force)


def _make_missing(
    folder: Path, wanted: Iterable[SceneRecipe], workers: int | None, force: bool
) -> Iterator[tuple[SceneRecipe, Path, bool]]:
    missing = []
    for recipe in wanted:
        path = folder / f"{recipe.name}.h5"
        if not force and is_made(path, recipe):
            yield recipe, path, False
        else:
            missing.append(recipe)
    if not missing:
        return
    largest_first = sorted(missing, key=lambda recipe: -ROOM_TYPES.index(recipe.kind))
    workers = max(1, min(workers or os.cpu_count() or 1, len(missing)))
    # One thread per worker, set before torch is imported there: more threads than cores cost many times the work they
    # save.
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_initialise_worker) as pool:
            jobs = {pool.submit(make_scene, folder, recipe): recipe for recipe in largest_first}
            try:
                for job in as_completed(jobs):
                    yield jobs[job], job.result(), True
            except BrokenProcessPool as error:
                raise RuntimeError(
                    f"a scene-making process died while making scenes in {folder}; try --workers 1"
                ) from error
            finally:
                for job in jobs:
                    job.cancel()
    finally:
        if before is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = before
