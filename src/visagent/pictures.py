"""What every figure with names of users in it needs before it is saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plain(figure: Figure) -> Figure:
    """The figure itself, with all text as it stands: between two dollars matplotlib would look for a formula, and fail
    where there is none.

    Tick labels of logarithmic axes are formulas of matplotlib's own and stay so.
    """
    from matplotlib.text import Text

    logarithmic = [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) if axis.get_scale() == "log"]
    ticks = {text for axis in logarithmic for text in axis.findobj(Text) if text is not axis.label}
    for text in figure.findobj(Text):
        if text not in ticks:
            text.set_parse_math(False)
    return figure
