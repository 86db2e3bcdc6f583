"""A sweep in the terminal: one line a point, not a screen."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from djinnload.report.amounts import number, percentile

__all__ = ("objectives", "points", "render")

_COLUMNS = ("due/s", "ok/s", "units/s", "good/s", "p50", "p90", "p99")
_CAPTION = (
    "latency from due to done, of ok turns, in ms · units: of ok requests, such as "
    "tokens · good: ok and within the deadline · eff: units/s ÷ (load × those of the "
    "least load), with its 95 % interval"
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
            rows = {p: (found.get(p) or {}).get(name) for p in points(summary)}
            bad = any(row and _bad(row) for row in rows.values())
            table = _table(f"{summary.get('scenario')}: {name}, arm {arm}", bad=bad)
            for point, row in rows.items():
                scaled = known.get((arm, name, point))
                table.add_row(escape(point), *_row(row, scaled, bad=bad))
            console.print(table)
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


def _table(title: str, *, bad: bool) -> Table:
    table = Table(
        title=escape(title),
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    table.add_column("point", no_wrap=True)
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
        number(found["units_per_s"]),
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
    ends = ", ".join(f"{end:.2g}" for end in scaled["ci95"] or ())
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
