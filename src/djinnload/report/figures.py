"""Distributions and values over load → SVG and their CSV."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from djinnload.report.drawing import (
    DASHES,
    INK,
    PALETTE,
    gridded,
    keyed,
    legend,
    named,
    plain,
    render,
)
from djinnload.report.logarithmic import logarithmic
from djinnload.stats.populations import Array
from djinnload.summary.spread import CURVE_POINTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = (
    "SIZE_IN",
    "Curve",
    "Line",
    "Mark",
    "cdf",
    "lines",
    "nines",
    "percentile",
    "quantiles",
)

#: As wide as a phone can show without small print.
SIZE_IN = (5.4, 3.3)
#: Of the axis of percentiles: points a decade, and what is printed of a tail: where
#: this many values lie beyond.
_A_DECADE, _BEYOND = 12, 10


class Curve(Struct, frozen=True):
    """One distribution.

    Attributes:
        label: Such as ``qos``; empty: there is only one.
        ms, share: From `djinnload.summary.spread.curve`: ascending times, and the
            share of values up to each; empty: none ever came to an end.
        n, lost: Of values, and of those that never came to an end.
        key: See `djinnload.report.drawing.keyed`.
    """

    label: str
    ms: Array
    share: Array
    n: int
    lost: int
    key: str = ""


class Line(Struct, frozen=True):
    """Values over load.

    Attributes:
        label: Such as ``open``; empty: there is only one.
        x: Loads, ascending, > 0.
        y: Of each load.
        low, high: Ends of each value's error bar; where equal there is none.
        key: See `djinnload.report.drawing.keyed`.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    key: str = ""


class Mark(Struct, frozen=True):
    """What a curve is held against.

    Attributes:
        at_ms: A time.
        share: 0 to 1, for a point; None: a line at the time.
    """

    label: str
    at_ms: float
    share: float | None = None


def cdf(
    curves: Sequence[Curve],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    marks: Sequence[Mark] = (),
    floor_ms: float = 0.0,
    void: bool = False,
) -> str:
    """Return an SVG document with the curves over a logarithmic time.

    A curve of which some are lost ends below 1, and runs on to the right edge.

    Args:
        curves: At least one, each with at least one value.
        title: Of the figure.
        xlabel: With its unit.
        ylabel: What the share is of.
        marks: Deadline and objectives.
        floor_ms: Smaller values are drawn here.
        void: Whether to draw a watermark.
    """

    def draw(axes: "Axes") -> None:
        _draw(axes, curves, marks, floor_ms)

    return _rendered(draw, (title, xlabel, ylabel), void=void)


def lines(
    lines: Sequence[Line],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    linear: bool = False,
    void: bool = False,
) -> str:
    """Return an SVG document with values over load, both axes logarithmic.

    Args:
        lines: At least one, each with at least one value > 0.
        title: Of the figure.
        xlabel: With its unit.
        ylabel: With its unit.
        linear: Whether to draw where each line would go, if it were in proportion to
            load from its first point on.
        void: Whether to draw a watermark.
    """

    def draw(axes: "Axes") -> None:
        _draw_lines(axes, lines, linear=linear)

    return _rendered(draw, (title, xlabel, ylabel), void=void)


def quantiles(curve: Curve) -> tuple[Array, Array]:
    """Return 1 ÷ (1 − q) and the q-quantile in ms, evenly spaced in nines.

    The same q for every curve, up to its largest value; where not ok turns begin it
    ends, as they rank as +inf.
    """
    decades = np.log10(max(curve.n, 1))
    even = np.arange(int(_A_DECADE * decades) + 1) / _A_DECADE
    # p50, p95, p99.5 and so on lie between.
    named = np.arange(int(decades) + 1) + np.log10(2)
    beyond = 10.0 ** np.union1d(even, named[named <= decades])
    rank = np.searchsorted(curve.share, 1 - 1 / beyond - 1e-12)
    known = rank < len(curve.ms)
    return beyond[known], curve.ms[rank[known]]


def percentile(one_in: float) -> str:
    """Return the name of the percentile that one in so many values is beyond."""
    # Two digits of what is beyond, however little that is.
    return f"p{100 * (1 - 1 / one_in):.{max(int(np.log10(one_in)) + 1, 2)}f}".rstrip(
        "0"
    ).rstrip(".")


def nines(
    curves: Sequence[Curve],
    *,
    title: str,
    ylabel: str,
    marks: Sequence[Mark] = (),
    void: bool = False,
) -> str:
    """Return an SVG document with quantiles over the percentile, spaced by its nines.

    A line is thin where fewer than ten values lie beyond it: there it is chance.

    Args:
        curves: At least one.
        title: Of the figure.
        ylabel: With its unit.
        marks: Objectives, which have a share; others are left out.
        void: Whether to draw a watermark.
    """
    shown = [mark for mark in marks if mark.share is not None]

    def draw(axes: "Axes") -> None:
        _draw_nines(axes, curves, shown)

    words = (title, "percentile of due turns", ylabel)
    return _rendered(draw, words, void=void)


