"""Arguments shared by the commands that look at one run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def count(text: str) -> int:
    """A number of things, at least 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return number


def with_outputs(arguments: Sequence[str] | None) -> list[str]:
    """Arguments with `--outputs DIR` for `paths.outputs=DIR`, which commands that train have.

    Args:
        arguments: None for those of this process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    place = "paths.outputs="
    return [f"--outputs={word.removeprefix(place)}" if word.startswith(place) else word for word in given]


def add_place_of_runs(parser: argparse.ArgumentParser) -> None:
    """Where runs are, and whose code their configs may name."""
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where runs are (default: %(default)s)")
    trusted = "code of others that the run's config may name, such as my_worlds"
    parser.add_argument("--allow-targets", action="append", default=[], metavar="PREFIX", help=trusted)
