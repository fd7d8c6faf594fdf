"""`visagent-looks`: a contact sheet of tasks in the looks that policies are tested in."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from visagent.config.composition import compose_run, config_folder
from visagent.config.presets import conf_folder
from visagent.config.secant_schemas import LOOKS
from visagent.envs.dm_control_world import DRESSED
from visagent.errors import ConfigError
from visagent.runtime.building import make

PRESET = "experiment=secant/expert"
STEPS = 5
"""Before the picture, so that something has moved."""


def dressed_tasks() -> list[str]:
    """Options of `env` whose worlds have looks."""
    folder = conf_folder() / "env"
    domains = {path.stem: yaml.safe_load(path.read_text()).get("domain") for path in folder.glob("*.yaml")}
    return sorted(task for task, domain in domains.items() if domain in DRESSED)


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser("visagent-looks", description=__doc__)
    top.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="of the worlds, such as datamodule.env.pixels=84"
    )
    top.add_argument("--tasks", default=",".join(dressed_tasks()), help="options of env (default: all with looks)")
    top.add_argument("--looks", default=",".join(LOOKS), help="comma-separated (default: all)")
    top.add_argument("--seed", type=int, default=0, help="of the episode, from which its colours and film follow")
    top.add_argument("--to", type=Path, default=Path("outputs/looks.png"), help="default: %(default)s")
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of `visagent-looks`.

    Raises:
        ConfigError: for tasks and looks that there are not.
    """
    asked = parser().parse_args(arguments)
    tasks, looks = asked.tasks.split(","), asked.looks.split(",")
    for what, names, there in (("tasks", tasks, dressed_tasks()), ("looks", looks, list(LOOKS))):
        if unknown := [name for name in names if name not in there]:
            raise ConfigError(f"--{what}: expected some of {', '.join(there)}, got {unknown[0]}")
    pictures = {}
    with config_folder():
        for task in tasks:
            worlds = make("env", compose_run([PRESET, f"env={task}", *asked.overrides])["datamodule"]["env"])
            for look in looks:
                pictures[task, look] = picture(replace(worlds, look=look), asked.seed)
    asked.to.parent.mkdir(parents=True, exist_ok=True)
    draw(tasks, looks, pictures, asked.to)
    print(f"wrote {asked.to}")


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
