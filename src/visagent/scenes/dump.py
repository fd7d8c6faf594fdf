"""Reading and writing scene dumps in the HDF5 layout of the THOR target-driven navigation dumps (Zhu et al. 2017).

| key | shape | dtype | meaning |
|---|---|---|---|
| `observation` | (N, 300, 400, 3) | uint8 | first-person RGB of each state |
| `resnet_feature` | (N, K, 2048) | float32 | K feature samples per state |
| `location` | (N, 2) | float64 | (x, z) in metres on a 0.5 m grid |
| `rotation` | (N,) | int64 | 0, 90, 180 or 270 degrees |
| `graph` | (N, 4) | int64 | next state per action, -1 = collision |
| `shortest_path_distance` | (N, N) | int64 | steps, -1 = unreachable |

Released and third-party variants are read as they are; provenance is kept in file attributes, which older loaders
ignore.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from visagent.errors import MissingFileError, UserError
from visagent.scenes.graph import ACTIONS, ROTATIONS, IntArray, shortest_path_distance

KEYS = ("observation", "resnet_feature", "location", "rotation", "graph", "shortest_path_distance")
FEATURES = 2048
THOR_UNREACHABLE = 1000
FLOOR_PLANS = ((1, 30, "kitchen"), (201, 230, "living_room"), (301, 330, "bedroom"), (401, 430, "bathroom"))


class DumpError(UserError, ValueError):
    """A scene dump that cannot be used; the message names the file, the key and what was expected."""

    def __init__(self, path: str | Path, key: str, message: str) -> None:
        super().__init__(f"scene dump {path}: {key}: {message}")
        self.path, self.key = Path(path), key


@dataclass(frozen=True)
class Scene:
    """One scene in memory, without its images.

    Attributes:
        features: `[N, K, 2048]` float32.
        location: `[N, 2]` float64, (x, z) in metres.
        rotation: `[N]` int64, degrees.
        graph: `[N, 4]` int64, actions in the order of `visagent.scenes.graph.ACTIONS`.
        distance: `[N, N]` int64 steps, -1 = unreachable.
        attributes: the file's attributes (extractor, seeds, generator).
    """

    name: str
    path: Path
    features: NDArray[np.float32]
    location: NDArray[np.float64]
    rotation: IntArray
    graph: IntArray
    distance: IntArray
    attributes: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.graph)

    @property
    def room_type(self) -> str:
        """bathroom, bedroom, living_room, kitchen or `other`, from the name (`kitchen_02`, `FloorPlan212`)."""
        return room_type(self.name)

    def observation(self, states: Iterable[int]) -> NDArray[np.uint8]:
        """The images of some states, `[len(states), H, W, 3]`, read from the file now."""
        with h5py.File(self.path, "r") as file:
            images = file["observation"]
            return np.stack([images[int(state)] for state in states])

    def fingerprint(self) -> str:
        """A hash of all that learning sees of the scene."""
        digest = hashlib.sha256()
        for array in (self.graph, self.location, self.rotation, np.ascontiguousarray(self.features)):
            digest.update(array.tobytes())
        return digest.hexdigest()[:16]


def room_type(name: str) -> str:
    """The room type that a scene name tells, `other` where it tells none."""
    if match := re.match(r"(bathroom|bedroom|living_room|kitchen)_\d+$", name):
        return match.group(1)
    if match := re.match(r"FloorPlan(\d+)", name):
        for low, high, kind in FLOOR_PLANS:
            if low <= int(match.group(1)) <= high:
                return kind
    return "other"


def write_dump(
    path: str | Path,
    *,
    observation: NDArray[np.uint8],
    features: NDArray[np.float32],
    location: NDArray[np.float64],
    rotation: IntArray,
    graph: IntArray,
    distance: IntArray,
    attributes: Mapping[str, str | int | float] | None = None,
) -> None:
    """Write a dump atomically: the six keys, nothing else; provenance as attributes.

    Images are compressed losslessly frame by frame (any HDF5 reader decodes gzip); `features` is `[N, K, 2048]`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with h5py.File(partial, "w") as file:
            file.create_dataset(
                "observation",
                data=observation,
                dtype=np.uint8,
                chunks=(1, *observation.shape[1:]),
                compression="gzip",
                compression_opts=1,
            )
            file.create_dataset("resnet_feature", data=features, dtype=np.float32)
            file.create_dataset("location", data=location, dtype=np.float64)
            file.create_dataset("rotation", data=rotation, dtype=np.int64)
            file.create_dataset("graph", data=graph, dtype=np.int64)
            file.create_dataset("shortest_path_distance", data=distance, dtype=np.int64)
            for key, value in (attributes or {}).items():
                file.attrs[key] = value
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _numeric(path: Path, key: str, array: NDArray[Any]) -> NDArray[np.float64]:
    if array.dtype.kind not in "iufb":
        raise DumpError(path, key, f"expected numbers, got dtype {array.dtype}")
    values = array.astype(np.float64)
    if not np.isfinite(values).all():
        raise DumpError(path, key, "expected finite numbers, got NaN or infinity")
    return values


