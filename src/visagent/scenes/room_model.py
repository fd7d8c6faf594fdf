"""A room as MuJoCo's model: walls, furniture, and textures into which the light is baked.

The dumps' frame is left-handed with y up (Unity); swapping y and z gives MuJoCo's right-handed frame with z up, so that
heading 0 looks along MuJoCo's +y and 90 along +x, and no image is mirrored.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from visagent.scenes import textures
from visagent.scenes.furniture import Palette
from visagent.scenes.layout import CEILING, PARTITION, Placed, Room
from visagent.scenes.textures import ByteImage, Colour, FloatImage, colour

HEIGHT, WIDTH = 300, 400
"""Frame size in pixels, as in the THOR dumps."""
FIELD_OF_VIEW = 72.0
"""Vertical, degrees."""
PIXELS_PER_METRE = 72
ART_COUNT, BOOK_COUNT = 8, 3
LAMP = "lamp"


def _png(image: FloatImage | ByteImage) -> bytes:
    data = image if image.dtype == np.uint8 else textures.to_bytes(image.astype(np.float32))
    buffer = io.BytesIO()
    Image.fromarray(data).save(buffer, format="png", compress_level=1)
    return buffer.getvalue()


@dataclass(frozen=True)
class Lamp:
    """A globe that hangs from the ceiling.

    Attributes:
        x, z: where, metres.
        height: of its middle, metres.
        radius: metres.
        finish: its colour, or a picture around it.
    """

    x: float
    z: float
    height: float
    radius: float
    finish: Colour | FloatImage


class RoomModel:
    """Builds the MJCF text and the texture files of a room, with a globe in it where one is given."""

    def __init__(self, room: Room, style_seed: int, lamp: Lamp | None = None) -> None:
        self.room, self.lamp = room, lamp
        self.rng = np.random.default_rng([style_seed, 77])
        self.palette = Palette(np.random.default_rng([style_seed, 78]))
        self.assets: dict[str, bytes] = {}
        self.materials: list[str] = []
        self.bodies: list[str] = []

    def build(self) -> tuple[str, dict[str, bytes]]:
        """The MJCF text and its assets, `{file name: png bytes}`."""
        self._furniture_textures()
        self._floor_and_ceiling()
        self._walls()
        for placed in self.room.placed:
            self._piece(placed)
        if self.lamp is not None:
            self._hang(self.lamp)
        return self._document(), self.assets

    def _hang(self, lamp: Lamp) -> None:
        if isinstance(lamp.finish, np.ndarray):
            self._texture("globe", lamp.finish, kind="cube", emission=0.3)
            look = 'material="globe"'
        else:
            look = f'material="matte" rgba="{_rgba(lamp.finish)}"'
        place, top = f"{lamp.x:.4f} {lamp.z:.4f}", lamp.height + lamp.radius
        self.bodies.append(
            f'<geom name="{LAMP}" type="sphere" size="{lamp.radius}" pos="{place} {lamp.height:.4f}" {look}/>'
        )
        self.bodies.append(
            f'<geom type="cylinder" size="0.01" fromto="{place} {top:.4f} {place} {CEILING:.4f}" material="matte" '
            'rgba="0.1 0.1 0.1 1"/>'
        )

    def _texture(self, name: str, image: FloatImage, kind: str = "2d", emission: float = 0.0) -> None:
        self.assets[f"{name}.png"] = _png(image)
        self.materials.append(f'<texture name="{name}" type="{kind}" file="{name}.png"/>')
        self.materials.append(
            f'<material name="{name}" texture="{name}" emission="{emission}" specular="0" shininess="0" '
            'reflectance="0"/>'
        )

    def _furniture_textures(self) -> None:
        rng, palette = self.rng, self.palette
        self._texture("wood", textures.wood(rng, palette.wood), kind="cube")
        for index in range(ART_COUNT):
            self._texture(f"art{index}", textures.art(rng), emission=0.25)
        for index in range(BOOK_COUNT):
            self._texture(f"books{index}", textures.books(rng), emission=0.1)
        for index in range(2):
            self._texture(f"view{index}", textures.window_view(rng), emission=0.7)
        self._texture("clock", textures.clock_face(rng), emission=0.2)
        gradient = np.linspace(0.95, 0.72, 64, dtype=np.float32)[:, None, None] * np.asarray(
            [0.86, 0.93, 0.96], np.float32
        )
        self._texture("mirror", np.broadcast_to(gradient, (64, 64, 3)).copy(), emission=0.25)

    def _floor_image(self, height: int, width: int) -> FloatImage:
        rng = self.rng
        warm = colour(rng.uniform(0.05, 0.1), rng.uniform(0.3, 0.6), rng.uniform(0.45, 0.8))
        if self.room.kind in ("bathroom", "kitchen"):
            base = colour(rng.random(), rng.uniform(0.05, 0.25), rng.uniform(0.55, 0.9))
            image = textures.tiles(
                rng, height, width, base, int(rng.integers(20, 34)), accent=colour(rng.random(), 0.4, 0.55)
            )
        elif rng.random() < 0.65:
            image = textures.planks(rng, height, width, warm, int(rng.integers(7, 12)))
        else:
            image = textures.carpet(rng, height, width, colour(rng.random(), 0.25, 0.6))
        return image * (1 + 0.12 * textures.noise(rng, height, width, 5)[..., None])

    def _floor_and_ceiling(self) -> None:
        room, rng, scale = self.room, self.rng, PIXELS_PER_METRE
        height, width = int(room.depth * scale), int(room.width * scale)
        image = self._floor_image(height, width)
        shade = np.zeros((height, width), np.float32)
        for placed in room.placed:
            if not placed.piece.flat and placed.piece.bottom == 0:
                x0, z0, x1, z1 = (int(v * scale) for v in placed.footprint())
                shade[max(z0, 0) : z1, max(x0, 0) : x1] = 1.0
        for _ in range(1 if room.kind in ("bathroom", "kitchen") else 3):  # rugs lie where no furniture stands
            long, wide = rng.uniform(1.0, 2.2), rng.uniform(0.7, 1.5)
            h, w = int(long * scale), int(wide * scale)
            if rng.random() < 0.5:
                h, w = w, h
            top, left = int(rng.integers(10, max(11, height - h - 10))), int(rng.integers(10, max(11, width - w - 10)))
            image[top : top + h, left : left + w] = textures.rug(rng, h, w)[: height - top, : width - left]
        occlusion = 0.62 * textures.soft(shade, 0.14 * scale)
        edge = np.ones((height, width), np.float32)
        edge[6:-6, 6:-6] = 0
        occlusion = np.clip(occlusion + 0.55 * textures.soft(edge, 0.22 * scale), 0, 0.8)
        self._texture("floor", textures.shadowed(image, occlusion)[::-1])
        ceiling = textures.mottled(rng, height // 2, width // 2, (0.93, 0.92, 0.9), 0.05)
        self._texture("ceiling", ceiling, emission=0.3)
        half = f"{room.width / 2:.3f} {room.depth / 2:.3f} 0.02"
        middle = f"{room.width / 2:.3f} {room.depth / 2:.3f}"
        self.bodies.append(f'<geom type="box" size="{half}" pos="{middle} -0.02" material="floor"/>')
        self.bodies.append(
            f'<geom type="box" size="{half}" pos="{middle} {CEILING + 0.02}" material="ceiling" group="1"/>'
        )
        lamp = self.palette.any(0.25, 1.0)
        for x in (room.width * 0.3, room.width * 0.72):
            z = room.depth * float(rng.uniform(0.3, 0.7))
            self.bodies.append(
                f'<geom type="cylinder" size="0.22 0.05" pos="{x:.3f} {z:.3f} {CEILING - 0.05}" material="glow" '
                f'rgba="{_rgba(lamp)}" group="1"/>'
            )

    def _wall_image(self, width: int, height: int) -> FloatImage:
        rng = self.rng
        base = colour(rng.random(), rng.uniform(0.05, 0.4), rng.uniform(0.7, 0.93))
        other = colour(rng.random(), rng.uniform(0.2, 0.6), rng.uniform(0.5, 0.85))
        if self.room.kind == "bathroom" and rng.random() < 0.75:
            image = textures.tiles(rng, height, width, base, int(rng.integers(9, 22)), accent=other)
            cut = int(height * rng.uniform(0.0, 0.35))
            image[:cut] = textures.mottled(rng, cut, width, (0.92, 0.92, 0.9)) if cut else image[:cut]
        else:
            kind = int(rng.integers(4))
            if kind == 0:
                image = textures.mottled(rng, height, width, base, 0.12)
            else:
                image = (textures.stripes, textures.blossoms, textures.panelling)[kind - 1](
                    rng, height, width, base, other
                )
        return image * (1 + 0.14 * textures.noise(rng, height, width, 4)[..., None]).astype(np.float32)

    def _walls(self) -> None:
        scale = PIXELS_PER_METRE
        for index, surface in enumerate(self.room.surfaces):
            width, height = int(surface.length * scale), int(CEILING * scale)
            image = self._wall_image(width, height)
            shade = np.zeros((height, width), np.float32)
            for placed in self.room.placed:
                near = placed.yaw == surface.yaw and not placed.piece.flat
                along = _along(surface.start, surface.yaw, placed)
                if near and abs(along[1]) < 0.05:
                    left, right = (int((along[0] + s * placed.piece.width / 2) * scale) for s in (-1, 1))
                    shade[max(0, height - int(placed.piece.height * scale)) :, max(0, left) : max(0, right)] = 1.0
            occlusion = 0.4 * textures.soft(shade, 0.12 * scale)
            edge = np.zeros((height, width), np.float32)
            edge[:8], edge[-8:], edge[:, :8], edge[:, -8:] = 0.8, 1.0, 1.0, 1.0
            occlusion = np.clip(occlusion + 0.6 * textures.soft(edge, 0.16 * scale), 0, 0.7)
            name = f"wall{index}"
            # The shade was painted along the wall; seen from the room that runs to the left.
            self._texture(name, textures.shadowed(image, occlusion[:, ::-1]), emission=0.12)
            x, z = surface.point(surface.length / 2)
            self._panel(x, z, surface.yaw, 0.0, 0.0, CEILING / 2, surface.length, CEILING, name)
            skirting = 0.08
            self.bodies.append(
                self._geom(
                    "box",
                    x,
                    z,
                    surface.yaw,
                    (0, 0.012, skirting / 2),
                    (surface.length, 0.024, skirting),
                    (0.9, 0.89, 0.87),
                )
            )
        if self.room.partition:
            x0, z0, _, _ = self.room.partition
            end = self._geom(
                "box", x0 + PARTITION / 2, z0, 180, (0, 0.0, CEILING / 2), (PARTITION, 0.02, CEILING), (0.82, 0.8, 0.76)
            )
            self.bodies.append(end)

    def _piece(self, placed: Placed) -> None:
        for part in placed.piece.parts:
            x, y, z = part.centre
            if part.shape == "panel":
                self._panel(placed.x, placed.z, placed.yaw, x, y, z, part.size[0], part.size[2], str(part.finish))
            else:
                self.bodies.append(
                    self._geom(part.shape, placed.x, placed.z, placed.yaw, part.centre, part.size, part.finish)
                )

    def _geom(
        self,
        shape: str,
        x: float,
        z: float,
        yaw: int,
        centre: tuple[float, float, float],
        size: tuple[float, float, float],
        finish: Colour | str,
    ) -> str:
        wx, wz = _turn(x, z, yaw, centre[0], centre[1])
        if shape == "cylinder":
            extent = f"{size[0] / 2:.4f} {size[2] / 2:.4f}"
        else:
            extent = " ".join(f"{v / 2:.4f}" for v in size)
        look = f'material="{finish}"' if isinstance(finish, str) else f'material="matte" rgba="{_rgba(finish)}"'
        return (
            f'<geom type="{shape}" pos="{wx:.4f} {wz:.4f} {centre[2]:.4f}" euler="0 0 {-yaw}" size="{extent}" {look}/>'
        )

    def _panel(
        self,
        x: float,
        z: float,
        yaw: int,
        right: float,
        front: float,
        up: float,
        width: float,
        height: float,
        texture: str,
    ) -> None:
        """A thin box whose local z looks to the front, so that MuJoCo maps the 2D texture onto its face."""
        wx, wz = _turn(x, z, yaw, right, front)
        facing = math.radians(-yaw)
        # columns of the rotation: the image's x runs to the viewer's right, its y up, its z towards the viewer
        axis_x = (-math.cos(facing), -math.sin(facing), 0.0)
        self.bodies.append(
            f'<geom type="box" pos="{wx:.4f} {wz:.4f} {up:.4f}" xyaxes="{axis_x[0]:.5f} {axis_x[1]:.5f} 0 0 0 1" '
            f'size="{width / 2:.4f} {height / 2:.4f} 0.005" material="{texture}"/>'
        )

    def _document(self) -> str:
        room = self.room
        lights = "".join(
            f'<light pos="{room.width * fx:.2f} {room.depth * fz:.2f} {CEILING - 0.3}" dir="0 0 -1" '
            'castshadow="false" cutoff="180" '
            f'attenuation="1 0.08 0.03" diffuse="{power} {power} {power * 0.96:.3f}" specular="0 0 0" ambient="0 0 0"/>'
            for fx, fz, power in ((0.3, 0.35, 0.5), (0.75, 0.6, 0.42))
        )
        nl = "\n"
        return f"""<mujoco>
