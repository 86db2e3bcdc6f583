"""Experiment 4.1: throughput, the tail of latency and GPU use, from 1 to 64 users."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from djinnload.report.amounts import number
from djinnload.report.experiments import marks
from djinnload.report.experiments.base import (
    Absent,
    Datum,
    Experiment,
    Figure,
    Panel,
    Run,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ("EXPERIMENT",)

Row = Mapping[str, Any]

_MS = 1e-6
_PROPORTION = "in proportion to the least load"
#: The furthest that half of the levels have: of few turns there is no p99.
_TAILS = ("p99", "p95", "p90", "p50")


def _rows(run: Run) -> list[Row]:
    """Return the entries of ``efficiency``: an arm, population and level each."""
    rows = list(run.summary.get("efficiency") or ())
    if not rows:
        raise Absent("the run has no sweep over users, a rate or scenario.load")
    return rows


def _series(row: Row, rows: Sequence[Row]) -> str:
    """Return the legend of a row: its arm, and what else tells it from others."""
    several = len({each["population"] for each in rows}) > 1
    parts = (row["arm"], row["population"] if several else "", row["others"])
    return ", ".join(part for part in parts if part)


def _measured(run: Run, text: str, scale: float = 1.0) -> Iterator[Datum]:
    rows = _rows(run)
    for row in rows:
        yield run.datum(
            text,
            arm=row["arm"],
            population=row["population"],
            point=row["point"],
            x=row["load"],
            series=_series(row, rows),
            scale=scale,
        )


def _throughput(run: Run) -> list[Datum]:
    found = list(_measured(run, "throughput"))
    base = _base(found)
    line = [
        Datum(
            series=_PROPORTION,
            x=each.x,
            value=base * float(each.x),
            n=each.n,
            of=each.of,
        )
        for each in found
        if each.series == found[0].series
    ]
    return [*found, *line]


def _base(found: Sequence[Datum]) -> float:
    """Return what one unit of load brings at the least load, of the first series."""
    first = min(
        (each for each in found if each.series == found[0].series),
        key=lambda each: float(each.x),
    )
    return (first.value or 0.0) / float(first.x)


def _tail(run: Run) -> list[Datum]:
    for tail in _TAILS:
        found = list(_measured(run, f"{tail}(latency)", _MS))
        if 2 * sum(each.value is not None for each in found) >= len(found):
            return [_renamed(each, f"{each.series}, {tail}") for each in found]
    raise Absent("too few turns for a percentile")


def _renamed(datum: Datum, series: str) -> Datum:
    fields = {name: getattr(datum, name) for name in datum.__struct_fields__}
    return Datum(**fields | {"series": series})


def _gpu(run: Run) -> list[Datum]:
    found = list(_measured(run, "gpu_util", 100.0))
    if all(each.value is None for each in found):
        raise Absent('no GPU was looked at: say probes = { nvml = "100ms" }')
    return found


def _levels(axes: "Axes", data: Sequence[Datum]) -> None:
    """Draw lines over levels of load, which double: a logarithmic axis."""
    marks.lines(axes, data)
    axes.set_xscale("log", base=2)
    loads = sorted({float(each.x) for each in data})
    axes.set_xticks(loads, [number(load) for load in loads])
    axes.minorticks_off()


def _doubling(axes: "Axes", data: Sequence[Datum]) -> None:
    """Draw `_levels` with a logarithmic y axis too: proportion is a straight line."""
    _levels(axes, data)
    seen = [v for each in data for v in (each.value, each.claim) if v and v > 0]
    if not seen:
        return
    low, high = min(seen) / 1.5, max(seen) * 1.5
    axes.set_yscale("log", base=2)
    axes.set_ylim(low, high)
    ticks = 2.0 ** np.arange(np.ceil(np.log2(low)), np.log2(high))
    axes.set_yticks(ticks, [number(float(tick)) for tick in ticks])
    axes.minorticks_off()


_X = "load (logarithmic)"

EXPERIMENT = Experiment(
    id="4.1",
    title="Scalability",
    figures=(
        Figure(
            id="10a",
            slug="throughput",
            title="Throughput against load",
            said="Units (such as tokens) a second of requests that came back ok within "
            "measure, at each level of load",
            note="The last line goes on from the least level in proportion: what is "
            "missing to it is lost efficiency",
            panels=(Panel(_X, "units a second", _throughput, _doubling),),
        ),
        Figure(
            id="10b",
            slug="tail",
            title="Tail of latency against load",
            said="The highest percentile that half of the levels have turns enough "
            "for, of latency from the due time, turns that were not ok as infinite",
            note="Where a queue grows, latency grows with the time that is measured",
            panels=(Panel(_X, "latency (ms)", _tail, _levels),),
        ),
        Figure(
            id="10c",
            slug="gpu",
            title="GPU use against load",
            said="Share of the time in which the GPUs ran anything, by NVML",
            panels=(Panel(_X, "GPU busy (%)", _gpu, _levels),),
        ),
    ),
)
