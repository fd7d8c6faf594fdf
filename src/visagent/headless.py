"""Which OpenGL MuJoCo draws with: mujoco reads `MUJOCO_GL` once, when it is imported first, and without it looks for a
display.
"""

from __future__ import annotations

import os
from functools import cache

from visagent.errors import UserError

BACKENDS = ("egl", "osmesa", "glfw")


class RenderingUnavailable(UserError, RuntimeError):
    """No headless OpenGL on this machine."""


def prefer_headless() -> str | None:
    """Set `MUJOCO_GL` to a headless backend where the user has not; call it before anything imports mujoco.

    Returns:
        The value of `MUJOCO_GL`: the user's own, else `egl` where libEGL is found, else `osmesa`; None without either
            library.

    Raises:
        RenderingUnavailable: when the user's own value is none of `BACKENDS`.
    """
    # Mesa's software rasteriser is fastest per core without helper threads: scenes are made and worlds run by parallel
    # processes.
    os.environ.setdefault("LP_NUM_THREADS", "0")
    if wanted := os.environ.get("MUJOCO_GL"):
        if wanted not in BACKENDS:
            raise RenderingUnavailable(
                f"MUJOCO_GL={wanted}: expected one of {', '.join(BACKENDS)}; unset it to have one chosen"
            )
        return wanted
    if backend := _found():
        os.environ["MUJOCO_GL"] = backend
    return backend


@cache
def _found() -> str | None:
    from ctypes.util import find_library

    return next((backend for backend, library in (("egl", "EGL"), ("osmesa", "OSMesa")) if find_library(library)), None)


def require_headless() -> str:
    """Like `prefer_headless`, but fails where nothing can be drawn.

    Raises:
        RenderingUnavailable: also when neither library is there.
    """
    if backend := prefer_headless():
        return backend
    raise RenderingUnavailable(
        "no headless OpenGL found (got neither libEGL nor libOSMesa; rendering needs one): "
        "run 'apt-get install -y libegl1 libgl1-mesa-dri' or 'apt-get install -y libosmesa6'"
    )
