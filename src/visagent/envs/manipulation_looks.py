"""Looks of robosuite's tasks in which a policy is tested, in three grades of ten fixed scenes each (dissertation
Section 5.5.3): textures, colours, light, camera.

The dissertation says that textures of table, floor and objects distract more and more. Its authors' are textures
that were photographed; ours are made, and what a grade changes is ours, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visagent.textures import coloured_field

SCENES = 10
"""Of a grade."""
FACE, CELLS = 128, (4, 8, 16)
"""Side of a pattern in pixels, and into how many cells checks and stripes part it."""
ROBOTS = ("robot", "gripper", "mount", "fixed_mount", "left_", "right_")
"""How names of what belongs to robots begin; nothing of it changes."""


@dataclass(frozen=True)
class Grade:
    """How much a scene differs from the training's.

    Attributes:
        mixed: share of a pattern in a texture; the rest is the training's.
        vivid: whether patterns are fields of colour alone, or also checks and stripes of two colours.
        colour: how far channels of what has no texture move at most.
        light: how far the light's channels are dimmed at most.
        camera: how far the camera moves at most, metres.
    """

    mixed: float
    vivid: bool
    colour: float
    light: float
    camera: float


GRADES = {
    "narrow": Grade(0.2, False, 0.05, 0.05, 0.0),
    "easy": Grade(0.4, False, 0.1, 0.1, 0.0),
    "hard": Grade(0.8, False, 0.2, 0.3, 0.01),
    "extreme": Grade(1.0, True, 0.4, 0.5, 0.03),
}
"""The narrow one is for domain randomization, which is to train on less than it is tested in; its scenes never end."""
LOOKS = ("train", *GRADES)


def pattern(rng: np.random.Generator, vivid: bool) -> NDArray[np.float32]:
    """`[128, 128, 3]` in [0, 1]."""
    kind = int(rng.integers(3)) if vivid else 0
    if kind == 0:
        return coloured_field(rng, FACE)
    cells = np.arange(FACE) * int(rng.choice(CELLS)) // FACE
    row, column = cells[:, None], cells[None]
    second = (row + column) % 2 if kind == 1 else np.broadcast_to(column % 2, (FACE, FACE))
    colours = rng.uniform(size=(2, 3)).astype(np.float32)
    return colours[second]


class Wardrobe:
    """Dresses a model, which keeps what it wore in training.

    Args:
        model: MuJoCo's.
        camera: name of the one that moves.
    """

    def __init__(self, model: Any, camera: str) -> None:
        self.model, self.camera = model, model.camera(camera).id
        self.stock = {
            name: getattr(model, name).copy()
            for name in ("tex_data", "mat_rgba", "geom_rgba", "light_diffuse", "light_ambient", "cam_pos")
        }

    def wear(self, look: str, number: int) -> None:
        """Dress the model for a scene; `train` is what it wore before.

        Args:
            look: of `LOOKS`.
            number: of the episode; every tenth has the same scene, except in the narrow look.
        """
        for name, array in self.stock.items():
            getattr(self.model, name)[:] = array
        if look == "train":
            return
        grade, model = GRADES[look], self.model
        rng = np.random.default_rng([list(GRADES).index(look), number if look == "narrow" else number % SCENES])
        for texture in range(model.ntex):
            self._weave(texture, pattern(rng, grade.vivid), grade.mixed)
        ours = [number for number in range(model.nmat) if not model.mat(number).name.startswith(ROBOTS)]
        plain = [number for number in ours if (model.mat_texid[number] < 0).all()]
        bare = [
            number
            for number in range(model.ngeom)
            if model.geom_matid[number] < 0 and not model.body(model.geom_bodyid[number]).name.startswith(ROBOTS)
        ]
        for array, places in ((model.mat_rgba, plain), (model.geom_rgba, bare)):
            moved = rng.uniform(-grade.colour, grade.colour, (len(places), 3))
            array[places, :3] = (array[places, :3] + moved).clip(0.0, 1.0)
        model.light_diffuse[:] *= 1.0 - rng.uniform(0.0, grade.light, 3)
        model.light_ambient[:] *= 1.0 - rng.uniform(0.0, grade.light, 3)
        model.cam_pos[self.camera] += rng.uniform(-grade.camera, grade.camera, 3)

    def _weave(self, texture: int, woven: NDArray[np.float32], share: float) -> None:
        model = self.model
        height, width, channels = (
            int(array[texture]) for array in (model.tex_height, model.tex_width, model.tex_nchannel)
        )
        begin = int(model.tex_adr[texture])
        data = model.tex_data[begin : begin + height * width * channels].reshape(height, width, channels)
        side = min(height, width)  # cubes and skies are six faces, one below the other
        face = np.asarray(Image.fromarray(np.rint(255 * woven).astype(np.uint8)).resize((side, side)), np.float32)
        faces = np.tile(face, (-(-height // side), -(-width // side), 1))[:height, :width]
        data[..., :3] = np.rint((1 - share) * data[..., :3] + share * faces).astype(np.uint8)
