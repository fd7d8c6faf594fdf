"""`visagent-table`: the words of its command line, rendering, and the arguments of the sweep that `--run` starts."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rich.console import Console

from visagent.config.presets import tables
from visagent.config.scales import SCALES
from visagent.errors import ConfigError, UserError
from visagent.runtime.record import PARENT_VARIABLE
from visagent.tables import publish
from visagent.tables.formats import print_console
from visagent.tables.grid import load_grid
from visagent.tables.results import Results, collect
from visagent.tables.runs import plan

FORMATS = ("md", "csv", "tex", "html")
ROOT_KEYS = ("confidence", "bootstrap_samples", "bootstrap_seed")

DESCRIPTION = (
    "A paper's table: its numbers and ours side by side, from the finished runs. Without --run nothing is trained."
)
EPILOG = """KEY=VALUE overrides go to every run of the table, for example datamodule.scenes=DIR (the runs are then
others), trainer.accelerator=gpu or paths.outputs=DIR; confidence=0.9 and bootstrap_samples=... to the intervals;
launcher=slurm machine=NAME launcher.KEY=VALUE choose what starts the runs of --run. Files go to outputs/tables/;
tables/index.html shows all of them."""


@dataclass(frozen=True)
class Asked:
    """A parsed command line.

    Attributes:
        overrides: of the runs.
        root: of the table's root.
        hydra: launcher settings.
    """

    table: str
    run: bool
    scale: str
    seeds: tuple[int, ...] | None
    jobs: int
    format: str | None
    to: Path | None
    overrides: tuple[str, ...]
    root: tuple[str, ...]
    hydra: tuple[str, ...]


def parse(arguments: Sequence[str]) -> Asked | None:
    """Read the command line; None after `--list`.

    Raises:
        ConfigError: for seeds that are no numbers, or a missing name.
    """
    parser = argparse.ArgumentParser(
        "visagent-table", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", help="<paper>/<table>; --list shows all")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides of every run")
    parser.add_argument("--list", action="store_true", help="list the tables")
    parser.add_argument("--run", action="store_true", help="launch the runs that are missing, then render")
    parser.add_argument("--scale", choices=SCALES, default="laptop", help="how much is computed (default: laptop)")
    parser.add_argument("--seeds", metavar="0,1,2", help="instead of the scale's seeds")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time on this machine (default: one per core)")
    parser.add_argument("--format", choices=FORMATS, help="print this format alone, to the standard output")
    parser.add_argument(
        "--to", type=Path, metavar="DIR", help="also write Markdown, CSV and figures to DIR/<paper>/<scale>/"
    )
    asked = parser.parse_intermixed_args(arguments)
    if asked.list:
        print("\n".join(tables()))
        return None
    if asked.table is None or "=" in asked.table:
        raise ConfigError(f"expected a table's name first, got {asked.table or 'none'}; tables: {', '.join(tables())}")
    if asked.jobs is not None and asked.jobs < 1:
        raise ConfigError(f"--jobs: expected at least 1, got {asked.jobs}")
    overrides = list(asked.overrides)
    root = tuple(o for o in overrides if o.split("=", 1)[0] in ROOT_KEYS)
    hydra = tuple(o for o in overrides if o.lstrip("+~").startswith(("hydra/", "hydra.")))
    return Asked(
        asked.table,
        asked.run,
        asked.scale,
        _seeds(asked.seeds),
        asked.jobs or len(os.sched_getaffinity(0)),
        asked.format,
        asked.to,
        tuple(o for o in overrides if o not in root and o not in hydra),
        root,
        hydra,
    )


def _seeds(given: str | None) -> tuple[int, ...] | None:
    if given is None:
        return None
    try:
        return tuple(int(part) for part in given.strip("[]").split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(f"--seeds: expected whole numbers such as 0,1,2, got {given!r}") from error


def look(asked: Asked) -> Results:
    """The table as far as its runs are finished."""
    grid = load_grid(asked.table, asked.scale, asked.seeds, asked.root)
    return collect(grid, plan(grid, asked.overrides), (*asked.overrides, *asked.root))


def sweep_arguments(asked: Asked, results: Results) -> list[str]:
    """The Hydra arguments that launch what is missing."""
    chosen = next(
        (
            o.split("=", 1)[1]
            for o in (*asked.hydra, *asked.overrides)
            if o.startswith(("hydra/launcher=", "launcher="))
        ),
        None,
    )
    launcher = [] if chosen is not None else ["hydra/launcher=joblib"]
    if chosen == "parallel" and not any(o.startswith("launcher.at_once=") for o in asked.overrides):
        launcher.append(f"launcher.at_once={min(asked.jobs, len(results.to_launch))}")
    if chosen in (None, "joblib"):
        launcher.append(f"hydra.launcher.n_jobs={min(asked.jobs, len(results.to_launch))}")
    seeds = [f"hydra.sweeper.seeds=[{','.join(map(str, asked.seeds))}]"] if asked.seeds is not None else []
    sweeper = [
        "hydra/sweeper=visagent_table",
        f"hydra.sweeper.table={asked.table}",
        f"hydra.sweeper.scale={asked.scale}",
        *seeds,
    ]
    quiet = [] if any(o.startswith("progress=") for o in asked.overrides) else ["progress=quiet"]
    overrides = f"hydra.sweeper.overrides=[{','.join(_encoded(o) for o in [*asked.overrides, *quiet])}]"
    # what the sweep itself needs
    shared = [o for o in asked.overrides if o.startswith(("paths.", "logger", "launcher", "machine"))]
    return ["-m", *sweeper, overrides, *launcher, "hydra.job_logging.root.level=WARNING", *asked.hydra, *shared]


def _encoded(override: str) -> str:
    """Percent-encoded: the sweep's own config must neither parse nor resolve what is meant for the runs."""
    return f"'{quote(override, safe='')}'"


