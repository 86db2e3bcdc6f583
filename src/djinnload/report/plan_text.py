"""What a run would do, in the terminal: for ``djinnload check``."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from djinnload.describe import Description, Expected
from djinnload.report.amounts import number
from djinnload.scenarios import behaviours
from djinnload.units import SECOND, format_bytes, format_ns

__all__ = ("show_plan",)

#: Cells that are named; a full-size experiment has hundreds.
_LISTED = 12


def show_plan(plan: Description) -> None:
    """Print what a run would do."""
    console = Console(highlight=False)
    console.print(f"[bold]{escape(plan.scenario)}[/]: {_counted(plan)}")
    if len(plan.points) > 1:
        console.print(_plan_of_points(plan))
    else:
        for arm, populations in plan.populations.items():
            table = _plain_table(f"arm {escape(arm)}", *_PLANNED)
            for each in populations:
                table.add_row(*map(escape, _expected(each)))
            console.print(table)
    if plan.behaviours:
        console.print(_matrix(plan))
    for line in (*_left_out(plan), *_shipped(plan)):
        console.print(line, markup=False)
    for model in plan.models:
        console.print(f"model {model.model_id}, {model.architecture}", markup=False)
    more = ", calibration included" if plan.calibrated else ""
    left = len(plan.cells) - _LISTED
    rest = f" and {left} more (index.json of the run lists all)" * (left > 0)
    first = ", ".join(plan.cells[:_LISTED])
    console.print(f"order: {first}{rest}", markup=False)
    console.print(
        f"time: {_time(plan)}{more}, and up to {plan.grace_s:.0f} s of grace; nothing "
        "was opened",
        markup=False,
    )


def _time(plan: Description) -> str:
    if plan.seconds is None:
        return "as long as so many sessions take"
    return f"about {plan.seconds:.0f} s"


def _counted(plan: Description) -> str:
    """Return how many cells there are, and of what."""
    arms = dict.fromkeys(
        key.rpartition("/")[2] for key in (*plan.populations, *plan.skipped)
    )
    told = f"{len(plan.cells)} cells"
    if len(plan.points) == 1:
        return told
    left_out = len(plan.skipped) * plan.repeats
    less = f", less {left_out} that are skipped" * bool(left_out)
    every = len(plan.points) * len(arms) * plan.repeats
    if fewer := every - left_out - len(plan.cells):
        less += f", less {fewer} of arms with fewer repeats"
    return (
        f"{told} = {len(plan.points)} points × {len(arms)} arms × "
        f"{plan.repeats} repeats{less}"
    )


def _plan_of_points(plan: Description) -> Table:
    table = _plain_table(
        "", "point", "arm", "population", "load", "sessions", "s a cell"
    )
    for point in plan.points:
        measured = [key for key in plan.populations if key.rpartition("/")[0] == point]
        for key in measured:
            for each in plan.populations[key]:
                name, _, _, load, sessions, _ = _expected(each)
                row = (point, key.rpartition("/")[2], name, load, sessions)
                table.add_row(*map(escape, row), _cell_s(plan, key))
        for key in plan.skipped:
            if key.rpartition("/")[0] == point:
                table.add_row(*map(escape, (point, key.rpartition("/")[2])), "skipped")
    return table


def _cell_s(plan: Description, key: str) -> str:
    seconds = plan.cell_s[key]
    return "by sessions" if seconds is None else number(seconds)


def _matrix(plan: Description) -> Table:
    """Return what each arm is told to do; a star: other than the baseline is."""
    names, rows = behaviours.matrix(plan.behaviours, plan.baseline)
    title = "behaviours"
    if plan.baseline in plan.behaviours:
        title += f" (* other than in {plan.baseline})"
    table = _plain_table(title, "arm", *names)
    for arm, words in rows:
        table.add_row(*map(escape, (arm, *words)))
    return table


def _left_out(plan: Description) -> Iterator[str]:
    """Yield where each arm is not measured."""
    points: dict[str, list[str]] = {}
    for key in plan.skipped:
        point, _, arm = key.rpartition("/")
        points.setdefault(arm, []).append(point)
    for arm, at in points.items():
        yield f"arm {arm}: n/a at {', '.join(at)}"


def _shipped(plan: Description) -> Iterator[str]:
    """Yield what the wire of each arm that sends weights or state has to take."""
    for key, populations in plan.populations.items():
        for each in populations:
            if each.shipped is not None:
                yield (
                    f"arm {key}, {each.name}: ships at least "
                    f"{format_bytes(each.shipped.sent)} there and "
                    f"{format_bytes(each.shipped.received)} back a session of "
                    f"{each.shipped.requests} requests"
                )
    for arm, all_ in plan.shipping.items():
        whose = "its network" if all_.network else "loopback, assumed"
        yield (
            f"arm {arm}: {format_bytes(all_.sent)} there and "
            f"{format_bytes(all_.received)} back in all, at "
            f"{format_bytes(all_.per_s)}/s ({whose}) at least "
            f"{format_ns(all_.seconds * SECOND)}"
        )


_PLANNED = ("population", "class", "workload", "load", "sessions", "requests")


def _expected(each: Expected) -> tuple[str, ...]:
    sessions = "by capacity" if each.sessions is None else number(each.sessions)
    requests = "–" if each.requests is None else f"{each.requests} a session"
    if each.nbytes is not None:
        requests += f", {each.nbytes:,} bytes in"
    return each.name, each.qos_class, each.workload, each.load, sessions, requests


def _plain_table(title: str, *columns: str) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for name in columns:
        table.add_column(name)
    return table
