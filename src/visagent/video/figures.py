"""Pictures of what an action network learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NAMES = 30
"""Classes beyond which the confusion matrix goes without names."""


def draw_confusion(counts: NDArray[np.int64], classes: Sequence[str]) -> Figure:
    """How often each class (rows) was taken for which (columns), as shares of the row."""
    from matplotlib.figure import Figure

    few = len(classes) <= MOST_NAMES
    side = 3.0 + (0.32 * len(classes) if few else 6.0)
    figure = Figure(figsize=(side + 1.5, side), layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    figure.colorbar(image, ax=axes, shrink=0.7, label="share of the class")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if few:
        axes.set_xticks(range(len(classes)), classes, rotation=60, ha="right", fontsize=8)
        axes.set_yticks(range(len(classes)), classes, fontsize=8)
        for row in range(len(classes)):
            for column in range(len(classes)):
                if shares[row, column] >= 0.005:
                    axes.text(
                        column,
                        row,
                        f"{shares[row, column]:.2f}",
                        ha="center",
                        va="center",
                        fontsize=7,
                        color="w" if shares[row, column] > 0.5 else "k",
                    )
    axes.set_title("Confusion of classes")
    return figure


def draw_temporal(offsets: Mapping[str, NDArray[np.float64]], budget: float | None) -> Figure:
    """The share of channels at each temporal shift, one bar per layer (Figure 6.5), or their spread where shifts are
    not whole (Figure 6.6).
    """
    from matplotlib.figure import Figure

    whole = all(np.array_equal(values, np.round(values)) for values in offsets.values())
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes: Any = figure.add_subplot()
    if not whole:
        _spread(axes, offsets, "temporal shift, frames")
        axes.set_title("Learned temporal shifts by layer (Figure 6.6)")
        return figure
    from matplotlib import colormaps

    layers = list(offsets)
    colours = colormaps["viridis"](np.linspace(0, 0.95, len(layers)))
    width = 0.8 / len(layers)
    for place, layer in enumerate(layers):
        shares = [float((offsets[layer] == shift).mean()) for shift in (-1, 0, 1)]
        axes.bar(np.arange(3) - 0.4 + (place + 0.5) * width, shares, width, color=colours[place])
    if budget is not None:
        for position, share in zip(range(3), (budget / 2, 1 - budget, budget / 2), strict=True):
            axes.hlines(share, position - 0.4, position + 0.4, colors="k", linewidth=1)
    axes.set_xticks(range(3), ["-1", "0", "+1"])
    axes.set_xlabel(
        "temporal shift, frames; bars from the first layer (dark) to the last"
        + (", lines: the budget spread evenly" if budget else "")
    )
    axes.set_ylabel("share of channels")
    axes.set_title("Temporal shifts by layer (Figure 6.5)")
    return figure


def draw_spatial(offsets: Mapping[str, NDArray[np.float64]]) -> Figure:
    """The spread of vertical and horizontal shifts in each layer (Figure 6.6)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    for row, name in enumerate(("vertical shift, pixels", "horizontal shift, pixels")):
        axes = figure.add_subplot(2, 1, row + 1)
        _spread(axes, {layer: values[row] for layer, values in offsets.items()}, name)
    figure.suptitle("Spatial shifts by layer (Figure 6.6)")
    return figure


def _spread(axes: Any, offsets: Mapping[str, NDArray[np.float64]], name: str) -> None:
    axes.boxplot(list(offsets.values()), whis=(5, 95), showfliers=False)
    axes.set_xticks(
        range(1, len(offsets) + 1),
        [layer.removeprefix("layer") for layer in offsets],
        rotation=60 if len(offsets) > 20 else 0,
        fontsize=8,
    )
    axes.set_xlabel("stage.block; boxes: quartiles, whiskers: 5 to 95 %")
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)


def draw_shifts(network: Any, budget: float | None) -> Iterator[tuple[str, Figure]]:
    """The shifts of every layer of a network that has some, by name (Figures 6.5 and 6.6).

    Args:
        network: with `temporal_offsets` and `spatial_offsets` where it has shifts.
        budget: see `draw_temporal`.
    """
    if not hasattr(network, "temporal_offsets"):
        return
    temporal, spatial = (
        {name: value.cpu().numpy() for name, value in offsets.items()}
        for offsets in (network.temporal_offsets(), network.spatial_offsets())
    )
    if temporal:
        yield "temporal_shifts", draw_temporal(temporal, budget)
    yield "spatial_shifts", draw_spatial(spatial)
