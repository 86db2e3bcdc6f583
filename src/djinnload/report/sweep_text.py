"""A sweep in the terminal: one line a point, not a screen."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from djinnload.report.amounts import interval, number, percentile

__all__ = ("missed", "points", "render")

_CAPTION = (
    "latency from due to done, of ok turns, in ms · good: ok and within the deadline · "
    "eff: throughput ÷ (load × that of the least load), with its 95 % interval"
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
    known = {
        (each["arm"], each["population"], each["point"]): each
        for each in summary.get("efficiency") or ()
    }
    for arm, found in arms.items():
        names = dict.fromkeys(name for point in found.values() for name in point)
        for name in names:
            console.print()
            table = _table(f"{summary.get('scenario')}: {name}, arm {arm}")
            for point in points(summary):
                row = (found.get(point) or {}).get(name)
                table.add_row(escape(point), *_row(row, known.get((arm, name, point))))
            console.print(table)
    console.print(_CAPTION, style="dim")
    for each in summary.get("knee") or ():
        console.print(_shape(each), markup=False)


def missed(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    """Yield (population, arm, point, objective) of those that are not met."""
    for arm, found in (summary.get("arms") or {}).items():
        for point, populations in found.items():
            for name, pooled in populations.items():
                for each in pooled.get("objectives") or ():
                    if each["met"] is not True:
                        yield name, f"{arm}, {point}", str(each["text"]), each


def _placed(summary: Mapping[str, Any]) -> Iterator[str]:
    rows = summary.get("efficiency") or ()
    others = list(dict.fromkeys(each["others"] for each in rows))
    for each in sorted(rows, key=lambda r: (others.index(r["others"]), r["load"])):
        yield each["point"]


def _table(title: str) -> Table:
    table = Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column("point", no_wrap=True)
    for name in ("due/s", "ok/s", "good/s", "p50", "p90", "p99", "bad", "eff"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _row(
    found: Mapping[str, Any] | None, scaled: Mapping[str, Any] | None
) -> list[str]:
    if found is None:
        return ["n/a"] * 8
    bad = sum(n for outcome, n in found["outcomes"].items() if outcome != "ok")
    return [
        number(found["offered_per_s"]),
        number(found["achieved_per_s"]),
        number(found["goodput_per_s"]),
        *(_short(percentile(found["latency_ms"], q)) for q in ("p50", "p90", "p99")),
        number(bad),
        "" if scaled is None else _efficiency(scaled),
    ]


def _short(shown: str) -> str:
    return "few" if shown == "n too small" else shown


def _efficiency(scaled: Mapping[str, Any]) -> str:
    if scaled["value"] is None:
        return "–"
    return f"{number(scaled['value'])} {interval(scaled['ci95'])}".rstrip()


def _shape(each: Mapping[str, Any]) -> str:
    others = f", {each['others']}" * bool(each["others"])
    where = f"{each['arm']}{others}: "
    unit = each["sweep"]
    found = f"no knee up to {unit} = {each['top_load']:g}"
    if each["load"] is not None:
        at = number(each["achieved_per_s"])
        found = f"knee at {unit} = {each['load']:g} ({at}/s)"
    full = "not saturated"
    if each["saturation_load"] is not None:
        full = f"saturated from {unit} = {each['saturation_load']:g} on"
    most = f"at most {number(each['most_achieved_per_s'])}/s"
    held = f"; at the top: {each['held_up_by']}" if each["held_up_by"] else ""
    return f"{where}{found}, {full}, {most}{held}"
