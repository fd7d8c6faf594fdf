"""Driving in CARLA (dissertation Section 5.5.4): a panorama of five cameras, thrust and steering, weathers.

What the simulator does stands behind `Simulator`; `visagent.envs.carla_simulator` is CARLA's own, which has not been
run by us for want of the simulator: only the world before it is tested, on a stand-in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from visagent.envs.frames import FrameStack
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.envs.world import Observation
from visagent.errors import ConfigError

TICK = 0.05
"""Seconds of simulated time (Delta t)."""
COLLISION, STEERING = 1e-4, 1.0
"""Weights lambda_c, for each newton second, and lambda_s of Equation 5.4."""
CAMERAS = 5
"""Side by side, 60 degrees each."""
WEATHERS = {
    "train": "ClearNoon",
    "wet_sunset": "WetSunset",
    "wet_cloudy_noon": "WetCloudyNoon",
    "soft_rain_sunset": "SoftRainSunset",
    "mid_rain_sunset": "MidRainSunset",
    "hard_rain_noon": "HardRainNoon",
}
"""Names of CARLA's presets by look."""


@dataclass(frozen=True)
class Moment:
    """What is seen and felt after a tick.

    Attributes:
        pictures: uint8 `[H, W, 3]` of each camera, from left to right.
        velocity: of the vehicle, metres a second, `[3]`.
        road: unit vector along the highway, `[3]`.
        impulse: of collisions since the tick before, newton seconds.
    """

    pictures: Sequence[NDArray[np.uint8]]
    velocity: NDArray[np.float64]
    road: NDArray[np.float64]
    impulse: float


class Simulator(Protocol):
    """A town with one vehicle to drive and traffic around it, which waits for ticks."""

    def begin(self, weather: str, seed: int) -> Moment:
        """A vehicle somewhere on the highway, in a weather of CARLA's names."""
        ...

    def tick(self, thrust: float, steer: float) -> Moment:
        """`TICK` later; thrust below 0 brakes; both in [-1, 1]."""
        ...

    def close(self) -> None:
        """Leave the town as it was."""
        ...


def reward(moment: Moment, steer: float) -> float:
    """Reward of a tick (Equation 5.4): metres along the highway, less collisions and steering."""
    progress = float(np.dot(moment.velocity, moment.road)) * TICK
    return progress - COLLISION * moment.impulse - STEERING * abs(steer)


@dataclass(frozen=True)
class CarlaWorlds:
    """Makes worlds of a running CARLA server, one world a server.

    Actions are thrust and steering, in [-1, 1].

    Args:
        host, port: of the server.
        pixels: side of a camera's picture; the panorama is five times as wide.
        max_steps: time limit in ticks, whatever `action_repeat`.
        action_repeat: ticks for each action; rewards add up.
        frame_stack: observations joined, the newest last.
        look: of `WEATHERS`.
    """

    host: str = "127.0.0.1"
    port: int = 2000
    pixels: int = 84
    max_steps: int = 1000
    action_repeat: int = 8
    frame_stack: int = 3
    look: str = "train"

    def __post_init__(self) -> None:
        if self.look not in WEATHERS:
            raise ConfigError(f"a look of env=carla: expected one of {', '.join(WEATHERS)}, got {self.look!r}")

    @property
    def name(self) -> str:
        """Its name in messages."""
        return "env=carla"

    def spaces(self) -> WorldSpaces:
        """Shapes; no server is asked."""
        frame: dict[str, tuple[int, ...]] = {"pixels": (3, self.pixels, CAMERAS * self.pixels)}
        shapes = FrameStack(self.frame_stack).shapes(frame)
        return WorldSpaces(shapes, ActionSpace("continuous", 2), self.frame_stack)

    def make(self, drawn: bool = False) -> CarlaWorld:
        """A world of its own.

        Raises:
            ConfigError: where CARLA's Python package is missing, or no server answers.
        """
        from visagent.envs.carla_simulator import connect

        return CarlaWorld(self, connect(self.host, self.port, self.pixels))


class CarlaWorld:
    """See `CarlaWorlds`."""

    epoch: int | None = None
    success: bool | None = None
    drawing = 0.0

    def __init__(self, factory: CarlaWorlds, simulator: Simulator) -> None:
        self.factory, self.simulator, self.spaces = factory, simulator, factory.spaces()
        self.stack = FrameStack(factory.frame_stack)
        self.fps = 1.0 / (TICK * factory.action_repeat)
        self.random, self.steps = np.random.default_rng(0), 0

    def reset(self, seed: int | None) -> Observation:
        if seed is not None:
            self.random = np.random.default_rng(seed)
        self.steps = 0
        episode = int(self.random.integers(2**31))
        self.moment = self.simulator.begin(WEATHERS[self.factory.look], episode)
        return self.stack.begin(self._frame())

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        thrust, steer = (float(part) for part in np.clip(np.asarray(action, np.float64), -1.0, 1.0))
        total = 0.0
        for _ in range(self.factory.action_repeat):
            self.moment = self.simulator.tick(thrust, steer)
            total += reward(self.moment, steer)
            self.steps += 1
            if self.steps >= self.factory.max_steps:
                break
        return self.stack.add(self._frame()), total, False, self.steps >= self.factory.max_steps

    def _frame(self) -> dict[str, NDArray[Any]]:
        return {"pixels": self.picture().transpose(2, 0, 1)}

    def picture(self) -> NDArray[np.uint8]:
        return np.concatenate(self.moment.pictures, axis=1)

    def close(self) -> None:
        self.simulator.close()
