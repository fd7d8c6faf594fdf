"""Scripted experts of robosuite's simple tasks: the hand goes from place to place by resolved-rate control (Whitney
1969).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from visagent.envs.demonstrations import Demonstration
from visagent.errors import UserError

GAIN, TURNING = 4.0, 2.0
"""Velocities of the hand for each metre and radian that it is away from its goal, 1/s."""
SPEED, DAMPING, NEAR, ATTEMPTS = 0.25, 0.05, 0.008, 10
"""m/s of the hand; of the pseudo-inverse; metres from a goal that count as there; episodes for each that must succeed.
"""
OPEN, CLOSED = -1.0, 1.0
UP = np.array([0.0, 0.0, 1.0])


class ScriptedWorld(Protocol):
    """What a script asks of a world with one arm; see `visagent.envs.robosuite_world.RobosuiteWorld`."""

    env: Any
    factory: Any
    arms: list[tuple[slice, NDArray[np.int64], Any, NDArray[np.int64]]]

    @property
    def success(self) -> bool: ...

    def reset(self, seed: int | None) -> Any: ...

    def step(self, action: NDArray[Any]) -> tuple[Any, float, bool, bool]: ...

    def state(self) -> NDArray[np.float64]: ...


Goal = tuple[NDArray[np.float64], float, int]
"""Where the hand is to be, its gripper, and control steps to stay there."""


def _place(world: ScriptedWorld, body: str) -> NDArray[np.float64]:
    return np.array(world.env.sim.data.get_body_xpos(body))


def _lift(world: ScriptedWorld) -> Iterator[Goal]:
    cube = _place(world, "cube_main")
    yield cube + 0.08 * UP, OPEN, 0
    yield cube, OPEN, 0
    yield cube, CLOSED, 6
    yield cube + 0.15 * UP, CLOSED, 5


def _stack(world: ScriptedWorld) -> Iterator[Goal]:
    cube = _place(world, "cubeA_main")
    yield cube + 0.08 * UP, OPEN, 0
    yield cube, OPEN, 0
    yield cube, CLOSED, 6
    yield cube + 0.12 * UP, CLOSED, 0
    below = _place(world, "cubeB_main")
    yield below + 0.12 * UP, CLOSED, 0
    yield below + 0.05 * UP, CLOSED, 2
    yield below + 0.05 * UP, OPEN, 6
    yield below + 0.15 * UP, OPEN, 5


SCRIPTS = {"Lift": _lift, "Stack": _stack}
"""Goals of a task, one after the other; each is asked for when the one before is reached."""


def script(world: ScriptedWorld, episodes: int, seed: int) -> Iterator[Demonstration]:
    """Demonstrations of a script, those that succeed.

    Args:
        world: of a task in `SCRIPTS`.
        episodes: how many.
        seed: of the first one's world.

    Raises:
        UserError: for another task, or when fewer than one in `ATTEMPTS` succeeds.
    """
    task = world.factory.task
    if task not in SCRIPTS:
        raise UserError(
            f"no script for {task}; expected {' or '.join(SCRIPTS)}. Of other tasks, record a policy's: "
            "visagent-demos record RUN"
        )
    successes = 0
    for attempt in range(episodes * ATTEMPTS):
        demonstration = _episode(world, seed + attempt)
        if demonstration is not None:
            successes += 1
            yield demonstration
        if successes == episodes:
            return
    raise UserError(
        f"only {successes} of {episodes * ATTEMPTS} scripted episodes of {task} succeeded, expected {episodes}"
    )


def _episode(world: ScriptedWorld, seed: int) -> Demonstration | None:
    world.reset(seed)
    hand = _Hand(world)
    states, actions = [world.state()], []
    for goal, gripper, stay in SCRIPTS[world.factory.task](world):
        left: int | None = None
        while left is None or left > 0:
            if left is None and hand.distance(goal) < NEAR:
                left = stay
                if not left:
                    break
            action = hand.towards(goal, gripper)
            _, _, _, over = world.step(action)
            states.append(world.state())
            actions.append(action)
            if over:
                return None
            left = None if left is None else left - 1
    return Demonstration(np.array(states), np.array(actions)) if world.success else None


class _Hand:
    """The only arm's hand, kept upright as an episode begins."""

    def __init__(self, world: ScriptedWorld) -> None:
        import mujoco

        self.mujoco: Any = mujoco
        self.model, self.data, self.limit = (
            world.env.sim.model._model,
            world.env.sim.data._data,
            world.factory.max_velocity,
        )
        robot = world.env.robots[0]
        arm = robot.arms[0]
        self.site = self.model.site(robot.gripper[arm].important_sites["grip_site"]).id
        motors = world.arms[0][1]
        self.joints = self.model.jnt_dofadr[self.model.actuator_trnid[motors, 0]]
        self.upright = self.data.site_xmat[self.site].reshape(3, 3).copy()

    def distance(self, goal: NDArray[np.float64]) -> float:
        """Metres from a goal."""
        return float(np.linalg.norm(goal - self.data.site_xpos[self.site]))

    def towards(self, goal: NDArray[np.float64], gripper: float) -> NDArray[np.float64]:
        """The action that moves it towards a goal: joint velocities by the damped pseudo-inverse of the Jacobian."""
        linear = GAIN * (goal - self.data.site_xpos[self.site])
        linear *= min(1.0, SPEED / (np.linalg.norm(linear) + 1e-9))
        now = self.data.site_xmat[self.site].reshape(3, 3)
        angular = TURNING * 0.5 * sum((np.cross(now[:, axis], self.upright[:, axis]) for axis in range(3)), np.zeros(3))
        jacobian = np.zeros((6, self.model.nv))
        self.mujoco.mj_jacSite(self.model, self.data, jacobian[:3], jacobian[3:], self.site)
        jacobian = jacobian[:, self.joints]
        velocity = jacobian.T @ np.linalg.solve(
            jacobian @ jacobian.T + DAMPING**2 * np.eye(6), np.concatenate([linear, angular])
        )
        scaled = velocity / max(self.limit, np.abs(velocity).max())
        return np.append(scaled, gripper)
