"""Small line charts as SVG, by hand: a page with dozens of them is made in no time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 260, 120, 50, 18, 6
BLOCKS = "▁▂▃▄▅▆▇█"


def shown(value: float) -> str:
    """A number in few signs."""
    if not math.isfinite(value):
        return "-"
    if value != 0 and (abs(value) < 1e-3 or abs(value) >= 1e5):
        return f"{value:.2g}"
    return f"{value:.4g}"


def line_chart(title: str, x: Sequence[float], y: Sequence[float], unit: str = "epoch") -> str:
    """A chart of one line.

    Args:
        title: above it.
        x, y: of its points; where y is not finite the line has a gap.
        unit: of x.
    """
    finite = [value for value in y if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    span, first, last = (high - low) or 1.0, x[0], x[-1]
    across = (last - first) or 1.0

    def place(a: float, b: float) -> tuple[float, float]:
        left = LEFT + (a - first) / across * (WIDTH - LEFT - 6)
        return left, TOP + (1 - (b - low) / span) * (HEIGHT - TOP - BOTTOM)

    parts, current = list[list[tuple[float, float]]](), list[tuple[float, float]]()
    for a, b in zip(x, y, strict=True):
        if math.isfinite(b):
            current.append(place(a, b))
        elif current:
            parts.append(current)
            current = []
    parts += [current] if current else []
    lines = "".join(
        f"<polyline points='{' '.join(f'{a:.1f},{b:.1f}' for a, b in part)}'/>"
        if len(part) > 1
        else f"<circle cx='{part[0][0]:.1f}' cy='{part[0][1]:.1f}' r='2'/>"
        for part in parts
    )
    base = HEIGHT - BOTTOM
    return (
        f"<figure class=chart><figcaption>{escape(title)} <b>{shown(y[-1])}</b></figcaption>"
        f"<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='{escape(title, quote=True)}'>"
        f"<path class=axis d='M{LEFT} {TOP}V{base}H{WIDTH - 6}'/>"
        f"<text x='{LEFT - 4}' y='{TOP + 8}' class=end>{high:.3g}</text>"
        f"<text x='{LEFT - 4}' y='{base}' class=end>{low:.3g}</text>"
        f"<text x='{LEFT}' y='{HEIGHT - 5}'>{shown(first)}</text>"
        f"<text x='{WIDTH - 6}' y='{HEIGHT - 5}' class=end>{escape(unit)} {shown(last)}</text>{lines}</svg></figure>"
    )


def sparkline(values: Sequence[float], width: int) -> str:
    """The newest values as blocks in one line of a terminal; at most `width`, older ones joined by their means."""
    if len(values) > width:
        edges = [round(number * len(values) / width) for number in range(width + 1)]
        parts = [[v for v in values[a:b] if math.isfinite(v)] for a, b in pairwise(edges)]
        values = [sum(part) / len(part) if part else math.nan for part in parts]
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    low, span = min(finite), max(finite) - min(finite)
    steps = len(BLOCKS) - 1
    return "".join(
        BLOCKS[round((value - low) / span * steps) if span else steps // 2] if math.isfinite(value) else " "
        for value in values
    )
