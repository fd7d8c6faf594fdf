"""CARLA's side of `visagent.envs.carla_world`: Town 4 in synchronous mode (dissertation Section 5.5.4; CARLA 0.9.9.4).

Written by CARLA's documentation and not run by us, who have no server.
"""

from __future__ import annotations

import importlib
import math
import queue
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.envs.carla_world import CAMERAS, TICK, Moment
from visagent.errors import ConfigError

TOWN, TRAFFIC = "Town04", 60
"""The town whose highway is a figure of eight; vehicles that others drive."""
VIEW, ROOF = 60.0, 2.0
"""Of a camera: degrees across, metres above the vehicle's middle."""
PATIENCE = 20.0
"""Seconds to wait for the server."""


def connect(host: str, port: int, side: int) -> CarlaSimulator:
    """A running server's town.

    Raises:
        ConfigError: where CARLA's Python package is missing, or no server answers.
    """
    try:
        carla = importlib.import_module("carla")
    except ImportError as error:
        raise ConfigError(
            f"env=carla: CARLA's Python package cannot be imported ({error}); type pip install carla==VERSION, for the "
            "version of your server"
        ) from error
    client = carla.Client(host, port)
    client.set_timeout(PATIENCE)
    try:
        world = client.load_world(TOWN)
    except RuntimeError as error:  # CARLA's for whatever fails between client and server
        raise ConfigError(
            f"env=carla: expected a CARLA server at {host}:{port}, got none that answers ({error}); start one with "
            "CarlaUE4.sh, or type datamodule.env.host=HOST datamodule.env.port=PORT"
        ) from error
    return CarlaSimulator(carla, client, world, side)


class CarlaSimulator:
    """See `visagent.envs.carla_world.Simulator`."""

    def __init__(self, carla: Any, client: Any, world: Any, side: int) -> None:
        self.carla, self.client, self.world, self.side = carla, client, world, side
        self.before = world.get_settings()
        settings = world.get_settings()
        settings.synchronous_mode, settings.fixed_delta_seconds = True, TICK
        world.apply_settings(settings)
        self.manager = client.get_trafficmanager()
        self.manager.set_synchronous_mode(True)
        self.actors: list[Any] = []
        self.pictures: list[queue.Queue[Any]] = []
        self.impulse = 0.0

    def begin(self, weather: str, seed: int) -> Moment:
        self._leave()
        rng = np.random.default_rng(seed)
        self.world.set_weather(getattr(self.carla.WeatherParameters, weather))
        library = self.world.get_blueprint_library()
        points = self.world.get_map().get_spawn_points()
        order = rng.permutation(len(points))
        self.vehicle = self._place(library.filter("vehicle.tesla.model3")[0], points[order[0]])
        cars = library.filter("vehicle.*")
        for number in order[1 : TRAFFIC + 1]:
            other = self.world.try_spawn_actor(cars[int(rng.integers(len(cars)))], points[number])
            if other is not None:  # a place may be taken
                other.set_autopilot(True)
                self.actors.append(other)
        self._sense(library)
        return self.tick(0.0, 0.0)

    def _place(self, blueprint: Any, transform: Any, **attached: Any) -> Any:
        actor = self.world.spawn_actor(blueprint, transform, **attached)
        self.actors.append(actor)
        return actor

    def _sense(self, library: Any) -> None:
        carla = self.carla
        self.pictures = []
        for number in range(CAMERAS):
            camera = library.find("sensor.camera.rgb")
            for name, value in (("image_size_x", self.side), ("image_size_y", self.side), ("fov", VIEW)):
                camera.set_attribute(name, str(value))
            yaw = VIEW * (number - CAMERAS // 2)
            where = carla.Transform(carla.Location(z=ROOF), carla.Rotation(yaw=yaw))
            seen: queue.Queue[Any] = queue.Queue()
            self._place(camera, where, attach_to=self.vehicle).listen(seen.put)
            self.pictures.append(seen)
        self.impulse = 0.0
        bumps = library.find("sensor.other.collision")
        self._place(bumps, carla.Transform(), attach_to=self.vehicle).listen(self._bumped)

    def _bumped(self, event: Any) -> None:
        impulse = event.normal_impulse
        self.impulse += math.sqrt(impulse.x**2 + impulse.y**2 + impulse.z**2)

    def tick(self, thrust: float, steer: float) -> Moment:
        control = self.carla.VehicleControl(throttle=max(0.0, thrust), brake=max(0.0, -thrust), steer=steer)
        self.vehicle.apply_control(control)
        self.world.tick()
        pictures = [self._picture(seen.get(timeout=PATIENCE)) for seen in self.pictures]
        velocity = self.vehicle.get_velocity()
        road = self.world.get_map().get_waypoint(self.vehicle.get_location()).transform.get_forward_vector()
        impulse, self.impulse = self.impulse, 0.0
        return Moment(pictures, _vector(velocity), _vector(road), impulse)

    def _picture(self, image: Any) -> NDArray[np.uint8]:
        """CARLA's are BGRA."""
        array = np.frombuffer(image.raw_data, np.uint8).reshape(self.side, self.side, 4)
        return array[..., 2::-1].copy()

    def _leave(self) -> None:
        for actor in reversed(self.actors):
            with suppress(RuntimeError):  # it is gone already
                actor.destroy()
        self.actors = []

    def close(self) -> None:
        self._leave()
        self.manager.set_synchronous_mode(False)
        self.world.apply_settings(self.before)


def _vector(vector: Any) -> NDArray[np.float64]:
    return np.array([vector.x, vector.y, vector.z], np.float64)
