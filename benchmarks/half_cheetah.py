"""PPO on HalfCheetah-v5 beside Stable-Baselines3's, a million steps each: both are judged on the same episodes, the
peer's by our own loop.

`python -m benchmarks.half_cheetah` trains the peer's seeds that are not kept in docs/results/surreal, then draws them
beside the finished runs of `visagent-table surreal/learning`.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress

from visagent.actors.evaluation import AT_ONCE, run_episodes
from visagent.actors.threads import one_thread
from visagent.envs.gymnasium_world import GymnasiumWorlds
from visagent.experience.rollouts import Episode
from visagent.networks.policy import PolicyStep
from visagent.runtime.provenance import commit, hardware
from visagent.runtime.record import write_atomically
from visagent.seeding import derive_seed
from visagent.tables.figures import COLOURS
from visagent.tables.grid import load_grid
from visagent.tables.runs import TableRun, plan

TABLE, ROW = "surreal/learning", "PPO, HalfCheetah-v5"
WORLDS = GymnasiumWorlds("HalfCheetah-v5")
AT_A_TIME, SEGMENT = 16, 128
EVERY, STEPS = 51_200, 1_024_000
PEER = "Stable-Baselines3"


class PeerPolicy:
    """A trained model of Stable-Baselines3 as one of our policies; it acts by its distribution's mode.

    Args:
        model: the peer's.
        filters: its running normalisation.
    """

    def __init__(self, model: Any, filters: Any) -> None:
        self.model, self.filters = model, filters

    def initial_state(self, count: int) -> None:
        """None: it remembers nothing."""

    def act(
        self, observation: Any, state: Any = None, deterministic: bool = False, generator: Any = None
    ) -> PolicyStep:
        """Act on observations `[B, D]`."""
        shown = self.filters.normalize_obs(observation["state"].numpy())
        action, _ = self.model.predict(shown, deterministic=deterministic)
        return PolicyStep(torch.from_numpy(action), None, torch.zeros(len(action)))


def train_peer(seed: int, path: Path) -> Path:
    """Train the peer with our networks (64-64 tanh), batch, minibatch, passes and rate, normalised as its authors do
    for MuJoCo; write what came of it.
    """
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import VecNormalize

    torch.set_num_threads(1)
    worlds = VecNormalize(make_vec_env(WORLDS.id, AT_A_TIME, seed=seed), gamma=0.99)
    model = PPO(
        "MlpPolicy", worlds, n_steps=SEGMENT, batch_size=64, n_epochs=10, learning_rate=3e-4, device="cpu", seed=seed
    )
    policy, curve, began = PeerPolicy(model, worlds), [], time.monotonic()
    while model.num_timesteps < STEPS:
        model.learn(EVERY, reset_num_timesteps=not curve)
        curve.append([model.num_timesteps, _mean(_judge(policy, seed, "validate", 10))])
    test = [episode.total_reward for episode in _judge(policy, seed, "test", 50)]
    found = {
        "seed": seed,
        "steps": model.num_timesteps,
        "curve": curve,
        "test_return": statistics.fmean(test),
        "seconds": time.monotonic() - began,
        "versions": {name: version(name) for name in ("stable_baselines3", "gymnasium", "mujoco", "torch")},
        "commit": commit(),
        "hardware": hardware(),
    }
    worlds.close()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(found, indent=1) + "\n")
    return path


def _judge(policy: Any, seed: int, name: str, count: int) -> list[Episode]:
    """Episodes on the seeds of our runs' evaluation."""
    seeds = [derive_seed(seed, name, number) for number in range(count)]
    return [
        episode
        for start in range(0, count, AT_ONCE)
        for episode in run_episodes(policy, WORLDS, seeds[start : start + AT_ONCE], True)
    ]


def _mean(episodes: list[Episode]) -> float:
    return statistics.fmean(episode.total_reward for episode in episodes)


def train_missing(seeds: tuple[int, ...], folder: Path, jobs: int) -> list[dict[str, Any]]:
    """The results of the peer's seeds; those that are there already are read."""
    missing = [seed for seed in seeds if not (folder / f"seed_{seed}.json").is_file()]
    with one_thread(), Progress() as progress, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        bar = progress.add_task(f"{PEER}, seeds", total=len(seeds), completed=len(seeds) - len(missing))
        for done in as_completed([pool.submit(train_peer, seed, folder / f"seed_{seed}.json") for seed in missing]):
            done.result()
            progress.advance(bar)
    return [json.loads((folder / f"seed_{seed}.json").read_text()) for seed in seeds]