<compiler angle="degree"/>
<statistic extent="1" center="0 0 0"/>
<visual>
<global offwidth="{WIDTH}" offheight="{HEIGHT}" fovy="{FIELD_OF_VIEW}"/>
<quality shadowsize="0" offsamples="0" numquads="1" numslices="12" numstacks="8"/>
<headlight ambient="0.42 0.42 0.42" diffuse="0.16 0.16 0.16" specular="0 0 0"/>
<map znear="0.03" zfar="40"/>
</visual>
<asset>
<material name="matte" specular="0" shininess="0" reflectance="0"/>
<material name="glow" emission="0.9" specular="0" shininess="0" reflectance="0"/>
{nl.join(self.materials)}
</asset>
<worldbody>
<camera name="eye" fovy="{FIELD_OF_VIEW}" pos="0 0 0"/>
{lights}
{nl.join(self.bodies)}
</worldbody>
</mujoco>"""


def _rgba(value: Colour) -> str:
    return " ".join(f"{min(max(v, 0.0), 1.0):.3f}" for v in value) + " 1"


def _turn(x: float, z: float, yaw: int, right: float, forward: float) -> tuple[float, float]:
    angle = math.radians(yaw)
    return (
        x + right * math.cos(angle) + forward * math.sin(angle),
        z - right * math.sin(angle) + forward * math.cos(angle),
    )


def _along(start: tuple[float, float], yaw: int, placed: Placed) -> tuple[float, float]:
    """Where a piece stands relative to a surface: metres along it, and off it."""
    angle = math.radians(yaw)
    dx, dz = placed.x - start[0], placed.z - start[1]
    return (dx * math.cos(angle) - dz * math.sin(angle), dx * math.sin(angle) + dz * math.cos(angle))
