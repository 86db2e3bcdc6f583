"""A figure that is drawn, and its data as the CSV that its page reads out and offers.

A page knows the columns ``series``, ``arm``, ``population`` (whose rows are hidden with
it), ``low`` and ``high``; which others say what is where, `Drawn` names.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

__all__ = ("Drawn", "Keys", "csv_of")


class Drawn(Struct, frozen=True):
    """A figure.

    Attributes:
        slug: Names its file.
        svg: A document of its own.
        label: What it shows, for those who do not see it.
        caption: What was measured on what, and how many.
        csv: What is drawn; see above.
        source: The files that it stands on.
        read: How its page finds the value at an x: ``exact`` (a point at this very x),
            ``steps`` (the last point up to it), ``heat`` (a cell).
        key: Classes by which the whole figure is hidden, such as ``p1``.
        x, y: Columns of *csv*: where a row is, and its value.
        panel: Column that says on which of several axes it is, in their order.
    """

    slug: str
    svg: str
    label: str
    caption: str
    csv: str
    source: str = "summary.json"
    read: str = "exact"
    key: str = ""
    x: str = "x"
    y: str = "value"
    panel: str = "panel"


class Keys(Struct, frozen=True):
    """Numbers of arms and populations, which classes are made of.

    A page hides what carries the class of an arm (``a0``) or a population (``p1``).
    """

    arms: Sequence[str] = ()
    populations: Sequence[str] = ()

    def of(self, *, arm: str | None = None, population: str | None = None) -> str:
        """Return the classes of what is about both; empty where neither is known."""
        made = []
        if arm in self.arms:
            made.append(f"a{self.arms.index(arm)}")
        if population in self.populations:
            made.append(f"p{self.populations.index(population)}")
        return " ".join(made)


def csv_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV; columns that are nowhere filled are left out.

    Numbers have six digits, what is None or not a number is empty.
    """
    told = list(rows)
    heads = list(dict.fromkeys(name for row in told for name in row))
    texts = [[_text(row.get(name)) for name in heads] for row in told]
    kept = [i for i in range(len(heads)) if any(row[i] for row in texts)]
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([heads[i] for i in kept])
    writer.writerows([row[i] for i in kept] for row in texts)
    return sink.getvalue()


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isnan(value):
        return ""
    return f"{value:.6g}"
