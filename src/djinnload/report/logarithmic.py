"""Logarithmic axes as all figures have them: ticks at 1, 2 and 5 of few decades."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ("logarithmic", "milliseconds")

#: Puts labels of 2 and 5 on a line with the others.
_PAD = 4.9
#: As a ratio; of more decades the powers of ten are enough.
_FEW = 1000


def milliseconds(value: float, _: float = 0.0) -> str:
    """Return the label of a tick, such as a time in ms: all its digits, few zeros."""
    return f"{value:,.10g}"


def logarithmic(axes: "Axes", which: str, labels: Any = milliseconds) -> None:
    """Set scale and ticks of the axis *which* (``x`` or ``y``), whose ends are set.

    Args:
        axes: Of the figure.
        which: Of both.
        labels: Of powers of ten, and where these are few of their 2 and 5.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    axis = {"x": axes.xaxis, "y": axes.yaxis}[which]
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis.set_major_formatter(labels)
    low, high = axis.get_view_interval()
    few = high / low < _FEW
    # Ticks without a label take most of the time that a figure takes.
    axis.set_minor_locator(LogLocator(subs=(2, 5)) if few else NullLocator())
    axis.set_minor_formatter(labels if few else "")
    if which == "x":
        axis.set_tick_params(which="minor", pad=_PAD)
