"""Typed schemas of worlds of gymnasium and robosuite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from visagent.config.registry import registered
from visagent.config.settings import require, setting


@registered("env", "gymnasium")
@dataclass
class GymnasiumConfig:
    """Worlds from a gymnasium id; see `visagent.envs.gymnasium_world.GymnasiumWorlds`."""

    _target_: str = "visagent.envs.gymnasium_world.GymnasiumWorlds"
    id: str = setting("id of the environment, as in gymnasium.make")
    kwargs: dict[str, Any] = setting("keyword arguments of gymnasium.make", nested=dict)
    max_steps: int | None = setting(
        "time limit in steps of the environment; null: its own", least=1, expected="null or at least 1"
    )
    observe: str = setting(
        "what the environment observes, its rendered picture, or both",
        among=("own", "pixels", "both"),
        as_before="own",
        signed=True,
    )
    pixels: int = setting("side of that picture", least=1, as_before=84, signed=True)
    action_repeat: int = setting("steps of the environment for each action; rewards add up", least=1)
    frame_stack: int = setting("observations joined, the newest last", least=1)
    wrappers: list[dict[str, Any]] = setting(
        "what is put around the environment, the innermost first: name of one of gymnasium.wrappers or MODULE:CLASS, "
        "and its arguments",
        as_before=[],
    )
    action_mask: bool = setting(
        "whether the environment says which actions are valid: action_mask in its observation or info, or a method "
        "action_masks()",
        as_before=False,
    )
    clip_reward: bool = setting(
        "whether policies that learn are given the signs of rewards; evaluated ones get them as they are",
        as_before=False,
    )
    vectorization: str = setting(
        "how gymnasium steps the worlds of an actor together; none: not at all",
        among=("none", "sync", "async", "vector_entry_point"),
        as_before="none",
    )


@dataclass
class CurriculumConfig:
    """Episodes that begin from demonstrations; see `visagent.envs.demonstrations.Curriculum`."""

    _target_: str = "visagent.envs.demonstrations.Curriculum"
    demonstrations: str | None = setting(
        "file of demonstrations; scripted: those of a script, where the task has one; null: no curriculum"
    )
    probability: float = setting(
        "share of training episodes that begin from a state of a demonstration",
        symbol="alpha",
        least=0,
        most=1,
        example=0.9,
    )
    uniform: float = setting("share of them that begin from any state")
    forward: float = setting("share from a window that grows from the demonstration's beginning")
    reverse: float = setting("share from a window that grows from its end")
    window: int = setting("states of the window in the first epoch", least=1)
    growth: int = setting("states by which it grows in each epoch", least=0)
    cache: str = setting("folder of scripted demonstrations")

    def check(self) -> None:
        where = "datamodule.env.curriculum"
        possible = self.probability == 0 or self.demonstrations is not None
        require(
            possible,
            f"{where}.demonstrations",
            self.demonstrations,
            "scripted or a file, as datamodule.env.curriculum.probability is above 0",
        )
        ratios = (self.uniform, self.forward, self.reverse)
        require(
            min(ratios) >= 0 and abs(sum(ratios) - 1) < 1e-6,
            f"{where}.uniform",
            self.uniform,
            f"a share that adds up to 1 with the others of {ratios}",
        )


NO_CURRICULUM = {
    "_target_": "visagent.envs.demonstrations.Curriculum",
    "demonstrations": "scripted",
    "probability": 0.0,
    "uniform": 1.0,
    "forward": 0.0,
    "reverse": 0.0,
    "window": 25,
    "growth": 25,
    "cache": "outputs/cache/demonstrations",
}


@registered("env", "robosuite")
@dataclass
class RobosuiteConfig:
    """Worlds of a robosuite task; see `visagent.envs.robosuite_world.RobosuiteWorlds`."""

    _target_: str = "visagent.envs.robosuite_world.RobosuiteWorlds"
    task: str = setting("robosuite's task")
    robot: str | None = setting("robosuite's robot; null: the dissertation's")
    observe: list[str] = setting("parts of the state, proprioception and objects, or names of robosuite's observables")
    pixels: int = setting("side of the camera's picture; 0: none", least=0, expected="0 for none, or 84")
    camera: str = setting("robosuite's name of the camera")
    render_quality: str = setting(
        "how pictures are drawn: without shadows, or as robosuite does; scores of the two do not compare",
        among=("fast", "reference"),
    )
    max_steps: int = setting("time limit in control steps, whatever action_repeat", least=1)
    control_hz: float = setting("control steps a second of simulated time", above=0, example=10)
    max_velocity: float = setting(
        "velocity of a joint at action 1, rad/s", above=0, expected="1.0 or another number above 0"
    )
    reward_shaping: bool = setting("whether parts of the task are rewarded, too")
    action_repeat: int = setting("control steps for each action; rewards add up", least=1)
    frame_stack: int = setting("observations joined, the newest last", least=1)
    controller: str = setting(
        "what an action says of an arm: velocities of its joints, or how its hand moves (operational space)",
        among=("joint_velocity", "osc_pose"),
        as_before="joint_velocity",
    )
    look: str = setting(
        "look of the episodes that are learned from, and tested in first",
        among=("train", "narrow", "easy", "hard", "extreme"),
        as_before="train",
    )
    curriculum: CurriculumConfig = setting(
        "training episodes that begin from states of demonstrations",
        as_before=NO_CURRICULUM,
        signed=True,
        nested=CurriculumConfig,
    )
