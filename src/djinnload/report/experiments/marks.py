"""Data → bars, stacks, lines and curves on a pair of axes; readable without colour.

Series differ in colour and in hatch, dash or marker. A claim of the plan is a hollow
diamond (a cross where no machine can reach it); what was not measured says so.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from djinnload.report.amounts import number
from djinnload.report.drawing import (
    DASHES,
    GRID,
    INK,
    PALETTE,
    PAPER,
    named,
    plain,
    tint,
)
from djinnload.report.experiments.base import Datum
from djinnload.summary.effects import NOT_DEFINED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = (
    "CLAIM",
    "INFEASIBLE",
    "bars",
    "cdf",
    "level",
    "lines",
    "scatter",
    "stacked",
)

CLAIM, INFEASIBLE = "claim (plan), not measured", "claim (plan), infeasible"
HATCHES = ("", "///", "...", "\\\\\\", "xxx", "+++")
MARKERS = "os^Dv<"
#: Largest over smallest value from which an axis is logarithmic.
_DECADES = 30.0
_WIDTH = 0.8
_TIGHT = 5  # bars beside each other from which there is no room for their values


def bars(axes: "Axes", data: Sequence[Datum]) -> None:
    """Draw groups of bars: a group an x, a bar a series, with their intervals.

    Where each x has one series, as arms have, each bar has a look of its own.
    """
    groups, series = _distinct(d.x for d in data), _distinct(d.series for d in data)
    alone = len(data) <= len(groups)
    wide = _WIDTH if alone else _WIDTH / len(series)
    low = _scale(axes, data)
    for each in data:
        at = float(groups.index(each.x))
        look = series.index(each.series)
        if not alone:
            at += wide * (look - (len(series) - 1) / 2)
        # A legend that repeats the axis is left out.
        shown = "" if each.series == each.x else each.series
        style = _fill(look, shown) | {"width": wide, "bottom": low}
        _bar(axes, each, at, style)
        known = each.value is not None and math.isfinite(each.value)
        if len(data) <= 2 * _TIGHT or not known:
            _value(axes, each, at, low)
    _ticks(axes, groups)


def stacked(axes: "Axes", data: Sequence[Datum]) -> None:
    """Draw a bar an x, its series on top of each other; intervals at their upper ends.

    Those of a bar stand beside each other, in the order of the series.
    """
    groups, series = _distinct(d.x for d in data), _distinct(d.series for d in data)
    _plain(axes)
    tops: dict[str | float, float] = {}
    for look, name in enumerate(series):
        aside = 0.7 * _WIDTH * ((look + 0.5) / len(series) - 0.5)
        for each in (d for d in data if d.series == name):
            at, value = groups.index(each.x), each.value or 0.0
            below = tops.get(each.x, 0.0)
            axes.bar(at, value, _WIDTH, bottom=below, **_fill(look, name))
            if each.ci95:
                ends = [[max(abs(value - end), 0.0)] for end in each.ci95]
                style: dict[str, Any] = {"ecolor": INK, "elinewidth": 1, "capsize": 2.5}
                axes.errorbar(at + aside, below + value, yerr=ends, fmt="none", **style)
            tops[each.x] = below + value
    axes.set_ylim(bottom=0)
    _ticks(axes, groups)


def lines(axes: "Axes", data: Sequence[Datum], *, linear: bool = False) -> None:
    """Draw a line a series over numbers, its intervals as bars, of many as a band.

    The axis is logarithmic over decades, unless it is to be *linear*.
    """
    _scale(axes, data, linear=linear)
    for look, name in enumerate(_distinct(d.series for d in data)):
        mine = sorted((d for d in data if d.series == name), key=lambda d: float(d.x))
        x = np.array([float(d.x) for d in mine])
        y = np.array([_finite(d.value) for d in mine])
        many = len(mine) > 40  # noqa: PLR2004 - markers would touch
        colour = PALETTE[look % len(PALETTE)]
        axes.plot(
            x,
            y,
            color=colour,
            linestyle=DASHES[look % len(DASHES)],
            linewidth=1.6,
            marker="" if many else MARKERS[look % len(MARKERS)],
            markersize=4.5,
            label=named(name),
        )
        ends = np.array([d.ci95 or (math.nan, math.nan) for d in mine]).T
        if many:
            axes.fill_between(x, *ends, color=colour, alpha=0.18, linewidth=0)
        else:
            error = np.maximum([y - ends[0], ends[1] - y], 0.0)
            bars: dict[str, Any] = {"elinewidth": 1, "capsize": 2.5, "alpha": 0.7}
            axes.errorbar(x, y, yerr=error, fmt="none", ecolor=colour, **bars)
        for each in mine:
            _claim(axes, each, float(each.x))


def scatter(axes: "Axes", data: Sequence[Datum]) -> None:
    """Draw a point a datum over numbers, its interval, and the name of its point."""
    _scale(axes, data)
    for look, name in enumerate(_distinct(d.series for d in data)):
        colour = PALETTE[look % len(PALETTE)]
        for each in (d for d in data if d.series == name):
            at, value = float(each.x), _finite(each.value)
            low, high = each.ci95 or (value, value)
            error: Any = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
            axes.errorbar(
                at,
                value,
                yerr=error,
                color=colour,
                marker=MARKERS[look % len(MARKERS)],
                markersize=6,
                elinewidth=1.1,
                capsize=3.5,
                linestyle="none",
                label=named(name),
            )
            label = each.point.rpartition("=")[2]
            axes.annotate(
                label, (at, value), (6, 4), textcoords="offset points", fontsize=9
            )
            _claim(axes, each, at)
    axes.margins(x=0.15)


def level(axes: "Axes", value: float) -> None:
    """Draw a dashed line across: where there is no difference."""
    axes.axhline(value, color=INK, linewidth=1.0, linestyle="--", zorder=1)


def cdf(axes: "Axes", data: Sequence[Datum]) -> None:
    """Draw curves of the share (value, 0 to 1) of what is up to x, over a log axis."""
    _plain(axes)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda v, _: f"{v:.0%}")
    axes.xaxis.set_major_formatter(lambda v, _: number(v))
    for look, name in enumerate(_distinct(d.series for d in data)):
        mine = sorted((d for d in data if d.series == name), key=lambda d: float(d.x))
        axes.plot(
            [float(d.x) for d in mine],
            [_finite(d.value) for d in mine],
            color=PALETTE[look % len(PALETTE)],
            linestyle=DASHES[look % len(DASHES)],
            linewidth=1.6,
            drawstyle="steps-post" if len(mine) < 60 else "default",  # noqa: PLR2004
            label=named(name),
        )


def _bar(axes: "Axes", each: Datum, at: float, style: dict[str, Any]) -> None:
    if each.value is None or not math.isfinite(each.value):
        # Into the legend all the same: it is there, without a value.
        axes.bar(at, 0.0, **style)
    else:
        axes.bar(at, each.value - style["bottom"], **style)
        if each.ci95:
            ends = [max(abs(each.value - end), 0.0) for end in each.ci95]
            error: Any = [[ends[0]], [ends[1]]]
            axes.errorbar(
                at, each.value, yerr=error, color=INK, elinewidth=1.1, capsize=3.5
            )
    # Beside the middle, where the value and its error bar are.
    _claim(axes, each, at + 0.32 * style["width"])


def _value(axes: "Axes", each: Datum, at: float, low: float) -> None:
    """Write a bar's value above it, or why it has none."""
    value = each.value
    text, y = "n/a", low
    if each.interval == NOT_DEFINED:
        text = NOT_DEFINED.replace(" ", "\n")
    if value is not None:
        text = number(value) if math.isfinite(value) else "∞: turns\nnot ok"
        y = max(value, low, *(each.ci95 or ())) if math.isfinite(value) else low
    axes.annotate(
        text, (at, y), (0, 3), textcoords="offset points", ha="center", fontsize=9
    )


