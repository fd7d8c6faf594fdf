"""Looks from a user's files, as DMControl-GB keeps them (its folder `src/env/data`): `color_easy.pt` and
`color_hard.pt`, lists of settings; `video_easy/` and `video_hard/`, folders of films.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visagent.envs.looks import STOCK, VIDEOS, Colours
from visagent.errors import ConfigError, MissingFileError

SETTINGS = {"grid_rgb1": "grid", "grid_rgb2": "second_grid", "self_rgb": "body", "skybox_rgb": "sky"}
FILMS = (".mp4", ".avi", ".mkv", ".mov", ".webm")


def path_of(folder: str, look: str) -> Path:
    """Where a look's file or folder is.

    Raises:
        MissingFileError: when it is not there.
    """
    path = Path(folder) / (look if look in VIDEOS else f"{look}.pt")
    if not path.exists():
        raise MissingFileError(
            f"datamodule.env.look_data: expected a folder as DMControl-GB's src/env/data, with {path.name} for "
            f"look={look}, got {folder} without it; type datamodule.env.look_data=null for looks that are made here"
        )
    return path


def stored_colours(path: Path) -> list[Colours]:
    """The settings of a file of colours, each a dictionary of channels in [0, 1].

    Raises:
        ConfigError: when it holds something else.
    """
    import torch

    # pickled NumPy numbers: what rebuilds them has other names in NumPy 2 than in 1, with which the files were written
    core = import_module("numpy.core.multiarray" if np.__version__.startswith("1.") else "numpy._core.multiarray")
    allowed: list[Any] = [np.ndarray, np.dtype, np.dtypes.Float64DType, np.dtypes.Float32DType]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed += [(core._reconstruct, f"{module}._reconstruct"), (core.scalar, f"{module}.scalar")]
    try:
        with torch.serialization.safe_globals(allowed):
            settings = torch.load(path, weights_only=True)
        return [_colours(setting) for setting in settings]
    except Exception as error:  # whatever a foreign file does to what reads it
        raise ConfigError(
            f"{path}: expected a list of DMControl-GB's settings with some of {', '.join(SETTINGS)}, got a file that "
            f"is none ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
        ) from error


def _colours(setting: Any) -> Colours:
    known = {}
    for key, name in SETTINGS.items():
        if key in setting:
            red, green, blue = (float(channel) for channel in setting[key])
            known[name] = (red, green, blue)
    return Colours(**{"grid": STOCK.grid, **known})


def stored_films(folder: Path) -> list[Path]:
    """The films of a folder, by name.

    Raises:
        MissingFileError: when there is none.
    """
    films = sorted(path for path in folder.iterdir() if path.suffix.lower() in FILMS and not path.name.startswith("."))
    if not films:
        raise MissingFileError(f"{folder}: expected films ({', '.join(FILMS)}), got a folder without any")
    return films


class StoredFilm:
    """A film that begins again at its end.

    Args:
        path: of the file.
        side: of the pictures.
        count: pictures that are needed at most.
    """

    def __init__(self, path: Path, side: int, count: int) -> None:
        from visagent.video.decode import VideoError, read_frames

        try:
            frames = read_frames(path, lambda there: np.arange(min(there, count)), "pyav")
        except VideoError as error:
            raise ConfigError(f"datamodule.env.look_data: {error}") from error
        resized = [Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR) for frame in frames]
        self.frames = np.stack([np.asarray(picture) for picture in resized])

    def __call__(self, number: int) -> NDArray[np.uint8]:
        """Picture `number`, uint8 `[side, side, 3]`."""
        picture: NDArray[np.uint8] = self.frames[number % len(self.frames)]
        return picture
