"""`visagent-demos`: write demonstrations of robosuite's tasks, by a script or by a trained policy, and look at them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visagent.errors import ConfigError, UserError

if TYPE_CHECKING:
    from visagent.envs.demonstrations import Demonstration
    from visagent.envs.robosuite_world import RobosuiteWorld, RobosuiteWorlds


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(
        prog="visagent-demos",
        description="Demonstrations of robosuite's tasks, for datamodule.env.curriculum.demonstrations.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    script = commands.add_parser(
        "script",
        help="by a script",
        description="Write demonstrations of a scripted expert; those that fail are left out.",
    )
    script.add_argument("task", help="Lift or Stack")
    script.add_argument("--seed", type=int, default=0, help="of the first episode (default: %(default)s)")

    record = commands.add_parser(
        "record",
        help="by a trained policy",
        description="Write episodes of a run's policy that end with the task done.",
    )
    record.add_argument("run", help="a run's signature or folder, of a robosuite task")
    record.add_argument("--outputs", type=Path, default=Path("outputs"), help="where runs are (default: %(default)s)")
    record.add_argument("--seed", type=int, default=0, help="of the first episode (default: %(default)s)")
    trusted = "code of others that the run's config may name, such as my_worlds"
    record.add_argument("--allow-targets", action="append", default=[], metavar="PREFIX", help=trusted)
    record.add_argument(
        "--attempts", type=int, default=10, help="episodes for each that must succeed, at most (default: %(default)s)"
    )
    for command in (script, record):
        command.add_argument("--episodes", type=int, default=20, help="how many (default: %(default)s)")
        command.add_argument("--to", type=Path, help="the file (default: outputs/demonstrations/TASK.hdf5)")

    show = commands.add_parser("show", help="a film", description="Draw the states of demonstrations as a film.")
    show.add_argument("file", type=Path)
    show.add_argument("--episodes", type=int, default=3, help="the first ones (default: %(default)s)")
    show.add_argument(
        "--out", type=Path, default=Path("outputs/views/demonstrations.mp4"), help="the film (default: %(default)s)"
    )
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand."""
    options = parser().parse_args(arguments)
    if options.episodes < 1:
        raise ConfigError(f"--episodes: expected at least 1, got {options.episodes}")
    {"script": _script, "record": _record, "show": _show}[options.command](options)
    return 0


def _worlds(task: str, robot: str | None = None) -> RobosuiteWorlds:
    from visagent.envs.robosuite_world import RobosuiteWorlds

    return RobosuiteWorlds(
        task=task, robot=robot, observe=("proprioception",), pixels=0, camera="agentview", render_quality="fast",
        max_steps=200, control_hz=10.0,
        max_velocity=1.0, reward_shaping=True, action_repeat=1, frame_stack=1,
    )  # fmt: skip


def _write(successes: Iterator[Demonstration], options: argparse.Namespace, world: RobosuiteWorld) -> None:
    from rich.progress import track

    from visagent.envs.demonstrations import save
    from visagent.envs.robosuite_world import TASKS

    task = world.factory.task
    path = options.to or Path("outputs/demonstrations") / f"{task}.hdf5"
    demonstrations = list(track(successes, f"{task}", total=options.episodes))
    world.close()
    save(path, demonstrations, task, world.factory.robot or TASKS[task])
    steps = [len(demonstration.actions) for demonstration in demonstrations]
    print(f"{path}  {len(steps)} demonstrations of {min(steps)} to {max(steps)} steps")


def _script(options: argparse.Namespace) -> None:
    from visagent.envs.scripted import script

    world = _worlds(options.task).make()
    _write(script(world, options.episodes, options.seed), options, world)


def _record(options: argparse.Namespace) -> None:
    from visagent.envs.robosuite_world import RobosuiteWorlds
    from visagent.runtime.evaluate import trained

    module, data = trained(options.outputs, options.run, options.allow_targets)
    env = getattr(data, "env", None)
    if not isinstance(env, RobosuiteWorlds):
        raise ConfigError(
            f"run {options.run}: expected a run in a robosuite task, got one with {type(data).__name__} in "
            f"{type(env).__name__}"
        )
    world = env.make()
    _write(_successes(module.network, world, options), options, world)


def _successes(policy: Any, world: RobosuiteWorld, options: argparse.Namespace) -> Iterator[Demonstration]:
    import numpy as np

    from visagent.actors.evaluation import as_batch
    from visagent.envs.demonstrations import Demonstration
    from visagent.seeding import generator

    successes = 0
    for attempt in range(options.episodes * options.attempts):
        seed = options.seed + attempt
        observation, rng, state, over = world.reset(seed), generator(seed, "act"), policy.initial_state(1), False
        states, actions = [world.state()], []
        while not over and not world.success:
            step = policy.act(as_batch(observation), state, False, rng)
            action, state = step.action[0].numpy(), step.state
            observation, _, terminated, truncated = world.step(action)
            states.append(world.state())
            actions.append(np.clip(action, -1.0, 1.0))
            over = terminated or truncated
        if world.success:
            successes += 1
            yield Demonstration(np.array(states), np.array(actions))
        if successes == options.episodes:
            return
    tried = options.episodes * options.attempts
    instead = f"type --episodes {successes}" if successes else "train the run further"
    raise UserError(
        f"only {successes} of {tried} episodes ended with the task done, expected {options.episodes}; {instead}"
    )


def _show(options: argparse.Namespace) -> None:
    import h5py
    import numpy as np

    from visagent.envs.demonstrations import load
    from visagent.video.decode import write_video

    try:
        with h5py.File(options.file, "r") as file:
            attributes = file["data"].attrs
            task, robot = str(attributes["env"]), attributes.get("robot")
            if robot is None:  # robosuite's own scripts keep it among the arguments
                robot = json.loads(attributes["env_info"])["robots"]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{options.file}: expected demonstrations with the names of task and robot, got something that does not "
            f"read ({error})"
        ) from error
    world = _worlds(task, robot if isinstance(robot, str) else robot[0]).make(drawn=True)
    pictures = []
    for demonstration in load(options.file, len(world.state()), str(options.file))[: options.episodes]:
        world.reset(0)
        for number in range(len(demonstration.states)):
            world.restore(demonstration, number)
            pictures.append(world.picture())
    world.close()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_video(options.out, np.stack(pictures), "libx264", round(world.fps))
    print(options.out)
