"""Looks of the Control Suite's tasks in which a policy is tested: other colours, films behind the scene (Hansen & Wang
2021, DMControl-GB; dissertation Section 5.5.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

COLOURS = {"color_narrow": 0.05, "color_easy": 0.1, "color_hard": 0.2, "color_uniform": None}
"""Standard deviation of each channel around the stock colour; None: any colour. DMControl-GB's hundred settings of easy
and hard have theirs; the narrow one is for domain randomization, which is to train on less than it is tested in.
"""
VIDEOS = ("video_easy", "video_hard")
LOOKS = ("train", *COLOURS, *VIDEOS)
STORED = ("color_easy", "color_hard", *VIDEOS)
"""Of which DMControl-GB has files."""
Colour = tuple[float, float, float]
GREEN: Colour = (0.2, 0.8, 0.2)
"""Which a film takes the place of."""
MATERIALS, SKY = "./common/materials.xml", "./common/skybox.xml"


@dataclass(frozen=True)
class Colours:
    """Colours of a task's scene, channels in [0, 1].

    Attributes:
        grid: of the floor.
        second_grid: of every second square of it; None: 0.1 more of each channel.
        body: of what moves.
        sky: at its top.
    """

    grid: Colour = (0.1, 0.2, 0.3)
    body: Colour = (0.7, 0.5, 0.3)
    sky: Colour = (0.4, 0.6, 0.8)
    second_grid: Colour | None = None


STOCK = Colours()


def colours_of(look: str, rng: np.random.Generator) -> Colours:
    """Colours of an episode in a look; those of films are the stock ones, where no green is."""
    if look not in COLOURS:
        return STOCK
    stock, deviation = np.array([STOCK.grid, STOCK.body, STOCK.sky]), COLOURS[look]
    drawn = (
        rng.uniform(size=stock.shape)
        if deviation is None
        else (stock + rng.normal(0.0, deviation, stock.shape)).clip(0.0, 1.0)
    )
    grid, body, sky = (tuple(channel) for channel in drawn.tolist())
    return Colours(grid, body, sky)


def dressed(assets: Mapping[str, bytes], colours: Colours, look: str, sky_side: int | None = None) -> dict[str, bytes]:
    """A task's assets with other colours.

    Args:
        assets: as `get_model_and_assets` of a domain gives them.
        colours: of the scene.
        look: of `VIDEOS`, in which the sky is green, and the floor in the second one.
        sky_side: of the sky's texture, in place of 800.
    """
    materials, sky = ElementTree.fromstring(assets[MATERIALS]), ElementTree.fromstring(assets[SKY])
    grid = materials.find("asset/texture[@name='grid']")
    second = colours.second_grid or tuple(min(1.0, channel + 0.1) for channel in colours.grid)
    first, second = (GREEN, GREEN) if look == "video_hard" else (colours.grid, second)
    assert grid is not None
    for name, colour in (("rgb1", first), ("rgb2", second), ("markrgb", second)):
        grid.set(name, _text(colour))
    for name in ("self", "self_default"):
        material = materials.find(f"asset/material[@name='{name}']")
        assert material is not None
        material.set("rgba", f"{_text(colours.body)} 1")
    texture = sky.find("asset/texture[@name='skybox']")
    assert texture is not None
    texture.set("rgb1", _text(GREEN if look in VIDEOS else colours.sky))
    if look in VIDEOS:
        texture.set("rgb2", _text(GREEN))
        texture.set("mark", "none")
    if sky_side is not None:
        texture.set("width", str(sky_side))
        texture.set("height", str(sky_side))
    return {**assets, MATERIALS: ElementTree.tostring(materials), SKY: ElementTree.tostring(sky)}


def _text(colour: tuple[float, ...]) -> str:
    return " ".join(f"{channel:.4f}" for channel in colour)


def green_key(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a picture `[H, W, 3]` is green: hue of 100 to 185 degrees, saturation of at least 80 / 255, value of at
    least 70 / 255 (DMControl-GB).
    """
    red, green, blue = (picture[..., channel].astype(np.int32) for channel in range(3))
    high, low = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    spread = high - low
    # the hue is 120 + 60 (blue - red) / spread where green is the most, 240 + 60 (red - green) / spread where blue is
    from_green = (green == high) & (3 * (blue - red) >= -spread)
    from_blue = (blue == high) & (green < high) & (12 * (red - green) <= -11 * spread)
    vivid = (255 * spread >= 80 * high) & (high >= 70) & (spread > 0)
    key: NDArray[np.bool_] = (from_green | from_blue) & vivid
    return key