def _claim(axes: "Axes", each: Datum, at: float) -> None:
    if each.claim is None or (axes.get_yscale() == "log" and each.claim <= 0):
        return
    axes.plot(
        [at],
        [each.claim],
        linestyle="none",
        marker="X" if each.infeasible else "D",
        markersize=7,
        markerfacecolor=PAPER,
        markeredgecolor=INK,
        markeredgewidth=1.3,
        zorder=6,
        label=INFEASIBLE if each.infeasible else CLAIM,
    )


def _fill(look: int, name: str) -> dict[str, Any]:
    return {
        "facecolor": tint(look),
        "edgecolor": INK,
        "linewidth": 0.8,
        "hatch": HATCHES[look % len(HATCHES)],
        "label": named(name),
    }


def _scale(axes: "Axes", data: Sequence[Datum], *, linear: bool = False) -> float:
    """Set up the y axis, logarithmic over decades; return where bars stand on it."""
    _plain(axes)
    seen = [v for d in data for v in (d.value, d.claim) if v is not None]
    known = [v for v in seen if math.isfinite(v)]
    positive = [v for v in known if v > 0]
    decades = positive and min(known) >= 0 and max(positive) / min(positive) >= _DECADES
    if linear or not decades:
        ends = [end for d in data for end in d.ci95 or () if math.isfinite(end)]
        low, high = (f([*known, *ends], default=0.0) for f in (min, max))
        # One end alone would leave the other where it is without data: at 1.
        room = 0.18 * (max(high, 0.0) - min(low, 0.0)) or 1.0
        axes.set_ylim(min(low, 0.0) - room * (low < 0), max(high, 0.0) + room)
        return 0.0
    low = 10 ** math.floor(math.log10(min(positive)) - 0.1)
    axes.set_yscale("log")
    axes.set_ylim(low, max(positive) * 4)
    axes.yaxis.set_major_formatter(lambda v, _: number(v))
    axes.set_ylabel(f"{axes.get_ylabel()} (logarithmic)")
    return float(low)


def _plain(axes: "Axes") -> None:
    axes.grid(visible=True, axis="y", which="major", linewidth=0.6, color=GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _ticks(axes: "Axes", groups: Sequence[Any]) -> None:
    """Name groups of bars; names of arms are long: a line a word."""
    several = len(groups) > 2  # noqa: PLR2004 - two have room
    shown = [plain(x if isinstance(x, str) else number(x)) for x in groups]
    names = [x.replace("_", "\n").replace(" ", "\n") if several else x for x in shown]
    axes.set_xticks(range(len(groups)), names, fontsize=9)
    axes.set_xlim(-0.6, len(groups) - 0.4)


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.nan


def _distinct(every: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(every))
