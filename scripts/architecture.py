"""Draws docs/images/architecture.svg from the imports: `python scripts/architecture.py`.

Layers are those of import-linter's contract in pyproject.toml. A line leads from a package to one that it imports, the
thicker the more of its files do (one, three, ten).
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import Counter
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOMES = {"visagent": ROOT / "src" / "visagent"}
TARGET = ROOT / "docs" / "images" / "architecture.svg"
WIDTH, ROW, BOX, LEFT = 1180, 68, 40, 16
SMALL = "visagent.seeding, errors, ..."
"""The single files of the lowest layer, as one box."""
BESIDE = ("visagent.config", "visagent.testing")
"""Packages that are in no layer: settings are read by all, tiny worlds serve tests."""


def layers() -> list[list[str]]:
    """Packages by layer, the highest first; single files of the lowest one together."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    rows = [[name.strip() for name in line.replace("|", ":").split(":")] for line in named]
    return [
        [*(name for name in row if is_package(name)), *([SMALL] if not all(map(is_package, row)) else [])]
        for row in rows
    ]


def place(name: str) -> Path:
    """Place of a module."""
    first, *rest = name.split(".")
    return HOMES.get(first, ROOT / first).joinpath(*rest)


def is_package(name: str) -> bool:
    """Whether it is drawn as a box of its own."""
    return place(name).is_dir() or name == "visagent.cli"


def files_of(name: str) -> list[Path]:
    """The files of a package."""
    if name == SMALL:
        return [path for path in HOMES["visagent"].glob("*.py") if path.stem not in ("__init__", "cli")]
    path = place(name)
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def imported(path: Path) -> set[str]:
    """Modules that a file imports, wherever in it, but for types alone."""
    found = set[str]()
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        waiting += ast.iter_child_nodes(node)
    return found


def graph(names: list[str]) -> dict[str, Counter[str]]:
    """How many files of each package import each other one."""
    small = {f"visagent.{path.stem}" for path in files_of(SMALL)}
    out: dict[str, Counter[str]] = {name: Counter() for name in names}
    for name in names:
        for path in files_of(name):
            modules = imported(path)
            for other in names:
                hit = (
                    small & modules
                    if other == SMALL
                    else {m for m in modules if m == other or m.startswith(f"{other}.")}
                )
                if other != name and hit:
                    out[name][other] += 1
    return out


def drawing() -> str:
    """The picture."""
    rows = layers()
    names = [name for row in rows for name in row]
    edges = graph([*names, *BESIDE])
    centre: dict[str, tuple[float, float]] = {}
    boxes, lines = [], []
    for number, row in enumerate(rows):
        y, gap = 12 + number * ROW, 14
        width = min(230.0, (WIDTH - 2 * LEFT - gap * (len(row) - 1)) / len(row))
        left = (WIDTH - width * len(row) - gap * (len(row) - 1)) / 2
        for place_in_row, name in enumerate(row):
            x = left + place_in_row * (width + gap)
            centre[name] = x + width / 2, y
            boxes.append(
                f"<g class='box'><rect x='{x:.0f}' y='{y}' width='{width:.0f}' height='{BOX}' rx='6'/>"
                f"<text x='{x + width / 2:.0f}' y='{y + 25}'>{escape(name.removeprefix('visagent.'))}</text></g>"
            )
    for name in names:
        for other, count in sorted(edges[name].items()):
            if other in centre and other != SMALL:  # which all import
                (x, y), (to, below) = centre[name], centre[other]
                start, end = y + BOX, below
                if below <= y:  # within a layer
                    continue
                bend = (start + end) / 2
                lines.append(
                    f"<path d='M{x:.0f} {start}C{x:.0f} {bend:.0f} {to:.0f} {bend:.0f} {to:.0f} {end}' "
                    f"stroke-width='{1 if count < 3 else 2 if count < 10 else 4}'/>"
                )
    height = 12 + len(rows) * ROW
    style = (
        "svg{background:#fff;font-family:sans-serif}path{fill:none;stroke:#0d7377;stroke-opacity:.22}"
        ".box rect{fill:#eef6f6;stroke:#0d7377}.box text{font-size:14px;text-anchor:middle;fill:#123}"
    )
    title = "Packages by layer; each imports those below it"
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}'><title>{title}</title>"
        f"<style>{style}</style>{''.join(lines)}{''.join(boxes)}</svg>\n"
    )


if __name__ == "__main__":
    text = drawing()
    if "--check" in sys.argv:
        sys.exit(0 if TARGET.is_file() and TARGET.read_text() == text else f"{TARGET} is not of these imports")
    TARGET.write_text(text)
