"""Turns of sessions one by one → latency over the number of the turn."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import structs

from djinnload.report import drawing
from djinnload.report.distributions import Groups
from djinnload.report.drawn import Drawn, Keys, csv_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ("drawn",)

Document = dict[str, Any]
_SIZE_IN = (5.4, 3.6)
_PANELS = {"latency_ms": "latency", "ttft_ms": "first answer"}
_FEW = "; a turn of which there are fewer than 20 has no median"
_WORDS = {"p50": "Median", "mean": "Mean"}


def drawn(groups: Groups, keys: Keys, *, void: bool) -> Iterator[Drawn]:
    """Yield a figure of each population whose sessions have more than one turn.

    Args:
        groups: Rows by point and population, an arm each.
        keys: Classes of arms.
        void: Whether to draw watermarks.
    """
    several = len({point for point, _ in groups}) > 1
    for (point, name), every in groups.items():
        rows = [row for row in every if len(row.get("by_turn") or ()) > 1]
        if not rows:
            continue
        title = f"{name} at {point}" if several else name
        measure = _measure(rows)
        values = list(_values(rows, measure))
        if values:
            made = _drawn(title, values, measure, keys, void=void)
            yield structs.replace(made, key=keys.of(population=name))


def _measure(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the median where half of the turns have one, else the mean."""
    turns = [each.get("latency_ms") or {} for row in rows for each in row["by_turn"]]
    known = sum(each.get("p50") is not None for each in turns)
    return "p50" if 2 * known >= len(turns) else "mean"


def _values(rows: Sequence[Mapping[str, Any]], measure: str) -> Iterator[Document]:
    for key, name in _PANELS.items():
        panel = f"{name} {measure} (ms)"
        for row in rows:
            for each in row["by_turn"]:
                times = each.get(key) or {}
                value = times.get(measure)
                if not isinstance(value, int | float) or not math.isfinite(value):
                    continue
                low, high = (times.get("ci95") or {}).get(measure) or (None, None)
                yield {
                    "panel": panel,
                    "arm": row["arm"],
                    "turn": each["turn"],
                    "value": value,
                    "low": low,
                    "high": high,
                    "n": times.get("n"),
                }


def _drawn(
    title: str,
    values: Sequence[Document],
    measure: str,
    keys: Keys,
    *,
    void: bool,
) -> Drawn:
    panels = list(dict.fromkeys(each["panel"] for each in values))

    def fill(figure: "Figure") -> None:
        draw = {
            panel: partial(
                _draw,
                values=[each for each in values if each["panel"] == panel],
                keys=keys,
            )
            for panel in panels
        }
        words, xlabel = f"Turn by turn: {title}", "turn of the session, from 0"
        drawing.stacked(figure, draw, title=words, xlabel=xlabel)

    size = (_SIZE_IN[0], _SIZE_IN[1] + 1.2 * (len(panels) - 1))
    return Drawn(
        f"turns-{title}",
        drawing.render(fill, size, void=void),
        f"latency of {title} by the number of the turn within its session",
        f"{_WORDS[measure]} latency of ok turns of {title} by their number within the "
        "session, all sessions and repeats together, with its 95 % interval where "
        f"there is one{_FEW * (measure == 'p50')}.",
        csv_of(values),
        x="turn",
    )


def _draw(axes: "Axes", values: Sequence[Document], keys: Keys) -> None:
    drawing.gridded(axes)
    axes.locator_params(axis="x", integer=True)
    for look, arm in enumerate(dict.fromkeys(each["arm"] for each in values)):
        mine = [each for each in values if each["arm"] == arm]
        x, y = [each["turn"] for each in mine], [each["value"] for each in mine]
        ends = [
            (each["low"] or each["value"], each["high"] or each["value"])
            for each in mine
        ]
        error: Any = [
            [max(v - low, 0.0) for v, (low, _) in zip(y, ends, strict=True)],
            [max(high - v, 0.0) for v, (_, high) in zip(y, ends, strict=True)],
        ]
        made = axes.errorbar(
            x,
            y,
            yerr=error,
            color=drawing.PALETTE[look % len(drawing.PALETTE)],
            linestyle=drawing.DASHES[look % len(drawing.DASHES)],
            marker="os^Dv"[look % 5],
            markersize=4,
            linewidth=1.6,
            elinewidth=1,
            capsize=2.5,
            label=drawing.named(arm),
        )
        for part in (made[0], *made[1], *made[2]):
            drawing.keyed(part, keys.of(arm=arm))
    axes.set_ylim(bottom=0)
