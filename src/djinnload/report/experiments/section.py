"""What was drawn of an experiment, and the plan's claims → a section of the report.

Each bar names its n, interval, start event and files.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from djinnload.report.amounts import number
from djinnload.report.drawn import Drawn, csv_of
from djinnload.report.experiments.base import Datum
from djinnload.report.experiments.rendering import Rendered, Shown
from djinnload.report.page.placing import Shelf
from djinnload.report.page.template import rendered as page

__all__ = ("section",)

Document = dict[str, Any]
TEMPLATE = "section.html.j2"
#: Points of one series that are listed one by one; of more, how many there are.
_FEW = 12


def section(
    rendered: Rendered | None, claims: Sequence[Mapping[str, Any]], *, void: bool
) -> Markup:
    """Return HTML for the report; empty where there is nothing to say.

    Args:
        rendered: What was drawn; None: the run is of no experiment.
        claims: As of the root summary.
        void: Whether the run is.
    """
    shown = None if rendered is None else _told(rendered)
    made = page(TEMPLATE, {"rendered": shown, "claims": claims, "void": void})
    # Made by a template that escapes what it is given.
    return Markup(made.strip())  # noqa: S704


def _told(rendered: Rendered) -> Document:
    shelf = Shelf(None)
    return {
        "experiment": rendered.experiment,
        "absent": rendered.absent,
        "shown": [_shown(each, shelf) for each in rendered.shown],
    }


def _shown(each: Shown, shelf: Shelf) -> Document:
    anchor = each.name.lower().replace(" ", "-")
    figures = []
    if each.svg:
        label = f"{each.name}: {each.title}"
        data = csv_of(_rows(each.data))
        source = ", ".join(file for file in each.files if file.endswith(".csv"))
        drawn = Drawn(
            anchor, each.svg, label, each.caption, data, source=source, read=each.read
        )
        figures = shelf.place(anchor, [drawn])
    told: Document = {
        key: getattr(each, key)
        for key in ("name", "title", "caption", "files", "svg", "table")
    }
    told["figures"] = figures
    return told | {"anchor": anchor, "bars": list(_bars(each.data))}


def _rows(panels: Iterable[tuple[str, Sequence[Datum]]]) -> Iterator[Document]:
    for panel, data in panels:
        for each in data:
            low, high = each.ci95 or (None, None)
            row = {"panel": panel, "series": each.series, "x": each.x}
            yield row | {"value": each.value, "low": low, "high": high, "n": each.n}


def _bars(panels: Iterable[tuple[str, Sequence[Datum]]]) -> Iterable[Document]:
    """Yield a row a bar; of a long line one row for all of it."""
    for axis, data in panels:
        groups: dict[tuple[str, ...], list[Datum]] = {}
        for each in data:
            key = (each.series, each.population, each.arm, each.point)
            groups.setdefault(key, []).append(each)
        for group in groups.values():
            if len(group) > _FEW:
                yield _line(axis, group)
            else:
                yield from (_bar(axis, each) for each in group)


def _bar(axis: str, each: Datum) -> Document:
    named = {
        "axis": axis,
        "points": 1,
        "x": each.x if isinstance(each.x, str) else number(each.x),
        "n": number(each.n),
    }
    told = (
        *("series", "value", "ci95", "interval", "of", "start"),
        *("claim", "infeasible", "cells"),
    )
    return {key: getattr(each, key) for key in told} | named


def _line(axis: str, group: Sequence[Datum]) -> Document:
    """Return a row for a series of many points, which are in its CSV one by one."""
    ns = [each.n for each in group]
    most = next((each for each in group if each.ci95), group[0])
    xs = [each.x for each in group]
    return _bar(axis, most) | {
        "points": len(group),
        "x": f"{number(xs[0])} to {number(xs[-1])}",
        "value": "see its CSV",
        "ci95": None,
        "n": f"{min(ns):,} to {max(ns):,}" if min(ns) < max(ns) else number(ns[0]),
    }