def our_runs(seeds: tuple[int, ...], outputs: Path) -> list[TableRun]:
    """The finished runs of the table's row.

    Raises:
        SystemExit: when one is missing.
    """
    grid = load_grid(TABLE, "laptop", seeds, ())
    runs = plan(grid, (f"paths.outputs={outputs}",))
    wanted = next(cell.overrides for cell in grid.cells.values() if (cell.row, cell.column) == (ROW, "learned"))
    found = [runs[wanted, seed] for seed in seeds]
    if any(run.state != "finished" for run in found):
        raise SystemExit(
            f"expected finished runs of seeds {list(seeds)}; type visagent-table {TABLE} --run --seeds "
            f"{','.join(map(str, seeds))}"
        )
    return found


def show(runs: list[TableRun], peers: list[dict[str, Any]], folder: Path) -> None:
    """Write half_cheetah_peer.png, .csv and .md."""
    from matplotlib.figure import Figure

    ours = [
        [(int(h["step"]), h["val/return"]) for h in run.record.history.values()]
        for run in runs
        if run.record is not None
    ]
    theirs = [[(int(steps), value) for steps, value in peer["curve"]] for peer in peers]
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    rows = []
    for name, curves, colour in (("visagent", ours, COLOURS[0]), (PEER, theirs, COLOURS[1])):
        steps = [point[0] for point in curves[0]]
        values = np.array([[value for _, value in curve] for curve in curves])
        axes.plot(steps, values.mean(axis=0), color=colour, label=name)
        axes.fill_between(steps, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)
        rows += [
            [name, seed, step, f"{value:.1f}"]
            for seed, curve in zip([run.seed for run in runs], values, strict=True)
            for step, value in zip(steps, curve, strict=True)
        ]
    axes.set(
        xlabel="environment steps",
        ylabel="return of 10 episodes, mean action",
        title=f"PPO on {WORLDS.id} (laptop scale, bands: all seeds)",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "half_cheetah_peer.png", dpi=110)
    with (folder / "half_cheetah_peer.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["code", "seed", "env_steps", "return"], *rows])
    mine = [run.record.metrics["test/return"] for run in runs if run.record is not None]
    other = [peer["test_return"] for peer in peers]
    apart = statistics.fmean(mine) - statistics.fmean(other)
    spread = statistics.stdev(other)
    lines = [
        f"# PPO on {WORLDS.id} beside {PEER} (laptop scale)",
        "",
        "| | return of 50 test episodes, mean ± std over seeds | by seed | environment steps | minutes a run |",
        "|---|---|---|---|---|",
    ]
    for name, returns, steps, minutes in (
        (
            "visagent",
            mine,
            runs[0].record.env_steps if runs[0].record else 0,
            [run.record.seconds / 60 for run in runs if run.record is not None],
        ),
        (PEER, other, peers[0]["steps"], [peer["seconds"] / 60 for peer in peers]),
    ):
        by_seed = ", ".join(f"{value:.0f}" for value in returns)
        spent = statistics.fmean(minutes)
        lines.append(
            f"| {name} | {statistics.fmean(returns):.0f} ± {statistics.stdev(returns):.0f} | {by_seed} | {steps:,} | "
            f"{spent:.1f} |"
        )
    below = (
        "within one standard deviation of the peer" if -apart <= spread else "more than one standard deviation below"
    )
    relation = "above the peer's mean" if apart >= 0 else below
    lines += [
        "",
        f"Ours minus theirs: {apart:+.0f}, {relation} (its standard deviation: {spread:.0f}).",
        "",
        "Same networks (64-64 tanh), 2,048 steps a batch from 16 worlds, minibatches of 64, 10 passes, rate 3e-4; "
        "both normalise observations and",
        "rewards (the peer by `VecNormalize`). Both are judged by the mean action on the same seeds of worlds, none "
        "of which is trained on.",
        "Minutes include evaluation and depend on what else the machine did: several runs shared it.",
        "",
        f"{PEER} {peers[0]['versions']['stable_baselines3']}, {peers[0]['hardware']['cpu']}, "
        f"{peers[0]['hardware']['cores']} cores; commits "
        + ", ".join(
            sorted(
                {str(peer["commit"]) for peer in peers} | {run.record.commit for run in runs if run.record is not None}
            )
        )
        + ".",
        "",
        "![curves](half_cheetah_peer.png)",
    ]
    (folder / "half_cheetah_peer.md").write_text("\n".join(lines) + "\n")
    print(f"{folder}/half_cheetah_peer.md")


def main() -> None:
    """Train what is missing, then show both."""
    parser = argparse.ArgumentParser("python -m benchmarks.half_cheetah", description=__doc__)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--to", type=Path, default=Path("docs/results/surreal/laptop"))
    asked = parser.parse_args()
    seeds = tuple(int(seed) for seed in asked.seeds.split(","))
    if len(seeds) < 2:
        parser.error(f"--seeds: expected at least two, whose spread is compared, got {asked.seeds}")
    ours = our_runs(seeds, asked.outputs)
    show(ours, train_missing(seeds, asked.to / "half_cheetah_peer", asked.jobs), asked.to)


if __name__ == "__main__":
    main()
