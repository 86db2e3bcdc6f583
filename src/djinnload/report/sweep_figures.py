"""A sweep over load → what its figures draw: throughput and latency against load."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import structs

from djinnload.report import figures
from djinnload.report.drawn import Drawn, Keys, csv_of

__all__ = ("drawn",)

Document = dict[str, Any]
#: The first that half of the points have: of few turns there is no p99.
_QUANTILES = ("p99", "p95", "p90", "p50")


def drawn(
    summary: Mapping[str, Any],
    keys: Keys = Keys(),  # noqa: B008 - frozen
    *,
    void: bool,
) -> Iterator[Drawn]:
    """Yield throughput and the tail of latency over load, of each population.

    Args:
        summary: A root summary.json.
        keys: Classes of arms.
        void: Whether to draw a watermark.
    """
    rows = [
        each for each in summary.get("efficiency") or () if each["throughput_per_s"]
    ]
    for name in dict.fromkeys(each["population"] for each in rows):
        mine = [each for each in rows if each["population"] == name]
        series: dict[str, list[Document]] = {}
        for each in mine:
            series.setdefault(_series(each), []).append(each)
        label = f"load: {mine[0]['sweep']} (logarithmic)"
        key = keys.of(population=name)
        for found in (
            _throughput(name, series, label, keys, void=void),
            _latency(name, series, label, summary["arms"], keys, void=void),
        ):
            if found is not None:
                yield structs.replace(found, key=key)


def _series(row: Mapping[str, Any]) -> str:
    arm = row["arm"] if row["arm"] != "default" else ""
    return ", ".join(part for part in (arm, row["others"]) if part)


def _throughput(
    name: str,
    series: Mapping[str, list[Document]],
    xlabel: str,
    keys: Keys,
    *,
    void: bool,
) -> Drawn:
    lines = [
        figures.Line(
            label,
            [row["load"] for row in rows],
            [row["throughput_per_s"] for row in rows],
            [min(row["repeats_per_s"]) for row in rows],
            [max(row["repeats_per_s"]) for row in rows],
            keys.of(arm=rows[0]["arm"]),
        )
        for label, rows in series.items()
    ]
    title = f"Throughput against load: {name}"
    svg = figures.lines(
        lines,
        title=title,
        xlabel=xlabel,
        ylabel="units a second (logarithmic)",
        linear=True,
        void=void,
    )
    repeats = max(len(row["repeats_per_s"]) for rows in series.values() for row in rows)
    return Drawn(
        f"throughput-{name}",
        svg,
        title,
        f"Units (such as tokens) of {name} that came back within measure: the mean of "
        f"{repeats} repeats at each load, bars from the least to the largest repeat. "
        "The dotted line goes on from the least load in proportion: what is missing to "
        "it is lost efficiency.",
        csv_of(_rows(lines, series, "units_per_s")),
        x="load",
        y="units_per_s",
    )


def _latency(
    name: str,
    series: Mapping[str, list[Document]],
    xlabel: str,
    arms: Mapping[str, Any],
    keys: Keys,
    *,
    void: bool,
) -> Drawn | None:
    quantile = _quantile(name, series, arms)
    lines = [
        structs.replace(line, key=keys.of(arm=rows[0]["arm"]))
        for label, rows in series.items()
        if (line := _line(label, name, rows, arms, quantile)).x
    ]
    if not lines:
        return None
    title = f"Latency {quantile} against load: {name}"
    svg = figures.lines(
        lines,
        title=title,
        xlabel=xlabel,
        ylabel=f"{quantile} from due (ms, logarithmic)",
        void=void,
    )
    return Drawn(
        f"{quantile}-{name}",
        svg,
        title,
        f"{quantile} of the latency of ok turns of {name}, from due to done, all "
        "repeats of a load together, with its 95 % interval where there is one. A load "
        f"with too few turns for a {quantile} is left out; where a queue grew, latency "
        "grows with the time that is measured.",
        csv_of(_rows(lines, series, f"{quantile}_ms")),
        x="load",
        y=f"{quantile}_ms",
    )


def _rows(
    lines: Sequence[figures.Line], series: Mapping[str, list[Document]], y: str
) -> Iterator[Document]:
    for line in lines:
        points = zip(line.x, line.y, line.low, line.high, strict=True)
        for load, value, low, high in points:
            ends = {"low": low, "high": high} if low < high else {}
            row = {"arm": series[line.label][0]["arm"], "series": line.label}
            yield row | {"load": float(load), y: float(value)} | ends


def _line(
    label: str,
    name: str,
    rows: Sequence[Document],
    arms: Mapping[str, Any],
    quantile: str,
) -> figures.Line:
    found: list[tuple[float, float, float, float]] = []
    for row in rows:
        times = _times(row, name, arms)
        value = times.get(quantile)
        if isinstance(value, int | float) and value > 0:
            low, high = _ends(times, quantile, value)
            found.append((row["load"], value, low, high))
    x, y, lows, highs = zip(*found, strict=True) if found else ((), (), (), ())
    return figures.Line(label, x, y, lows, highs)


def _times(row: Mapping[str, Any], name: str, arms: Mapping[str, Any]) -> Document:
    found: Document = arms[row["arm"]][row["point"]][name].get("latency_ms") or {}
    return found


def _ends(times: Mapping[str, Any], name: str, value: float) -> tuple[float, float]:
    ends: list[Any] = (times.get("ci95") or {}).get(name) or []
    if len(ends) == 2 and all(isinstance(end, int | float) for end in ends):  # noqa: PLR2004
        return min(ends[0], value), max(ends[1], value)
    return value, value


def _quantile(
    name: str, series: Mapping[str, list[Document]], arms: Mapping[str, Any]
) -> str:
    rows = [row for each in series.values() for row in each]
    for quantile in _QUANTILES:
        known = sum(_times(row, name, arms).get(quantile) is not None for row in rows)
        if 2 * known >= len(rows):
            return quantile
    return _QUANTILES[-1]
