"""Manipulation tasks in robosuite 1.5: the six of the dissertation's Robotics Suite (Section 2.4), joint velocities at
10 Hz, states or pixels; and the four of SECANT (Section 5.5.3), poses of the hands at 20 Hz, in looks.

robosuite's own JOINT_VELOCITY controller cannot be made in 1.5.2, and its controllers run in Python at every 2 ms of
simulated time. Here the velocity servo is MuJoCo's own actuator and gravity is compensated by MuJoCo, so that a control
step is one call of C.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visagent.envs.demonstrations import Curriculum, Demonstration, load, save
from visagent.envs.frames import FrameStack
from visagent.envs.manipulation_looks import LOOKS, Wardrobe
from visagent.envs.robosuite_model import OBJECT_GROUP, prepared, simplify
from visagent.envs.scripted import script
from visagent.envs.spaces import ActionSpace, WorldSpaces
from visagent.envs.world import Observation
from visagent.errors import ConfigError
from visagent.headless import prefer_headless, require_headless

TASKS = {
    "Lift": "Sawyer",
    "Stack": "Sawyer",
    "TwoArmPegInHole": "Baxter",
    "TwoArmLift": "Baxter",
    "PickPlace": "Sawyer",
    "NutAssembly": "Sawyer",
}
"""The dissertation's tasks (Block Lifting, Block Stacking, Bimanual Peg-in-hole, Bimanual Lifting, Bin Picking,
Nut-and-peg Assembly), with robots.
"""
GROUPS = {
    "proprioception": ("joint_pos_cos", "joint_pos_sin", "joint_vel", "gripper_qpos", "gripper_qvel"),
    "objects": ("object-state",),
}
"""Endings of robosuite's observables: cos and sin of joint positions, joint velocities, the gripper's configuration;
what the task adds.
"""
QUALITIES = ("fast", "reference")
SERVO_GAIN = 5.0
"""Gain of the velocity servo in N m s / rad for each N m of the actuator's range."""
SCRIPTED, SCRIPTED_STEPS = 20, 300
"""Demonstrations of a script that are made where none are there, and their control steps at most."""


@dataclass(frozen=True)
class RobosuiteWorlds:
    """Makes worlds of a robosuite task.

    Args:
        task: one of `TASKS`, or another of robosuite's.
        robot: robosuite's name of it; None for the dissertation's.
        observe: parts of the state: `proprioception`, `objects`, or names of robosuite's observables. Empty for none.
        pixels: side of the camera picture, 0 for none.
        camera: robosuite's name of it.
        render_quality: `reference` draws as robosuite does; `fast` draws no shadows and smooths no edges, and shows the
            robot by its collision shapes, in grey: more than ten times faster, but another picture, so that scores of
            the two do not compare.
        max_steps: time limit in control steps of 1 / `control_hz`, whatever `action_repeat`.
        control_hz: control steps a second of simulated time.
        max_velocity: of a joint at action 1 or -1, rad/s.
        reward_shaping: rewards also for parts of the task.
        action_repeat: control steps for each action; rewards add up.
        frame_stack: observations joined, the newest last.
        controller: `joint_velocity`, or robosuite's `osc_pose` (operational space): six numbers for each hand.
        look: of `visagent.envs.manipulation_looks.LOOKS`; an episode's scene follows from its seed.
        curriculum: from which states episodes begin while training; None for the task's own.
    """

    task: str
    robot: str | None
    observe: Sequence[str]
    pixels: int
    camera: str
    render_quality: str
    max_steps: int
    control_hz: float
    max_velocity: float
    reward_shaping: bool
    action_repeat: int
    frame_stack: int
    controller: str = "joint_velocity"
    look: str = "train"
    curriculum: Curriculum | None = None

    def __post_init__(self) -> None:
        if self.look not in LOOKS:
            raise ConfigError(f"a look of env=robosuite: expected one of {', '.join(LOOKS)}, got {self.look!r}")
        if self.look != "train" and not self.pixels:
            raise ConfigError(
                f"look={self.look}: expected worlds that show pictures, got the state alone; type "
                "datamodule.env.pixels=84, or datamodule.test_looks=[]"
            )
        if self.controller == "osc_pose" and self.curriculum is not None and self.curriculum.probability > 0:
            raise ConfigError(
                "datamodule.env.curriculum: demonstrations are of joint velocities, got controller=osc_pose; type "
                "datamodule.env.curriculum.probability=0"
            )

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"datamodule.env.task={self.task}"

    def spaces(self) -> WorldSpaces:
        """Shapes, from a world that is made and closed."""
        world = self.make()
        world.close()
        return world.spaces

    def make(self, drawn: bool = False) -> RobosuiteWorld:
        """A world of its own.

        Raises:
            ConfigError: when robosuite is missing, or does not know the task, the robot or an observable.
            RenderingUnavailable: when pictures are asked for where nothing can be drawn.
        """
        return RobosuiteWorld(self, drawn)


