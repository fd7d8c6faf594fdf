"""`visagent-analyse`: what a trained policy of pictures sees, and how fast it acts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from visagent.errors import ConfigError
from visagent.runtime.arguments import add_place_of_runs, count, with_outputs
from visagent.runtime.run_folder import RunFolder, find_run

KINDS = {
    "cycle": "whether embeddings of one episode in several looks lie beside each other, in per cent (Table 5.6)",
    "saliency": "where blurring a picture changes the action (Figure 5.5)",
    "embeddings": "embeddings of one episode in several looks, in the plane (Figure 5.5)",
    "latency": "seconds that an action takes, without the world (Figure 5.6)",
}


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(
        prog="visagent-analyse",
        description=f"{__doc__.splitlines()[0].partition(': ')[2]} Numbers and pictures go to the run's folder.",
    )
    kinds = top.add_subparsers(dest="kind", required=True, metavar="KIND")
    for kind, says in KINDS.items():
        one = kinds.add_parser(kind, help=says, description=f"{says[0].upper()}{says[1:]}.")
        one.add_argument("run", help="run=SIGNATURE, the beginning of one, or a run folder")
        add_place_of_runs(one)
        if kind == "latency":
            one.add_argument("--steps", type=count, default=1000, help="that are averaged over (default: %(default)s)")
            continue
        one.add_argument("--looks", metavar="A,B", help="beside the training's (default: those that it is tested in)")
        one.add_argument("--seed", type=int, default=0, help="of the episode (default: %(default)s)")
        if kind == "cycle":
            one.add_argument("--trials", type=count, default=5, help="that are averaged over (default: %(default)s)")
            one.add_argument("--observations", type=count, default=15, help="of each trajectory (default: %(default)s)")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `visagent-analyse`."""
    asked = parser().parse_args(with_outputs(arguments))
    folder = find_run(asked.outputs / "runs", asked.run.removeprefix("run="))
    metrics = analyse(folder, asked)
    for name, value in metrics.items():
        print(f"{name:24} {value:.4g}")
    picture = folder.analyses / f"{asked.kind}.png"
    print(f"wrote {folder.analyses / asked.kind}.json" + (f" and {picture.name}" if picture.is_file() else ""))
    return 0


def analyse_by_default(kind: str, folder: RunFolder) -> None:
    """Analyse a run as the command does where nothing else is said."""
    print(f"visagent-analyse {kind} {folder.path}", file=sys.stderr)
    analyse(folder, parser().parse_args([kind, str(folder.path)]))


def analyse(folder: RunFolder, asked: argparse.Namespace) -> dict[str, float]:
    """Analyse a run and keep what is found in its folder.

    Args:
        folder: of the run.
        asked: as `parser` has it.

    Raises:
        ConfigError: for runs that cannot be analysed so.
    """
    from visagent.analyses import cycle, embeddings, latency, saliency
    from visagent.analyses.subject import subject_of
    from visagent.runtime.evaluate import trained

    outputs = folder.path.resolve().parent.parent
    module, datamodule = trained(outputs, str(folder.path), asked.allow_targets)
    folder.analyses.mkdir(exist_ok=True)
    picture = folder.analyses / f"{asked.kind}.png"
    if asked.kind == "latency":
        metrics = latency.analyse(_policy(module), datamodule.spaces, asked.steps)
    else:
        subject = subject_of(module, datamodule, None if asked.looks is None else asked.looks.split(","))
        if asked.kind == "cycle":
            metrics = cycle.analyse(subject, asked.seed, asked.trials, asked.observations, picture)
        else:
            metrics = {"saliency": saliency, "embeddings": embeddings}[asked.kind].analyse(subject, asked.seed, picture)
    settings = {key: value for key, value in vars(asked).items() if key not in ("run", "outputs", "allow_targets")}
    folder.keep_analysis(asked.kind, metrics, settings)
    return metrics


def _policy(module: Any) -> Any:
    if not hasattr(module, "acting_policy"):
        raise ConfigError(
            f"latency: expected a run of a policy, such as experiment=secant/student, got {type(module).__name__}"
        )
    return module.acting_policy()