def _graph(path: Path, raw: NDArray[Any]) -> IntArray:
    if raw.ndim != 2 or raw.shape[1] < len(ACTIONS) or len(raw) == 0:
        raise DumpError(path, "graph", f"expected shape (N, 4) with N > 0, got {raw.shape}")
    graph = _numeric(path, "graph", raw)[:, : len(ACTIONS)].astype(np.int64)
    outside = np.argwhere((graph < -1) | (graph >= len(graph)))
    if len(outside):
        state, action = outside[0]
        raise DumpError(
            path,
            "graph",
            f"expected next states in -1..{len(graph) - 1}, got {graph[state, action]} for state {state}, action "
            f"{ACTIONS[action]}",
        )
    return graph


def _location(path: Path, raw: NDArray[Any], count: int) -> NDArray[np.float64]:
    if raw.ndim != 2 or raw.shape[0] != count or raw.shape[1] not in (2, 3):
        raise DumpError(
            path, "location", f"expected shape ({count}, 2) (x, z) or ({count}, 3) (x, y, z), got {raw.shape}"
        )
    values = _numeric(path, "location", raw)
    return values if raw.shape[1] == 2 else values[:, [0, 2]]


def _rotation(path: Path, raw: NDArray[Any], count: int) -> IntArray:
    if raw.shape[:1] != (count,) or raw.ndim > 2 or (raw.ndim == 2 and raw.shape[1] not in (1, 3)):
        raise DumpError(
            path,
            "rotation",
            f"expected shape ({count},), or ({count}, 3) Euler angles with the heading in the middle, got {raw.shape}",
        )
    values = _numeric(path, "rotation", raw)
    if values.ndim == 2:
        values = values[:, 0] if values.shape[1] == 1 else values[:, 1]
    degrees = np.rint(values).astype(np.int64) % 360
    strange = np.setdiff1d(degrees, ROTATIONS)
    if len(strange):
        raise DumpError(path, "rotation", f"expected multiples of 90 degrees, got {strange[:5].tolist()}")
    return degrees


def _features(path: Path, raw: NDArray[Any], count: int) -> NDArray[np.float32]:
    if raw.ndim == 2:
        raw = raw[:, None]
    if raw.ndim != 3 or raw.shape[0] != count or raw.shape[1] < 1 or raw.shape[2] != FEATURES:
        raise DumpError(
            path, "resnet_feature", f"expected shape ({count}, {FEATURES}) or ({count}, K, {FEATURES}), got {raw.shape}"
        )
    return _numeric(path, "resnet_feature", raw).astype(np.float32)


def _distance(path: Path, raw: NDArray[Any] | None, graph: IntArray, recompute: bool) -> IntArray:
    count = len(graph)
    true = shortest_path_distance(graph)
    if recompute:
        return true
    hint = "or recompute it from the graph: datamodule.recompute_distances=true, visagent-scenes check --fix"
    if raw is None:
        raise DumpError(
            path, "shortest_path_distance", f"expected an ({count}, {count}) matrix of steps, got no such key; {hint}"
        )
    if raw.shape != (count, count):
        raise DumpError(path, "shortest_path_distance", f"expected shape ({count}, {count}), got {raw.shape}; {hint}")
    stored = _numeric(path, "shortest_path_distance", raw).astype(np.int64)
    stored = np.where(stored == THOR_UNREACHABLE, -1, stored)
    if count > 1 and (stored[~np.eye(count, dtype=bool)] == 1).all():
        raise DumpError(path, "shortest_path_distance", f"expected steps between states, got a matrix of ones; {hint}")
    wrong = np.argwhere(stored != true)
    if len(wrong):
        i, j = wrong[0]
        warnings.warn(
            f"scene dump {path}: shortest_path_distance disagrees with the graph for {len(wrong)} of {count * count} "
            "pairs "
            f"(first: {i} -> {j} stored {stored[i, j]}, graph {true[i, j]}); the graph's distances are used",
            stacklevel=3,
        )
    return true


