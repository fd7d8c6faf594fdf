"""`python -m benchmarks [AREA] [--device cuda] [--long]`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
AREAS = ("actors", "navigation", "networks", "options", "rubiksnet", "secant", "video")
"""Modules with `parts`; the others here are programs of their own."""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Ratios against peers and limits, measured now."
    )
    parser.add_argument("area", nargs="?", default="all", choices=["all", *AREAS])
    parser.add_argument(
        "--device", default="cpu", help="where tensors live, for the benchmarks that have any (default: %(default)s)"
    )
    asked = os.environ.get("BENCH", "")
    if asked not in ("", "long"):
        parser.error(f"BENCH: expected long or nothing, got {asked!r}")
    parser.add_argument(
        "--long",
        action="store_true",
        default=asked == "long",
        help="more rounds of each, and more peers; also BENCH=long",
    )
    options = parser.parse_args()
    from benchmarks.report import publish

    met = True
    for area in AREAS if options.area == "all" else [options.area]:
        met = publish(area, importlib.import_module(f"benchmarks.{area}").parts(options.device, options.long)) and met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
