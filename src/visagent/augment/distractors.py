"""Pictures that are mixed into what a student sees (dissertation Section 5.4.2: 50,000 of COCO)."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from visagent.errors import ConfigError
from visagent.seeding import derive_seed
from visagent.textures import coloured_field

MADE = 400
MOST = 50_000
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")

log = logging.getLogger(__name__)


def made_distractors(side: int, seed: int) -> Tensor:
    """Fields of colour, float32 `[400, 3, S, S]` in [0, 255]."""
    rng = np.random.default_rng(derive_seed(seed, "distractors"))
    fields = np.stack([coloured_field(rng, side) for _ in range(MADE)])
    return 255.0 * torch.from_numpy(fields).permute(0, 3, 1, 2).contiguous()


def pictures_below(folder: str) -> list[Path]:
    """The pictures in a folder and the folders below it, in the order of their names; of more than 50,000, so many at
    equal distances.

    Raises:
        ConfigError: where there is none.
    """
    root = Path(folder).expanduser()
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES) if root.is_dir() else []
    if not found:
        raise ConfigError(
            f"algorithm.distractors: expected a folder with pictures ({', '.join(SUFFIXES)}), got {folder}, "
            f"{'which has none' if root.is_dir() else 'which is no folder'}; type algorithm.distractors=DIR, or null "
            "for pictures that are made"
        )
    return [found[len(found) * number // MOST] for number in range(MOST)] if len(found) > MOST else found


def read_distractors(folder: str, side: int) -> Tensor:
    """The pictures of a folder, uint8 `[K, 3, S, S]`, each cut to a square around its middle.

    What cannot be read is left out, and said.

    Args:
        folder: see `pictures_below`.
        side: S, pixels.

    Raises:
        ConfigError: where none can be read.
    """
    paths = pictures_below(folder)
    log.info("reading %d pictures of %s", len(paths), folder)
    with ThreadPoolExecutor() as threads:
        read = list(threads.map(lambda path: _read(path, side), paths))
    pictures = [picture for picture in read if isinstance(picture, np.ndarray)]
    broken = [(path, picture) for path, picture in zip(paths, read, strict=True) if isinstance(picture, Exception)]
    if broken:
        path, error = broken[0]
        said = f"{len(broken)} of {len(paths)} pictures in {folder} cannot be read, the first one is {path} ({error})"
        if not pictures:
            raise ConfigError(f"algorithm.distractors: {said}; type algorithm.distractors=DIR")
        log.warning("%s", said)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def _read(path: Path, side: int) -> NDArray[np.uint8] | Exception:
    try:
        with Image.open(path) as picture:
            picture.draft("RGB", (side, side))  # JPEGs are decoded no larger than needed
            return np.asarray(ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.BILINEAR))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow raises
        return error