def outputs_of(results: Results) -> tuple[Path, dict[str, object]]:
    """The outputs folder and the logger settings, which all runs share."""
    config = next(iter(results.runs.values())).config
    return Path(config["paths"]["outputs"]), dict(config["logger"])


@contextmanager
def launching(results: Results) -> Iterator[None]:
    """Say what is launched; the table's MLflow run is the parent of what starts within."""
    outputs, logger = outputs_of(results)
    done, starting = len(results.finished), results.to_launch
    own = {run.signature for run in results.runs.values()}
    experts = sum(run.signature not in own for run in starting)
    of_them = f", {experts} of them experts that others imitate" if experts else ""
    print(
        f"{results.grid.name}, {results.grid.scale} scale: {done} of {len(results.runs)} runs are finished, launching "
        f"{len(starting)}{of_them}",
        file=sys.stderr,
    )
    if not logger["enabled"]:
        yield
        return
    before = os.environ.get(PARENT_VARIABLE)
    with publish.parent_run(logger, outputs, results) as run:
        if run is not None:
            os.environ[PARENT_VARIABLE] = run
        try:
            yield
        finally:
            os.environ.pop(PARENT_VARIABLE, None)
            if before is not None:
                os.environ[PARENT_VARIABLE] = before


def render(asked: Asked, results: Results) -> int:
    """Write all files, print the table (or one format), keep the files in MLflow.

    Returns:
        the exit status: 1 when `--run` left runs missing.
    """
    outputs, logger = outputs_of(results)
    if asked.to is not None and not results.finished:
        raise ConfigError(
            f"--to {asked.to}: no run of {results.grid.name} at {results.grid.scale} scale is finished: there is "
            "nothing to keep; type --run"
        )
    try:
        files = publish.write(outputs, results)
        written = publish.write_to(asked.to, results) if asked.to is not None else []
    except OSError as error:
        raise UserError(
            f"cannot write the table: {error}; choose another folder with paths.outputs=DIR, or with --to DIR"
        ) from error
    if logger["enabled"] and results.finished:
        publish.track(logger, outputs, results, files)
    if asked.format is None:
        console = Console(emoji=False)
        print_console(results, console if console.is_terminal else Console(width=200, emoji=False))
        for path in [*files, *written]:
            console.print(f"wrote {path}", highlight=False, markup=False, soft_wrap=True)
    else:
        sys.stdout.write(next(path for path in files if path.suffix == f".{asked.format}").read_text())
    return 1 if asked.run and results.unfinished else 0
