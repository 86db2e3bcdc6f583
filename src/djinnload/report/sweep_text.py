"""A sweep in the terminal: one line a point, not a screen."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from djinnload.report.amounts import number, percentile

__all__ = ("objectives", "points", "render")

_COLUMNS = ("due/s", "ok/s", "good/s", "p50", "p90", "p99")
_CAPTION = (
    "latency from due to done, of ok turns, in ms · good: ok and within the deadline · "
    "eff: units/s (such as tokens) ÷ (load × those of the least load), with its 95 % "
    "interval"
)


def points(summary: Mapping[str, Any]) -> list[str]:
    """Return the names of the points, in the order of the sweeps."""
    listed = [each.get("point") for each in summary.get("cells") or ()]
    arms = (summary.get("arms") or {}).values()
    known = dict.fromkeys(point for found in arms for point in found)
    wanted = dict.fromkeys((*_placed(summary), *map(str, listed), *known))
    return [point for point in wanted if point in known or point in listed]


def render(summary: Mapping[str, Any], console: Console) -> None:
    """Print every population and arm over the points, and what the sweep shows."""
    arms: Mapping[str, Any] = summary.get("arms") or {}
    every = [point for found in arms.values() for point in found.values()]
    for name in dict.fromkeys(name for point in every for name in point):
        console.print()
        console.print(_table(summary, name))
    console.print(_CAPTION, style="dim")
    for each in summary.get("knee") or ():
        console.print(_shape(each), markup=False)


def objectives(summary: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """Return (population, arm and point, objective) of each that was decided."""
    return [
        (name, f"{arm}, {point}", each)
        for arm, found in (summary.get("arms") or {}).items()
        for point, populations in found.items()
        for name, pooled in populations.items()
        for each in pooled.get("objectives") or ()
    ]


def _placed(summary: Mapping[str, Any]) -> Iterator[str]:
    rows = summary.get("efficiency") or ()
    others = list(dict.fromkeys(each["others"] for each in rows))
    for each in sorted(rows, key=lambda r: (others.index(r["others"]), r["load"])):
        yield each["point"]


def _table(summary: Mapping[str, Any], name: str) -> Table:
    """Return the table of a population: the arms of a point next to each other."""
    known = {
        (each["arm"], each["point"]): each
        for each in summary.get("efficiency") or ()
        if each["population"] == name
    }
    rows = {
        (point, arm): (found.get(point) or {}).get(name)
        for point in points(summary)
        for arm, found in summary["arms"].items()
    }
    bad = any(row and _bad(row) for row in rows.values())
    table = _empty(f"{summary.get('scenario')}: {name}", bad=bad)
    last = ""
    for (point, arm), row in rows.items():
        shown = escape(point) if point != last else ""
        cells = _row(row, known.get((arm, point)), bad=bad)
        table.add_row(shown, escape(arm), *cells)
        last = point
    return table


def _empty(title: str, *, bad: bool) -> Table:
    table = Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for name in ("point", "arm"):
        table.add_column(name, no_wrap=True)
    for name in (*_COLUMNS, *["bad"] * bad, "eff"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _row(
    found: Mapping[str, Any] | None, scaled: Mapping[str, Any] | None, *, bad: bool
) -> list[str]:
    if found is None:
        return ["n/a"] * (len(_COLUMNS) + bad + 1)
    return [
        number(found["offered_per_s"]),
        number(found["achieved_per_s"]),
        number(found["goodput_per_s"]),
        *(_short(percentile(found["latency_ms"], q)) for q in ("p50", "p90", "p99")),
        *[number(_bad(found))] * bad,
        "" if scaled is None else _efficiency(scaled),
    ]


def _bad(found: Mapping[str, Any]) -> int:
    return sum(n for outcome, n in found["outcomes"].items() if outcome != "ok")


def _short(shown: str) -> str:
    return "few" if shown == "n too small" else shown


def _efficiency(scaled: Mapping[str, Any]) -> str:
    if scaled["value"] is None:
        return "–"
    # Two decimals: a line of 80 letters has no more room.
    ends = ", ".join(
        f"{end:.2f}" if end < 10 else f"{end:.0f}"  # noqa: PLR2004 - 10.0
        for end in scaled["ci95"] or ()
    )
    return f"{scaled['value']:.2f}{f' [{ends}]' * bool(ends)}"


def _shape(each: Mapping[str, Any]) -> str:
    others = f", {each['others']}" * bool(each["others"])
    where = f"{each['arm']}{others}: "
    unit = each["sweep"]
    found = f"no knee up to {unit} = {each['top_load']:g}"
    if each["load"] is not None:
        at = number(each["throughput_per_s"])
        found = f"knee at {unit} = {each['load']:g} ({at} units/s)"
    full = "not saturated"
    if each["saturation_load"] is not None:
        full = f"saturated from {unit} = {each['saturation_load']:g} on"
    most = f"at most {number(each['most_per_s'])} units/s"
    held = f"; at the top: {each['held_up_by']}" if each["held_up_by"] else ""
    return f"{where}{found}, {full}, {most}{held}"
