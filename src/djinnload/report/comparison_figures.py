"""Comparisons → one figure of ratios with their intervals, a row each."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from djinnload.report import drawing
from djinnload.report.drawn import Drawn, Keys, csv_of
from djinnload.report.logarithmic import logarithmic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ("drawn",)

Document = dict[str, Any]
_WIDTH_IN, _ROW_IN, _REST_IN = 5.4, 0.42, 0.9
#: Rows that are legible; the table has all.
_MOST = 24
#: Characters of a row's name that fit across.
_WIDE = 66


def drawn(
    comparisons: Sequence[Mapping[str, Any]],
    keys: Keys = Keys(),  # noqa: B008 - frozen
    *,
    tolerance: float | None = None,
    source: str = "summary.json",
    void: bool,
) -> Iterator[Drawn]:
    """Yield the figure; none where no comparison has a ratio with an interval.

    Args:
        comparisons: As a summary or ``compare`` lists them.
        keys: Classes of arms and populations.
        tolerance: Part by which more is no regression, drawn as a band; None: no band.
        source: Where they are from.
        void: Whether to draw a watermark.
    """
    known = [each for each in comparisons if _is_drawn(each)]
    shown = known[:_MOST]
    if not shown:
        return

    def fill(figure: "Figure") -> None:
        axes = figure.add_subplot()
        _draw(axes, shown, keys, tolerance)

    more = f" The first {len(shown)} of {len(known)}." * (len(known) > len(shown))
    band = (
        f" Shaded: within the tolerance of {100 * tolerance:g} % either way."
        if tolerance
        else ""
    )
    yield Drawn(
        "ratios",
        drawing.render(fill, (_WIDTH_IN, _REST_IN + _ROW_IN * len(shown)), void=void),
        "ratios of compared values with their 95 % intervals",
        "Ratio of each compared value to its baseline (logarithmic), with its 95 % "
        f"interval; at 1 there is no difference.{band}{more}",
        csv_of(_row(each) for each in comparisons),
        source=source,
        read="",
    )


def _is_drawn(each: Mapping[str, Any]) -> bool:
    numbers = (each.get("ratio"), *(each.get("ci95") or (None,)))
    return all(
        isinstance(n, int | float) and math.isfinite(n) and n > 0 for n in numbers
    )


def _draw(
    axes: "Axes",
    shown: Sequence[Mapping[str, Any]],
    keys: Keys,
    tolerance: float | None,
) -> None:
    places = len({(each["point"], each["arm"], each["baseline"]) for each in shown})
    several = places > 1
    for row, each in enumerate(shown):
        low, high = each["ci95"]
        key = keys.of(arm=each["arm"], population=each["population"])
        colour = drawing.PALETTE[0]
        (line,) = axes.plot([low, high], [row, row], color=colour, linewidth=2)
        (dot,) = axes.plot([each["ratio"]], [row], color=colour, marker="o")
        text = axes.annotate(
            _named(each, several=several),
            (0, row),
            (0, 6),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            fontsize=9,
        )
        for part in (line, dot, text):
            drawing.keyed(part, key)
    axes.axvline(1, color=drawing.INK, linewidth=1, linestyle=(0, (2, 2)))
    if tolerance:
        ends = (1 / (1 + tolerance), 1 + tolerance)
        axes.axvspan(*ends, color="0.5", alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.8), max(high, 1.25))
    axes.set_ylim(len(shown) - 0.5, -0.8)
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    logarithmic(axes, "x")
    axes.set_xlabel("ratio to the baseline (logarithmic)")


def _named(each: Mapping[str, Any], *, several: bool) -> str:
    sides = f"{each['arm']} ÷ {each['baseline']}"
    if each["arm"] == each["baseline"]:
        sides = each["arm"] * several
    point = f"at {each['point']}" * (several and each["point"] != "all")
    parts = (each["population"], each["metric"], sides, point)
    return drawing.plain(", ".join(part for part in parts if part), _WIDE)


def _row(each: Mapping[str, Any]) -> Document:
    ends = each.get("ci95") or (None, None)
    told = ("population", "point", "arm", "baseline", "metric", "a", "b", "ratio")
    return {name: each.get(name) for name in told} | {
        "low": ends[0],
        "high": ends[1],
        "p_holm": each.get("p_holm"),
        "n": each.get("n"),
        "status": each.get("status"),
    }
