"""Claims of a plan in the terminal, beside what was measured."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from djinnload.report.amounts import quantity

__all__ = ("render",)


def render(claims: Iterable[Mapping[str, Any]], console: Console) -> None:
    """Print *claims* of a root summary; nothing if there is none."""
    table = Table(
        title="claims of the plan, which nobody measured, and what this run did",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for name in ("arm", "metric"):
        table.add_column(name, overflow="fold")
    for name in ("claimed", "measured"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="fold")
    for each in claims:
        where = [each["arm"]]
        where += [f"at {each['point']}"] * (each["point"] != "all")
        claimed = quantity(each["claimed"], each["unit"])
        why = "" if each["feasible"] else f"infeasible: {each['infeasible']}"
        row = (" ".join(where), _about(each), claimed, _measured(each), why)
        table.add_row(*map(escape, row))
    if table.row_count:
        console.print()
        console.print(table)


def _about(each: Mapping[str, Any]) -> str:
    of = f" of {each['population']}" if each["population"] else ""
    return f"{each['metric']}{of}"


def _measured(each: Mapping[str, Any]) -> str:
    if each["measured"] is None:
        return "not measured"
    ends = [quantity(end, each["unit"]) for end in each["ci95"] or ()]
    interval = f" [{', '.join(ends)}]" if ends else ""
    return f"{quantity(each['measured'], each['unit'])}{interval}"
