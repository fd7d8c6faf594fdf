"""First-person frames of rooms, drawn by MuJoCo.

Without a shadow map and multisampling, the light being in the textures (`visagent.scenes.room_model`), a furnished room
renders at a few hundred 300x400 frames per CPU-second without a GPU, on EGL and OSMesa alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visagent.headless import RenderingUnavailable, require_headless
from visagent.scenes.layout import Room
from visagent.scenes.room_model import FIELD_OF_VIEW, HEIGHT, LAMP, WIDTH, Lamp, RoomModel

if TYPE_CHECKING:
    import mujoco

CAMERA_HEIGHT = 1.45
PITCH = -8.0


def probe() -> str:
    """Render one tiny frame and return the backend that did it.

    Raises:
        RenderingUnavailable: when no headless OpenGL works here.
    """
    backend = require_headless()
    import mujoco

    model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom type='box' size='1 1 1'/></worldbody></mujoco>")
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = _open(model, 16, 16, backend)
    renderer.update_scene(data)
    renderer.render()
    renderer.close()
    return backend


def _open(model: Any, height: int, width: int, backend: str) -> Any:
    import mujoco

    try:
        return mujoco.Renderer(model, height, width)
    except Exception as error:  # each backend raises its own type here; all mean the same thing to a user
        raise RenderingUnavailable(
            f"MuJoCo could not open a headless OpenGL context with MUJOCO_GL={backend} ({type(error).__name__}: "
            f"{error}): "
            "run 'apt-get install -y libegl1 libgl1-mesa-dri', or 'apt-get install -y libosmesa6' and set "
            "MUJOCO_GL=osmesa"
        ) from error


class SceneRenderer:
    """Renders first-person frames of one room; close it, or use it as a context manager."""

    def __init__(
        self, room: Room, style_seed: int, height: int = HEIGHT, width: int = WIDTH, lamp: Lamp | None = None
    ) -> None:
        self.backend = require_headless()
        import mujoco

        self._mujoco: Any = mujoco
        self.room = room
        document, assets = RoomModel(room, style_seed, lamp).build()
        self.model: mujoco.MjModel = mujoco.MjModel.from_xml_string(document, assets)
        self.data: mujoco.MjData = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)
        self.renderer = _open(self.model, height, width, self.backend)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self.renderer.scene.flags[flag] = 0

    def __enter__(self) -> SceneRenderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the OpenGL context."""
        self.renderer.close()

    def share_of_lamp(self) -> float:
        """Share of the last frame's pixels that show the lamp."""
        self.renderer.enable_segmentation_rendering()
        try:
            seen = self.renderer.render()
        finally:
            self.renderer.disable_segmentation_rendering()
        mujoco = self._mujoco
        is_lamp = (seen[..., 0] == self.model.geom(LAMP).id) & (seen[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM))
        return float(is_lamp.mean())

    def frame(
        self, x: float, z: float, rotation: float, height: float = CAMERA_HEIGHT, pitch: float = PITCH
    ) -> NDArray[np.uint8]:
        """The view from (x, z) metres, looking to `rotation` degrees: `uint8 [height, width, 3]`."""
        yaw, tilt = math.radians(rotation), math.radians(pitch)
        forward = np.array([math.sin(yaw) * math.cos(tilt), math.cos(yaw) * math.cos(tilt), math.sin(tilt)])
        right = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
        self.data.cam_xpos[0] = (x, z, height)
        self.data.cam_xmat[0] = np.stack([right, np.cross(right, forward), -forward], axis=1).ravel()
        self.renderer.update_scene(self.data, camera=0)
        image: NDArray[np.uint8] = self.renderer.render()
        return image

    def top_view(self, pixels_per_metre: int = 60) -> NDArray[np.uint8]:
        """The room from above without its ceiling, `uint8 [depth, width, 3]`: x runs to the right, z up, one pixel per
        `1 / pixels_per_metre` metre at floor level.
        """
        mujoco = self._mujoco
        height, width = round(self.room.depth * pixels_per_metre), round(self.room.width * pixels_per_metre)
        self.renderer.close()
        self.model.vis.global_.offwidth, self.model.vis.global_.offheight = max(width, WIDTH), max(height, HEIGHT)
        option = mujoco.MjvOption()
        option.geomgroup[1] = 0
        above = 30.0
        self.model.cam_fovy[0] = math.degrees(2 * math.atan(self.room.depth / 2 / above))
        self.data.cam_xpos[0] = (self.room.width / 2, self.room.depth / 2, above)
        self.data.cam_xmat[0] = np.eye(3).ravel()
        self.renderer = _open(self.model, height, width, self.backend)
        self.renderer.update_scene(self.data, camera=0, scene_option=option)
        image: NDArray[np.uint8] = self.renderer.render()
        self.model.cam_fovy[0] = FIELD_OF_VIEW
        return image

    def frames(self, location: NDArray[np.float64], rotation: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        """The views of many poses, one after the other: location `[N, 2]` metres, rotation `[N]` degrees."""
        for (x, z), degrees in zip(location, rotation, strict=True):
            yield self.frame(float(x), float(z), int(degrees))