def _rendered(
    draw: Callable[["Axes"], None],
    words: tuple[str, str, str],
    *,
    void: bool,
) -> str:
    """Return a figure as SVG: title and labels from *words*."""
    title, xlabel, ylabel = words

    def fill(figure: "Figure") -> None:
        axes = figure.add_subplot()
        draw(axes)
        axes.set_title(plain(title), loc="left", fontsize=12, fontweight="bold")
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        labels = axes.get_legend_handles_labels()[1]
        wide = max(map(len, labels), default=0) > 24  # noqa: PLR2004 - fits twice
        columns = 1 if wide else 2
        rows = -(-len(labels) // columns)
        figure.set_size_inches(SIZE_IN[0], SIZE_IN[1] + 0.2 * rows)
        legend(figure, axes, ncols=columns, fontsize=10, handlelength=3.2)

    return render(fill, SIZE_IN, void=void)


def _draw(
    axes: "Axes", curves: Sequence[Curve], marks: Sequence[Mark], floor_ms: float
) -> None:
    low, high = _range(curves, marks, floor_ms)
    axes.set_xlim(low, high)
    logarithmic(axes, "x")
    axes.set_ylim(0, 1.02)
    gridded(axes)
    axes.yaxis.set_major_formatter(_percent)
    for number, curve in enumerate(curves):
        x, share = np.maximum(curve.ms, low), curve.share
        first, last = (0.0, float(share[-1])) if len(x) else (0.0, 0.0)
        (drawn,) = axes.plot(
            [low, *x, high],
            [first, *share, last],
            drawstyle="steps-post" if len(x) < CURVE_POINTS // 2 else "default",
            color=PALETTE[number % len(PALETTE)],
            linestyle=DASHES[number % len(DASHES)],
            linewidth=1.8,
            label=_legend(curve),
        )
        keyed(drawn, curve.key)
    for mark in marks:
        _mark(axes, mark)


def _draw_nines(axes: "Axes", curves: Sequence[Curve], marks: Sequence[Mark]) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    gridded(axes)
    for number, curve in enumerate(curves):
        x, y = quantiles(curve)
        y = np.maximum(y, 1e-6)
        style: dict[str, Any] = {
            "color": PALETTE[number % len(PALETTE)],
            "linestyle": DASHES[number % len(DASHES)],
        }
        sure = int(np.searchsorted(x, curve.n / _BEYOND, "right"))
        label = _legend(curve)
        for each in (
            *axes.plot(x[:sure], y[:sure], linewidth=1.8, label=label, **style),
            *axes.plot(x[max(sure - 1, 0) :], y[max(sure - 1, 0) :], lw=0.7, **style),
        ):
            keyed(each, curve.key)
    for mark in marks:
        _cross(axes, 1 / (1 - (mark.share or 0.0)), mark.at_ms, mark.label)
    axes.set_xlim(1.0, max(axes.get_xlim()[1], 100.0))
    logarithmic(axes, "x", _percentile)
    axes.xaxis.set_minor_formatter("")
    logarithmic(axes, "y")


def _draw_lines(axes: "Axes", lines: Sequence[Line], *, linear: bool) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    gridded(axes)
    loads = sorted({x for line in lines for x in line.x})
    axes.set_xticks(loads, [f"{x:g}" for x in loads])
    axes.tick_params(axis="x", which="minor", bottom=False)
    for number, line in enumerate(lines):
        y = np.array(line.y)
        if linear:
            axes.plot(
                line.x,
                y[0] * np.array(line.x) / line.x[0],
                color=INK,
                linewidth=1,
                linestyle=(0, (1, 2)),
                label="" if number else "in proportion to load",
            )
        drawn = axes.errorbar(
            line.x,
            y,
            yerr=[y - np.array(line.low), np.array(line.high) - y],
            color=PALETTE[number % len(PALETTE)],
            linestyle=DASHES[number % len(DASHES)],
            linewidth=1.8,
            elinewidth=1,
            capsize=3,
            marker="os^Dv"[number % 5],
            markersize=5,
            label=named(line.label) or "measured",
        )
        for part in (drawn[0], *drawn[1], *drawn[2]):
            keyed(part, line.key)
    logarithmic(axes, "y")


def _mark(axes: "Axes", mark: Mark) -> None:
    if mark.share is None:
        style: dict[str, Any] = {"linestyle": (0, (2, 2)), "linewidth": 1}
        axes.axvline(mark.at_ms, color=INK, label=plain(mark.label), **style)
        return
    _cross(axes, mark.at_ms, mark.share, mark.label)


def _cross(axes: "Axes", x: float, y: float, label: str) -> None:
    axes.plot(
        [x],
        [y],
        color=INK,
        linestyle="none",
        marker="x",
        markersize=8,
        markeredgewidth=1.8,
        zorder=5,
        label=plain(label),
    )


def _range(
    curves: Sequence[Curve], marks: Sequence[Mark], floor_ms: float
) -> tuple[float, float]:
    every = np.concatenate([curve.ms for curve in curves])
    known = every[every > 0]
    ends = [*(mark.at_ms for mark in marks)]
    ends += [float(known.min()), float(known.max())] if len(known) else [1.0]
    low = max(min(ends), floor_ms or 1e-6) / 1.05
    return low, max(*ends, low * 2) * 1.15


def _legend(curve: Curve) -> str:
    total, lost = curve.n, curve.lost
    arm = f"{named(curve.label)}: " if curve.label else ""
    bad = f", {lost:,} not ok ({100 * lost / total:.2g} %)" if lost and total else ""
    return f"{arm}n = {total:,}{bad}"


def _percent(value: float, _: float = 0.0) -> str:
    return f"{value:.0%}"


def _percentile(value: float, _: float = 0.0) -> str:
    return percentile(value) if value >= 1 else ""
