"""Images painted in code: wallpapers, floors, rugs, pictures, window views.

Every function takes an explicit generator and returns `uint8` RGB `[height, width, 3]`; nothing is read from disk, so
that embedded scenes need no asset and no licence.
"""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

Colour = tuple[float, float, float]
FloatImage = NDArray[np.float32]
ByteImage = NDArray[np.uint8]


def colour(hue: float, saturation: float, value: float) -> Colour:
    """An RGB colour in `[0, 1]` from hue, saturation and value in `[0, 1]` (the hue wraps round)."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, float(np.clip(saturation, 0, 1)), float(np.clip(value, 0, 1)))
    return (red, green, blue)


def to_bytes(image: FloatImage) -> ByteImage:
    """Clip a float image in `[0, 1]` and quantise it."""
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _float(image: NDArray[Any]) -> FloatImage:
    return image.astype(np.float32, copy=False)


def flat(height: int, width: int, fill: Colour) -> FloatImage:
    """A canvas of one colour, `[height, width, 3]`."""
    return np.broadcast_to(np.asarray(fill, np.float32), (height, width, 3)).copy()


def noise(rng: np.random.Generator, height: int, width: int, cells: int) -> FloatImage:
    """Smooth value noise in about `[-1, 1]`, `[height, width]`, with `cells` control points along the longer side."""
    longer = max(height, width)
    rows, columns = max(2, round(cells * height / longer)), max(2, round(cells * width / longer))
    grid = Image.fromarray(rng.uniform(-1, 1, (rows, columns)).astype(np.float32), mode="F")
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)


def mottled(rng: np.random.Generator, height: int, width: int, base: Colour, amount: float = 0.08) -> FloatImage:
    """Plaster: a base colour with uneven large and small patches."""
    shade = (
        0.6 * noise(rng, height, width, 5) + 0.3 * noise(rng, height, width, 19) + 0.1 * noise(rng, height, width, 90)
    )
    return _float(flat(height, width, base) * (1.0 + amount * shade[..., None]))


def stripes(rng: np.random.Generator, height: int, width: int, base: Colour, other: Colour) -> FloatImage:
    """Vertical stripes of unequal widths, so that no two places of the wall look the same."""
    image = mottled(rng, height, width, base, 0.04)
    x = 0
    while x < width:
        x += int(rng.integers(width // 40 + 2, width // 12 + 4))
        band = int(rng.integers(width // 60 + 2, width // 18 + 4))
        image[:, x : x + band] = 0.35 * image[:, x : x + band] + 0.65 * np.asarray(other, np.float32)
        x += band
    return image


def blossoms(rng: np.random.Generator, height: int, width: int, base: Colour, other: Colour) -> FloatImage:
    """Scattered round blossoms of different sizes on a plain ground."""
    image = mottled(rng, height, width, base, 0.04)
    rows, columns = np.mgrid[0:height, 0:width]
    for _ in range(int(26 * width / height)):
        cy, cx, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.02, 0.055) * height
        top, left, reach = int(max(cy - 2 * radius, 0)), int(max(cx - 2 * radius, 0)), int(4 * radius) + 2
        window = (slice(top, top + reach), slice(left, left + reach))
        dy, dx = rows[window] - cy, columns[window] - cx
        petals = radius * (1 + 0.35 * np.cos(rng.integers(4, 8) * np.arctan2(dy, dx) + rng.uniform(0, 6)))
        distance = np.hypot(dx, dy)
        image[window][distance < petals] = np.asarray(other, np.float32) * rng.uniform(0.85, 1.1)
        image[window][distance < 0.3 * radius] = colour(rng.uniform(0.08, 0.16), 0.5, 0.95)
    return image


def panelling(rng: np.random.Generator, height: int, width: int, base: Colour, other: Colour) -> FloatImage:
    """Painted wainscot up to 1.0 m of a 2.6 m wall, plaster above."""
    image = mottled(rng, height, width, base, 0.07)
    top = int(height * (1 - 1.0 / 2.6))
    image[top:] = mottled(rng, height - top, width, other, 0.04)
    image[top : top + max(2, height // 70)] *= 0.7
    x = 0
    while x < width:
        board = int(rng.integers(height // 12, height // 6))
        image[top:, x : x + 2] *= 0.8
        x += board
    return image


def tiles(
    rng: np.random.Generator,
    height: int,
    width: int,
    base: Colour,
    size: int,
    spread: float = 0.06,
    accent: Colour | None = None,
) -> FloatImage:
    """Square tiles `size` pixels wide with joints; each tile has its own shade, a few carry the accent colour."""
    rows, columns = height // size + 1, width // size + 1
    shade = 1.0 + spread * rng.standard_normal((rows, columns)).astype(np.float32)
    colours = shade[..., None] * np.asarray(base, np.float32)
    if accent is not None:
        chosen = rng.random((rows, columns)) < 0.12
        colours[chosen] = np.asarray(accent, np.float32) * rng.uniform(0.85, 1.1, (int(chosen.sum()), 1))
    image = colours.repeat(size, 0).repeat(size, 1)[:height, :width]
    joint = max(1, size // 18)
    line = np.zeros((height, width), bool)
    line[np.arange(height) % size < joint] = True
    line[:, np.arange(width) % size < joint] = True
    image[line] = image[line] * 0.5 + 0.25
    return image.astype(np.float32)


def planks(rng: np.random.Generator, height: int, width: int, base: Colour, board: int) -> FloatImage:
    """Wooden boards running along the width, `board` pixels each, with grain and staggered ends."""
    image = np.empty((height, width, 3), np.float32)
    grain = noise(rng, height, width, max(height, width) // 3) * 0.5 + noise(rng, height, width, 40) * 0.5
    for top in range(0, height, board):
        rows = slice(top, min(top + board, height))
        x = -int(rng.integers(0, board * 8))
        while x < width:
            length = int(rng.integers(board * 5, board * 11))
            columns = slice(max(x, 0), max(min(x + length, width), 0))
            image[rows, columns] = np.asarray(base, np.float32) * rng.uniform(0.8, 1.12)
            if 0 <= x < width:
                image[rows, x : x + 2] *= 0.6
            x += length
        image[top : top + 1] *= 0.6
    return image * (1.0 + 0.1 * grain[..., None])


def carpet(rng: np.random.Generator, height: int, width: int, base: Colour) -> FloatImage:
    """Deep-pile carpet: fine noise on slow shading."""
    fine = rng.standard_normal((height, width)).astype(np.float32)
    return flat(height, width, base) * (1 + 0.05 * fine[..., None] + 0.08 * noise(rng, height, width, 8)[..., None])


def wood(rng: np.random.Generator, base: Colour, size: int = 128) -> FloatImage:
    """A piece of furniture wood with upright grain."""
    lines = noise(rng, size, size, 6)
    rings = np.sin(np.linspace(0, 50, size)[None, :] + 5 * lines) * 0.5
    return flat(size, size, base) * (1 + 0.08 * rings[..., None] + 0.05 * noise(rng, size, size, 60)[..., None]).astype(
        np.float32
    )


def rug(rng: np.random.Generator, height: int, width: int) -> FloatImage:
    """A rug with a border and a medallion, stripes or diamonds."""
    hue = rng.random()
    ground, second, third = colour(hue, 0.55, 0.6), colour(hue + 0.45, 0.5, 0.75), colour(hue + 0.1, 0.3, 0.9)
    image = flat(height, width, ground)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    pattern = int(rng.integers(3))
    if pattern == 0:
        image[np.hypot(x, y) < 0.6] = second
        image[np.hypot(x, y) < 0.35] = third
        image[np.abs(x) + np.abs(y) < 0.25] = ground
    elif pattern == 1:
        for edge in np.sort(rng.uniform(-0.9, 0.9, 9)):
            image[np.abs(x - edge) < rng.uniform(0.02, 0.08)] = second if rng.random() < 0.5 else third
    else:
        cell = np.abs((x * 2.5) % 1 - 0.5) + np.abs((y * 2.5) % 1 - 0.5)
        image[cell < 0.3] = second
        image[cell < 0.15] = third
    edge = np.maximum(np.abs(x), np.abs(y))
    image[(edge > 0.86) & (edge < 0.94)] = third
    return image * (1 + 0.05 * rng.standard_normal((height, width, 1)).astype(np.float32))


def _art_landscape(rng: np.random.Generator, size: int) -> FloatImage:
    sky, ground = colour(rng.uniform(0.5, 0.65), 0.4, 0.95), colour(rng.uniform(0.2, 0.4), 0.6, 0.5)
    image = flat(size, size, sky) * np.linspace(0.8, 1.1, size, dtype=np.float32)[:, None, None]
    rows, columns = np.mgrid[0:size, 0:size]
    image[np.hypot(rows - size * 0.25, columns - size * rng.uniform(0.2, 0.8)) < size * 0.09] = colour(0.12, 0.5, 1.0)
    for depth in range(3):
        ridge = size * (0.45 + 0.17 * depth) + noise(rng, 2, size, 5)[0] * size * 0.14
        image[rows > ridge[None, :]] = np.asarray(ground) * (0.7 + 0.3 * depth)
    return image


def _art_circles(rng: np.random.Generator, size: int) -> FloatImage:
    image = flat(size, size, colour(rng.random(), 0.2, 0.95))
    rows, columns = np.mgrid[0:size, 0:size]
    for _ in range(7):
        distance = np.hypot(rows - rng.uniform(0, size), columns - rng.uniform(0, size))
        image[distance < rng.uniform(0.08, 0.3) * size] = colour(rng.random(), 0.7, 0.85)
    return image


def _art_blocks(rng: np.random.Generator, size: int) -> FloatImage:
    image = flat(size, size, (0.95, 0.94, 0.9))
    cuts = np.concatenate([[0], np.sort(rng.integers(10, size - 10, 3)), [size]])
    other = np.concatenate([[0], np.sort(rng.integers(10, size - 10, 3)), [size]])
    for top, bottom in itertools.pairwise(cuts):
        for left, right in itertools.pairwise(other):
            if rng.random() < 0.55:
                image[top:bottom, left:right] = colour(rng.random(), 0.85, 0.8)
            image[top : top + 3, left:right] = 0.05
            image[top:bottom, left : left + 3] = 0.05
    return image


def _art_portrait(rng: np.random.Generator, size: int) -> FloatImage:
    image = flat(size, size, colour(rng.random(), 0.5, 0.45)) * (1 + 0.2 * noise(rng, size, size, 6)[..., None])
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    image[(x / 0.75) ** 2 + ((y - 1.0) / 0.7) ** 2 < 1] = colour(rng.random(), 0.6, 0.5)
    image[(x / 0.4) ** 2 + ((y + 0.2) / 0.52) ** 2 < 1] = colour(rng.uniform(0.02, 0.1), 0.6, 0.3)
    image[(x / 0.31) ** 2 + ((y + 0.1) / 0.42) ** 2 < 1] = colour(0.07, rng.uniform(0.3, 0.5), rng.uniform(0.6, 0.95))
    return image


def art(rng: np.random.Generator, size: int = 128) -> FloatImage:
    """A picture for the wall: landscape, circles, blocks or portrait, `[size, size, 3]`."""
    kinds: list[Callable[[np.random.Generator, int], FloatImage]] = [
        _art_landscape,
        _art_circles,
        _art_blocks,
        _art_portrait,
    ]
    return kinds[int(rng.integers(len(kinds)))](rng, size)


def window_view(rng: np.random.Generator, size: int = 160) -> FloatImage:
    """What is seen through a window: bright sky with clouds over trees or houses."""
    image = flat(size, size, colour(0.57, 0.35, 1.0))
    clouds = np.clip(noise(rng, size, size, 7) * 1.5, 0, 1)[..., None]
    image = image * (1 - clouds) + clouds
    rows, columns = np.mgrid[0:size, 0:size]
    if rng.random() < 0.5:
        ridge = size * 0.62 + noise(rng, 2, size, 14)[0] * size * 0.1
        image[rows > ridge[None, :]] = colour(0.3, 0.55, 0.5)
    else:
        x = 0
        while x < size:
            width, top = int(rng.integers(18, 44)), int(size * rng.uniform(0.4, 0.7))
            image[top:, x : x + width] = colour(rng.uniform(0.0, 0.12), 0.35, rng.uniform(0.5, 0.8))
            image[top + 6 :: 14, x + 4 : x + width - 4 : 9] = colour(0.6, 0.3, 0.9)
            x += width
    image[int(size * 0.85) :] = colour(0.28, 0.5, 0.6)
    bars = (np.abs(columns - size / 2) < 4) | (np.abs(rows - size / 2) < 3)
    bars |= (columns < 7) | (columns >= size - 7) | (rows < 7) | (rows >= size - 7)
    image[bars] = 0.97
    return _float(image)


def books(rng: np.random.Generator, height: int = 64, width: int = 128) -> FloatImage:
    """The spines of a row of books."""
    image = flat(height, width, (0.15, 0.1, 0.08))
    x = 1
    while x < width:
        thick, top = int(rng.integers(5, 13)), int(height * rng.uniform(0.05, 0.35))
        image[top:, x : x + thick - 1] = colour(rng.random(), rng.uniform(0.3, 0.8), rng.uniform(0.35, 0.85))
        band = int(rng.integers(top + 5, height - 8))
        image[band : band + 3, x : x + thick - 1] = 0.9
        x += thick + (12 if rng.random() < 0.08 else 0)
    return image


def clock_face(rng: np.random.Generator, size: int = 96) -> FloatImage:
    """A white clock face with hands, `[size, size, 3]`."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    radius, angle = np.hypot(x, y), np.arctan2(x, -y) % (2 * np.pi)
    image = flat(size, size, colour(rng.random(), 0.5, 0.35))
    image[radius < 0.88] = 0.96
    image[(radius > 0.7) & (radius < 0.84) & (np.abs((angle + 0.05) % (np.pi / 6)) < 0.1)] = 0.1
    for length, width in ((0.45, 0.07), (0.68, 0.04)):
        at = rng.uniform(0, 2 * np.pi)
        along, across = x * np.sin(at) - y * np.cos(at), x * np.cos(at) + y * np.sin(at)
        image[(along > 0) & (along < length) & (np.abs(across) < width)] = 0.08
    return image


def shadowed(image: FloatImage, occlusion: FloatImage) -> FloatImage:
    """Multiply an image by `1 - occlusion`, `occlusion` `[height, width]` in `[0, 1]`: light baked into the texture."""
    return _float(image * (1.0 - occlusion[..., None]))


def soft(mask: FloatImage, sigma: float) -> FloatImage:
    """A blurred mask, for soft shadows; `sigma` in pixels."""
    return _float(gaussian_filter(mask, sigma, mode="nearest"))
