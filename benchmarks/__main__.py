"""`python -m benchmarks [AREA] [--device cuda]`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> int:
    areas = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in ("__init__", "__main__", "report"))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios against peers and limits, measured now.")
    parser.add_argument("area", nargs="?", default="all", choices=["all", *areas])
    parser.add_argument("--device", default="cpu", help="where tensors live, for the benchmarks that have any (default: %(default)s)")
    options = parser.parse_args()
    from benchmarks.report import publish

    met = True
    for area in areas if options.area == "all" else [options.area]:
        met = publish(area, importlib.import_module(f"benchmarks.{area}").measure(options.device)) and met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
