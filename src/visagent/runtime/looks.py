"""`visagent-looks`: a contact sheet of tasks in the looks that policies are tested in."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from visagent.config.composition import compose_run, config_folder
from visagent.config.extensions import conf_folder
from visagent.config.secant_schemas import LOOKS
from visagent.envs import manipulation_looks, rooms_world
from visagent.envs.dm_control_world import DRESSED
from visagent.errors import ConfigError
from visagent.runtime.building import make

STEPS = 5
"""Before the picture, so that something has moved."""


@dataclass(frozen=True)
class Family:
    """Tasks that have the same looks.

    Attributes:
        preset: whose pictures they have.
        tasks: options of `env`.
        looks: all, the training's first.
        extra: overrides, so that a picture is drawn in seconds.
    """

    preset: str
    tasks: list[str]
    looks: tuple[str, ...]
    extra: tuple[str, ...] = ()


def families() -> list[Family]:
    """The Control Suite's tasks whose worlds have looks, robosuite's, and rooms."""
    options = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((conf_folder() / "env").glob("*.yaml"))}
    suite = [name for name, option in options.items() if option.get("domain") in DRESSED]
    hands = [name for name, option in options.items() if "_panda@_here_" in option.get("defaults", ())]
    fast = ("datamodule.env.render_quality=fast",)
    return [
        Family("experiment=secant/expert", suite, LOOKS),
        Family("experiment=secant/manipulation_expert_paper", hands, manipulation_looks.LOOKS, fast),
        Family("experiment=secant/rooms_sac", ["rooms"], rooms_world.LOOKS, ("datamodule.env.pixels=128",)),
    ]


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    first, *_ = families()
    known = ", ".join(task for family in families() for task in family.tasks)
    top = argparse.ArgumentParser("visagent-looks", description=__doc__)
    top.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="of the worlds, such as datamodule.env.pixels=84"
    )
    top.add_argument(
        "--tasks",
        default=",".join(first.tasks),
        help=f"options of env, of {known} (default: those of the Control Suite)",
    )
    top.add_argument("--looks", help="comma-separated (default: all that the tasks have)")
    top.add_argument("--seed", type=int, default=0, help="of the episode, from which its look follows")
    top.add_argument("--to", type=Path, default=Path("outputs/looks.png"), help="default: %(default)s")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `visagent-looks`.

    Raises:
        ConfigError: for tasks and looks that there are not, and tasks that have not the same looks.
    """
    asked = parser().parse_args(arguments)
    tasks = asked.tasks.split(",")
    there = [task for family in families() for task in family.tasks]
    _require_known("--tasks", tasks, there)
    family = next(family for family in families() if tasks[0] in family.tasks)
    _require_known("--tasks", tasks, family.tasks)
    looks = list(family.looks) if asked.looks is None else asked.looks.split(",")
    _require_known("--looks", looks, family.looks)
    pictures = {}
    with config_folder():
        for task in tasks:
            told = [family.preset, f"env={task}", *family.extra, *asked.overrides]
            worlds = make("env", compose_run(told)["datamodule"]["env"])
            for look in looks:
                pictures[task, look] = picture(replace(worlds, look=look), asked.seed)
    asked.to.parent.mkdir(parents=True, exist_ok=True)
    draw(tasks, looks, pictures, asked.to)
    print(f"wrote {asked.to}")


def _require_known(what: str, names: Sequence[str], there: Sequence[str]) -> None:
    for name in names:
        if name not in there:
            raise ConfigError(f"{what}: expected some of {', '.join(there)}, got {name}")


def picture(worlds: Any, seed: int) -> Any:
    """What a person sees a few steps into an episode, uint8 `[H, W, 3]`."""
    world = worlds.make(drawn=True)
    try:
        world.reset(seed)
        for _ in range(STEPS):
            world.step(0.3 * np.ones(world.spaces.action.size))
        return world.picture()
    finally:
        world.close()


def draw(tasks: Sequence[str], looks: Sequence[str], pictures: dict[tuple[str, str], Any], path: Path) -> None:
    """A row for each task, a column for each look."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.3 * len(looks), 1.35 * len(tasks) + 0.2), layout="constrained")
    axes = figure.subplots(len(tasks), len(looks), squeeze=False)
    for row, task in zip(axes, tasks, strict=True):
        for place, look in zip(row, looks, strict=True):
            place.imshow(pictures[task, look])
            place.set(xticks=[], yticks=[])
            if task == tasks[0]:
                place.set_title(look, fontsize=8)
        row[0].set_ylabel(task, fontsize=7)
    figure.savefig(path, dpi=110)