def _suite() -> Any:
    """The robosuite package, without its greetings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        suite = importlib.import_module("robosuite")
    except ImportError as error:
        raise ConfigError(
            f"env=robosuite: robosuite cannot be imported ({error}); type pip install 'visagent[robosuite]'"
        ) from error
    finally:
        logging.disable(before)
    logging.getLogger("robosuite_logs").setLevel(logging.ERROR)
    return suite


class RobosuiteWorld:
    """One robosuite environment; see `RobosuiteWorlds`.

    Actions are, for each arm in turn, joint velocities, or how its hand moves and turns, and then the gripper.
    """

    epoch: int | None = None
    drawing = 0.0

    def __init__(self, factory: RobosuiteWorlds, drawn: bool) -> None:
        self.factory = factory
        drawn = drawn or factory.pixels > 0
        (require_headless if drawn else prefer_headless)()
        self.env = self._build(drawn)
        self.steps = 0
        self.fps = factory.control_hz / factory.action_repeat
        self.arms: list[tuple[slice, NDArray[np.int64], Any, NDArray[np.int64]]] = []
        self.servos = factory.controller == "joint_velocity"
        self.actions = self._find_actuators() if self.servos else int(self.env.action_dim)
        self.renderer: Any = None
        self.wardrobe: Wardrobe | None = None
        self.scene = 0
        self.stack = FrameStack(factory.frame_stack)
        self.names = self._observables()
        frame: dict[str, tuple[int, ...]] = {}
        if self.names:
            frame["state"] = self._state(self.env._get_observations(force_update=True)).shape
        if factory.pixels:
            frame["pixels"] = (3, factory.pixels, factory.pixels)
        if not frame:
            raise ConfigError(
                "datamodule.env.observe: expected parts of the state such as [proprioception,objects], or "
                "datamodule.env.pixels=84, got neither"
            )
        self.spaces = WorldSpaces(
            self.stack.shapes(frame), ActionSpace("continuous", self.actions), factory.frame_stack
        )
        self.demonstrations = self._demonstrations()
        self.choices = np.random.default_rng(0)

    def _build(self, drawn: bool) -> Any:
        factory, suite = self.factory, _suite()
        known = importlib.import_module("robosuite.environments.base").REGISTERED_ENVS
        if factory.task not in known:
            raise ConfigError(
                f"datamodule.env.task: expected one of {', '.join(TASKS)} or another of robosuite's, got "
                f"{factory.task!r}"
            )
        robot = factory.robot or TASKS.get(factory.task)
        if robot not in suite.ALL_ROBOTS:
            raise ConfigError(
                f"datamodule.env.robot: expected one of {', '.join(sorted(suite.ALL_ROBOTS))}, got {robot!r}"
            )

        base: Any = known[factory.task]
        servos = factory.controller == "joint_velocity"

        class Prepared(base):
            def _initialize_sim(self, xml_string: str | None = None) -> None:
                super()._initialize_sim(prepared(xml_string or self.model.get_xml(), drawn, servos))

        del known["Prepared"]  # the class registers itself under its name
        robots: Any = robot
        arms = {}
        if factory.task.startswith("TwoArm"):
            models = importlib.import_module("robosuite.models.robots.robot_model").REGISTERED_ROBOTS
            alone = models[robot]().arm_type == "bimanual"
            robots = robot if alone else [robot, robot]
            arms = {"env_configuration": "single-robot" if alone else "opposed"}
        configs = suite.controllers.load_composite_controller_config(
            **({} if servos else {"controller": "BASIC"}), robot=robot
        )
        return Prepared(
            robots=robots,
            controller_configs=configs,
            has_renderer=False,
            has_offscreen_renderer=False,
            use_camera_obs=False,
            use_object_obs=True,
            control_freq=factory.control_hz,
            horizon=factory.max_steps + 1,
            ignore_done=True,
            hard_reset=False,
            reward_shaping=factory.reward_shaping,
            seed=0,
            **arms,
        )

    def _find_actuators(self) -> int:
        """Turn the arms' motors into velocity servos, and find where an action goes; how many numbers it has."""
        env, model = self.env, self.env.sim.model._model
        self.substeps = round(env.control_timestep / env.model_timestep)
        model.opt.integrator = 3  # implicitfast: the servo's damping is integrated implicitly
        place = 0
        for robot in env.robots:
            for arm in robot.arms:
                motors = np.array(robot._ref_actuators_indexes_dict[arm])
                torque = model.actuator_ctrlrange[motors].copy()
                gain = SERVO_GAIN * torque[:, 1]
                model.actuator_gainprm[motors, 0] = gain
                model.actuator_biastype[motors] = 1  # affine: gain (goal - velocity)
                model.actuator_biasprm[motors, 2] = -gain
                model.actuator_ctrlrange[motors] = [-self.factory.max_velocity, self.factory.max_velocity]
                model.actuator_forcelimited[motors] = 1
                model.actuator_forcerange[motors] = torque
                fingers = np.array(robot._ref_actuators_indexes_dict.get(f"{arm}_gripper", []), np.int64)
                gripper = robot.gripper[arm] if len(fingers) else None
                self.arms.append((slice(place, place + len(motors)), motors, gripper, fingers))
                place += len(motors) + (gripper.dof if gripper is not None else 0)
        return place

    def _observables(self) -> list[str]:
        names = [name for name, observable in self.env._observables.items() if observable.is_enabled()]
        known = [*names, *self.env._get_observations(force_update=True)]
        chosen: list[str] = []
        for wanted in self.factory.observe:
            endings = GROUPS.get(wanted)
            matching = [
                name for name in dict.fromkeys(known) if (name.endswith(endings) if endings else name == wanted)
            ]
            if not matching:
                raise ConfigError(
                    f"datamodule.env.observe: expected {', '.join(GROUPS)} or one of {', '.join(sorted(set(known)))}, "
                    f"got {wanted!r}"
                )
            chosen += [name for name in matching if name not in chosen]
        return chosen

    def _state(self, observation: Any) -> NDArray[np.float32]:
        state: NDArray[np.float32] = np.concatenate([np.ravel(observation[name]) for name in self.names]).astype(
            np.float32
        )
        return state

    def _frame(self) -> dict[str, NDArray[Any]]:
        frame: dict[str, NDArray[Any]] = {}
        if self.names:
            frame["state"] = self._state(self.env._get_observations(force_update=True))
        if self.factory.pixels:
            began = time.perf_counter()
            frame["pixels"] = self._draw(self.factory.pixels, self.factory.pixels).transpose(2, 0, 1)
            self.drawing += time.perf_counter() - began
        return frame

    def reset(self, seed: int | None) -> Observation:
        if seed is not None:  # the samplers of the task share this generator
            self.env.rng.bit_generator.state = np.random.default_rng(seed).bit_generator.state
            self.choices = np.random.default_rng([seed, 1])
        self.env.reset()
        self.scene = self.scene + 1 if seed is None else seed
        # An evaluated episode has a seed; what begins after it is not looked at.
        if self.factory.look != "train" and (seed is not None or self.epoch is not None):
            self._dress(self.scene)
        self.steps = 0
        if self.demonstrations and self.epoch is not None and self.factory.curriculum is not None:
            chosen = self.factory.curriculum.choose(self.demonstrations, self.epoch, self.choices)
            if chosen is not None:
                self.restore(*chosen)
        return self.stack.begin(self._frame())

    def _dress(self, number: int) -> None:
        """Put on a scene."""
        import mujoco

        model, side = self.env.sim.model._model, self.factory.pixels
        if self.renderer is None:
            self._start_drawing(side, side)
        if self.wardrobe is None:  # what it wore in training is what is drawn then
            self.wardrobe = Wardrobe(model, self.factory.camera)
        self.wardrobe.wear(self.factory.look, number)
        self.renderer._gl_context.make_current()
        for texture in range(model.ntex):
            mujoco.mjr_uploadTexture(model, self.renderer._mjr_context, texture)

    def _demonstrations(self) -> list[Demonstration]:
        curriculum = self.factory.curriculum
        if curriculum is None or curriculum.demonstrations is None or curriculum.probability == 0:
            return []
        if curriculum.demonstrations != "scripted":
            path = Path(curriculum.demonstrations)
            return load(path, len(self.state()), f"datamodule.env.curriculum.demonstrations={path}")
        robot = self.factory.robot or TASKS[self.factory.task]
        path = Path(curriculum.cache) / f"{self.factory.task}_{robot}_{self.factory.control_hz:g}hz.hdf5"
        if not path.is_file():
            plain = replace(
                self.factory,
                curriculum=None,
                pixels=0,
                action_repeat=1,
                max_steps=SCRIPTED_STEPS,
                observe=("proprioception",),
            )
            with closing(plain.make()) as world:
                save(path, list(script(world, SCRIPTED, 0)), self.factory.task, robot)
        return load(path, len(self.state()), f"datamodule.env.curriculum.cache: {path}")

    def state(self) -> NDArray[np.float64]:
        """`[S]`: the simulator's time, positions and velocities."""
        state: NDArray[np.float64] = np.asarray(self.env.sim.get_state().flatten(), np.float64)
        return state

    def restore(self, demonstration: Demonstration, number: int) -> None:
        """Go to a state of a demonstration, with the grippers as its actions have left them."""
        self.env.sim.set_state_from_flattened(demonstration.states[number])
        given = demonstration.actions[:number]
        for where, _, gripper, fingers in self.arms:
            if gripper is not None and given.shape[1] >= gripper.dof:
                ours = given.shape[1] == self.actions  # robosuite's own controllers have the gripper last
                column = where.stop if ours else given.shape[1] - gripper.dof
                for action in given[:, column : column + gripper.dof]:
                    self._grip(gripper, fingers, action)
        self.env.sim.forward()

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool]:
        total, chosen = 0.0, np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        for _ in range(self.factory.action_repeat):
            total += self._advance(chosen)
            self.steps += 1
            if self.steps >= self.factory.max_steps:
                break
        return self.stack.add(self._frame()), total, False, self.steps >= self.factory.max_steps

    def _advance(self, action: NDArray[np.float64]) -> float:
        """One control step; the reward."""
        if not self.servos:
            return float(self.env.step(action)[1])
        import mujoco

        env, model, data = self.env, self.env.sim.model._model, self.env.sim.data._data
        for where, motors, gripper, fingers in self.arms:
            data.ctrl[motors] = action[where] * self.factory.max_velocity
            if gripper is not None:
                self._grip(gripper, fingers, action[where.stop : where.stop + gripper.dof])
        mujoco.mj_step(model, data, self.substeps)
        mujoco.mj_forward(model, data)
        env.timestep += 1
        env.cur_time += env.control_timestep
        reward, _, _ = env._post_action(action)
        return float(reward)

    def _grip(self, gripper: Any, fingers: NDArray[np.int64], action: NDArray[np.float64]) -> None:
        """Tell a gripper's motors; it closes and opens step by step."""
        closing = gripper.format_action(action)
        low, high = self.env.sim.model._model.actuator_ctrlrange[fingers].T
        self.env.sim.data._data.ctrl[fingers] = (low + high) / 2 + (high - low) / 2 * closing

    def _draw(self, height: int, width: int) -> NDArray[np.uint8]:
        import mujoco

        fast = self.factory.render_quality == "fast"
        if self.renderer is None:
            self._start_drawing(height, width)
        self.renderer.update_scene(self.env.sim.data._data, self.factory.camera, self.options)
        if fast:
            self.renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self.renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        picture: NDArray[np.uint8] = self.renderer.render()
        return picture

    def _start_drawing(self, height: int, width: int) -> None:
        import mujoco

        model = self.env.sim.model._model
        model.vis.global_.offwidth, model.vis.global_.offheight = max(width, 640), max(height, 480)
        if self.factory.render_quality == "fast":
            model.vis.quality.offsamples = model.vis.quality.shadowsize = 0
            simplify(model)
        self.renderer = mujoco.Renderer(model, height, width)
        self.options = mujoco.MjvOption()
        self.options.geomgroup[:] = 0
        self.options.geomgroup[OBJECT_GROUP] = 1
        self.options.sitegroup[:] = 0

    @property
    def success(self) -> bool:
        """Whether the task is done."""
        return bool(self.env._check_success())

    def picture(self) -> NDArray[np.uint8]:
        """`[H, W, 3]` from the observation's camera: its size with pixels, else 256 x 256."""
        side = self.factory.pixels or 256
        return self._draw(side, side)

    def close(self) -> None:
        if self.renderer is not None:
            self.renderer.close()
            self.renderer = None
        self.env.close()