def read_dump(path: str | Path, recompute_distances: bool = False) -> Scene:
    """Read and check one dump; the images stay in the file.

    Accepts features (N, 2048), (N, 1, 2048) and (N, K, 2048), 1000 for unreachable, locations (N, 3), rotations (N, 3),
    graphs with more than four columns and unknown keys.

    Args:
        path: the `.h5` file; its stem is the scene's name.
        recompute_distances: take distances from the graph whatever the file holds.

    Raises:
        MissingFileError: when there is no such file.
        DumpError: for anything that makes the dump unusable.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(
            f"scene dump {path}: no such file; make one with 'visagent-scenes make {path.parent}' or set "
            "datamodule.scenes=DIR"
        )
    try:
        with h5py.File(path, "r") as file:
            missing = [
                key for key in KEYS if key not in file and not (key == "shortest_path_distance" and recompute_distances)
            ]
            if missing:
                raise DumpError(
                    path,
                    missing[0],
                    f"expected the keys {', '.join(KEYS)}; missing {', '.join(missing)}, found "
                    f"{', '.join(sorted(file)) or 'none'}",
                )
            for key in KEYS:
                if key in file and not isinstance(file[key], h5py.Dataset):
                    raise DumpError(
                        path, key, f"expected an array, got a group of {', '.join(sorted(file[key])) or 'nothing'}"
                    )
            graph = _graph(path, file["graph"][()])
            count = len(graph)
            shape = file["observation"].shape
            if len(shape) != 4 or shape[0] != count or shape[3] != 3 or file["observation"].dtype != np.uint8:
                raise DumpError(
                    path,
                    "observation",
                    f"expected uint8 ({count}, 300, 400, 3), got {file['observation'].dtype} {shape}",
                )
            distances = file["shortest_path_distance"][()] if "shortest_path_distance" in file else None
            return Scene(
                name=path.stem,
                path=path,
                features=_features(path, file["resnet_feature"][()], count),
                location=_location(path, file["location"][()], count),
                rotation=_rotation(path, file["rotation"][()], count),
                graph=graph,
                distance=_distance(path, distances, graph, recompute_distances),
                attributes={
                    key: value.item() if isinstance(value, np.generic) else value for key, value in file.attrs.items()
                },
            )
    except OSError as error:
        raise DumpError(
            path,
            "file",
            f"expected a complete HDF5 file, got one that does not open or read ({error}); is the download truncated?",
        ) from error


def write_distances(path: str | Path) -> None:
    """Replace a dump's distances by those of its graph, in place.

    Raises:
        MissingFileError, DumpError: when the rest of the dump does not read.
    """
    scene = read_dump(path, recompute_distances=True)
    with h5py.File(path, "r+") as file:
        if "shortest_path_distance" in file:
            del file["shortest_path_distance"]
        file.create_dataset("shortest_path_distance", data=scene.distance, dtype=np.int64)


def list_dumps(folder: str | Path) -> dict[str, Path]:
    """The dumps of a folder by scene name, sorted.

    Raises:
        MissingFileError: when the folder is missing or holds no `.h5` file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(
            f"scenes folder {folder}: no such folder; set datamodule.scenes=DIR, or datamodule.scenes=embedded for "
            "generated rooms"
        )
    dumps = {path.stem: path for path in sorted(folder.glob("*.h5"))}
    if not dumps:
        raise MissingFileError(
            f"scenes folder {folder}: expected at least one scene dump NAME.h5, found zero; make some with "
            f"'visagent-scenes make {folder}'"
        )
    return dumps
