"""Experiment 4.2: what policies do to classes that compete.

Curves and courses are drawn at one point: of those at which most populations were
there, the last, which is the highest load.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from djinnload.reading.files import read_json
from djinnload.report.amounts import number
from djinnload.report.experiments import marks
from djinnload.report.experiments.base import (
    Absent,
    Datum,
    Entry,
    Experiment,
    Figure,
    Panel,
    Run,
    Table,
)
from djinnload.stats import intervals
from djinnload.stats import populations as stats
from djinnload.stats.populations import Array, PopulationSamples
from djinnload.summary.measured import Measured
from djinnload.units import SECOND

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ("EXPERIMENT",)

Row = Mapping[str, Any]

ARMS = ("qos", "fcfs")
CLASSES = ("realtime", "interactive", "batch")
#: Parts of measure in each of which violations are counted.
PARTS = 20
#: Logarithm of the ratio that is darkest.
_DARKEST = 2.5
_ALL = "all others"


def _point(run: Run) -> str:
    """Return the point that is drawn."""
    arm = run.arms[0]
    return max(
        run.points,
        key=lambda point: (
            len(run.populations(arm, point)),
            run.points.index(point),
        ),
    )


def _of_class(run: Run, qos_class: str) -> list[tuple[str, str, str]]:
    """Return arm, population and legend of a class at the point that is drawn."""
    point = _point(run)
    found = [
        (arm, name)
        for arm in run.arms
        for name in run.populations(arm, point)
        if run.samples(arm, name, point)[0].qos_class == qos_class
    ]
    if not found:
        raise Absent(f"the run has no population of the class {qos_class}")
    several = len({name for _, name in found}) > 1
    return [(arm, name, f"{arm}: {name}" if several else arm) for arm, name in found]


def _curves(qos_class: str) -> Callable[[Run], list[Datum]]:
    def data(run: Run) -> list[Datum]:
        listed: list[Row] = read_json(run.directory / "curves.json")["curves"]
        point = _point(run)
        return [
            datum
            for arm, name, label in _of_class(run, qos_class)
            for curve in listed
            if (curve["arm"], curve["point"], curve["population"], curve["metric"])
            == (arm, point, name, "latency")
            for datum in _curve(run, curve, label)
        ]

    return data


def _curve(run: Run, curve: Row, series: str) -> Iterator[Datum]:
    for ms, share in zip(curve["ms"], curve["share"], strict=True):
        yield Datum(
            series=series,
            x=ms,
            value=share,
            n=curve["n"],
            start="due",
            population=curve["population"],
            arm=curve["arm"],
            point=curve["point"],
            cells=run.paths(curve["arm"], curve["point"]),
        )


def _violations(qos_class: str) -> Callable[[Run], list[Datum]]:
    def data(run: Run) -> list[Datum]:
        point = _point(run)
        return [
            Datum(
                series=label,
                x=at,
                value=value,
                ci95=ci95,
                n=n,
                interval=f"t over {len(repeats)} repeats" if ci95 else "no interval",
                population=name,
                arm=arm,
                point=point,
                cells=run.paths(arm, point),
            )
            for arm, name, label in _of_class(run, qos_class)
            if (repeats := run.samples(arm, name, point))
            for at, value, ci95, n in _course(repeats)
        ]

    return data


def _course(
    repeats: Sequence[PopulationSamples],
) -> Iterator[tuple[float, float | None, tuple[float, float] | None, int]]:
    """Yield (middle in s, % missed, its interval, turns due) of each part of measure.

    A turn misses if it is not ok or, where there is a deadline, later than that.
    """
    begin, end = repeats[0].window_ns
    counted = [_missed(each) for each in repeats]
    for part in range(PARTS):
        due = np.array([each[0][part] for each in counted])
        missed = np.array([each[1][part] for each in counted])
        shares = 100 * missed[due > 0] / due[due > 0]
        ends = intervals.repeat_interval(shares.tolist())
        yield (
            (part + 0.5) * (end - begin) / SECOND / PARTS,
            float(100 * missed.sum() / due.sum()) if due.sum() else None,
            (max(0.0, ends[0]), min(100.0, ends[1])) if ends else None,
            int(due.sum()),
        )


def _missed(samples: PopulationSamples) -> tuple[Array, Array]:
    begin, end = samples.window_ns
    edges = np.linspace(begin, end, PARTS + 1)
    due = samples.turns.due_ns
    late = ~stats.within_deadline(samples)
    return np.histogram(due, edges)[0], np.histogram(due[late], edges)[0]


def _interference(arm: str) -> Callable[[Run], list[Datum]]:
    def data(run: Run) -> list[Datum]:
        rows: Sequence[Row] = run.summary.get("interference") or ()
        most = max((len(row["beside"]) for row in rows), default=0)
        found = [
            Datum(
                series=row["population"],
                x=_company(row["beside"], most),
                value=row["ratio"],
                ci95=row["ci95"],
                n=row["n"],
                of="pairs of repeats" if row["n"] == _repeats(run) else "blocks",
                interval="t of log ratios" if row["ci95"] else "no interval",
                start="due",
                population=row["population"],
                arm=arm,
                point=row["point"],
                cells=(*run.paths(arm, row["point"]), *run.paths(arm, row["alone"])),
            )
            for row in rows
            if (row["metric"], row["arm"]) == ("mean(latency)", arm)
        ]
        if not found:
            raise Absent("the run has no point at which a class is alone")
        return found

    return data


def _company(beside: Sequence[str], most: int) -> str:
    return _ALL if 1 < len(beside) == most else " + ".join(beside)


def _repeats(run: Run) -> int:
    return max(len(cells) for cells in run.groups.values())


def _matrix(axes: "Axes", data: Sequence[Datum]) -> None:
    """Draw a matrix of ratios, a row a class, a column its company; text says all."""
    rows = list(dict.fromkeys(each.series for each in data))
    others = {str(each.x) for each in data}.difference(rows)
    columns = [*rows, *sorted(others, key=lambda each: (each == _ALL, each))]
    grid = np.full((len(rows), len(columns)), np.nan)
    for each in data:
        at = rows.index(each.series), columns.index(str(each.x))
        # Half as fast again is as dark whatever it was before.
        grid[at] = np.log(each.value) if each.value else np.nan
        axes.text(at[1], at[0], _cell(each), ha="center", va="center", fontsize=9)
    axes.imshow(grid, cmap="Oranges", vmin=0.0, vmax=_DARKEST, alpha=0.6, aspect="auto")
    axes.set_xticks(range(len(columns)), [c.replace(" + ", "\n+ ") for c in columns])
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)


def _cell(each: Datum) -> str:
    if each.value is None:
        return "not\nmeasured"
    low, high = each.ci95 or (None, None)
    interval = "" if low is None else f"\n[{number(low)}, {number(high)}]"
    return f"{number(each.value)} ×{interval}"


def _cumulative(axes: "Axes", data: Sequence[Datum]) -> None:
    """Draw curves; an axis of less than a decade has a label at each 2 and 5."""
    marks.cdf(axes, data)
    axes.xaxis.set_minor_formatter(
        lambda x, _: number(x) if f"{x:e}"[0] in "25" else ""
    )


def _percent(axes: "Axes", data: Sequence[Datum]) -> None:
    """Draw lines over 0 to 100 %, in proportion: nothing is a value too."""
    label = axes.get_ylabel()
    marks.lines(axes, data)
    axes.set_yscale("linear")
    axes.set_ylim(-3, 105)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel(label)


def _waits(run: Run) -> Iterator[Sequence[Entry]]:
    for point in run.points:
        for name in run.populations(run.arms[0], point):
            for arm in run.arms:
                if pooled := _pooled(run, arm, point, name):
                    yield (point, name, arm, *_waited(pooled))


def _pooled(run: Run, arm: str, point: str, name: str) -> Row | None:
    found: Row | None = run.summary["arms"].get(arm, {}).get(point, {}).get(name)
    return found


def _waited(pooled: Row) -> Sequence[Entry]:
    wait, starved = pooled["queue_ms"], pooled["starvation"]
    if starved["longest_ms"] is None:
        # It told no wait, or hid all of it in execution.
        return (None,) * 7
    ends = wait["ci95"].get("mean")
    mean = Measured(
        wait["mean"],
        tuple(ends) if ends else None,
        wait["n"],
        "repeats or blocks",
        "turns",
    )
    share = 100 * starved["share"]
    return (
        wait["n"],
        mean,
        *(wait[name] for name in ("p50", "p95", "p99")),
        starved["longest_ms"],
        share,
    )


def _shares(run: Run) -> Iterator[Sequence[Entry]]:
    for row in run.summary.get("fairness") or ():
        ends = row["ci95"]
        index = Measured(
            row["index"],
            tuple(ends) if ends else None,
            row["n"],
            "t over repeats",
            "repeats",
        )
        received = [_part(row, name) for name in CLASSES]
        yield (row["point"], row["arm"], index, *received)


def _part(row: Row, name: str) -> str | None:
    found = row["classes"].get(name)
    if found is None:
        return None
    return f"{100 * found['received']:.0f} of {100 * found['entitled']:.0f}"


def _panels(
    data: Callable[[str], Callable[[Run], list[Datum]]], x: str, y: str, draw: Any
) -> tuple[Panel, ...]:
    return tuple(Panel(x, y, data(name), draw, name) for name in CLASSES)


EXPERIMENT = Experiment(
    id="4.2",
    title="QoS guarantees",
    arms=ARMS,
    figures=(
        Figure(
            id="11a",
            slug="latency_cdf",
            title="Latency of each class, by policy",
            said="Share of turns that came back ok within a time from when they were "
            "due, at the highest load that all classes had, repeats together",
            note="A curve that ends below 100 % has turns that were never ok",
            panels=_panels(_curves, "latency (ms, logarithmic)", "turns", _cumulative),
            size_in=(10.5, 3.6),
        ),
        Figure(
            id="11b",
            slug="violations",
            title="Violations over time, by policy",
            said="Share of the turns due in each twentieth of measure that were not ok "
            "or later than their deadline, at the highest load that all classes had, "
            "repeats together",
            note="Bands are 95 % intervals over repeats; what has no deadline misses "
            "only where it fails",
            panels=_panels(
                _violations, "s since measure began", "turns missed (%)", _percent
            ),
            size_in=(10.5, 3.6),
        ),
        Figure(
            id="11c",
            slug="interference",
            title="What company does to a class",
            said="Mean latency of a class in company ÷ that of the same class alone, "
            "offered the same load",
            panels=tuple(
                Panel("beside", "class", _interference(arm), _matrix, arm)
                for arm in ARMS
            ),
            size_in=(10.5, 3.4),
        ),
    ),
    tables=(
        Table(
            id="4",
            slug="queue_wait",
            title="Wait in the server's queue",
            said="Wait of ok turns in the server's queue, by its word, all repeats "
            "together; starved: waited over 10 times the median execution",
            columns=(
                "point", "class", "policy", "turns", "mean (ms)", "p50 (ms)",
                "p95 (ms)", "p99 (ms)", "longest (ms)", "starved (%)",
            ),
            rows=_waits,
        ),
        Table(
            id="4b",
            slug="fairness",
            title="Fairness over classes",
            said="Jain's index of what classes received ÷ what weighted max-min "
            "sharing gives them, and both in % of the server's time",
            columns=("point", "policy", "index", *(f"{c} (%)" for c in CLASSES)),
            rows=_shares,
        ),
    ),
)  # fmt: skip
