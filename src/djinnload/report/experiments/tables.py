"""Rows → CSV and LaTeX; pure."""

import csv
import io
import math
from collections.abc import Iterable, Sequence

from jinja2 import Environment
from msgspec import structs

from djinnload.report.amounts import number
from djinnload.report.experiments.base import Datum, Entry, Figure, Panel, Table
from djinnload.summary.measured import Measured

__all__ = ("csv_of", "latex", "of_data", "texts")

_SPECIAL = {
    **{each: f"\\{each}" for each in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "∞": r"$\infty$",
    "–": "--",
    "×": r"$\times$",
    "÷": r"$\div$",
    "−": "$-$",
    "µ": r"$\mu$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
}
_LATEX = r"""% needs \usepackage{booktabs}
\begin{table}
\caption{<<caption|tex>>}
\label{tab:<<slug|tex>>}
\begin{tabular}{<<"l" * columns|length>>}
\toprule
<<columns|map("tex")|join(" & ")>> \\
\midrule
<%- for row in rows %>
<<row|map("tex")|join(" & ")>> \\
<%- endfor %>
\bottomrule
\end{tabular}
\end{table}
"""


def of_data(figure: Figure, panels: Iterable[tuple[Panel, Sequence[Datum]]]) -> bytes:
    """Return the values of a figure as CSV: a row a bar or point.

    ``cells`` are directories from the run's, with a space between them.
    """
    fields = [each.name for each in structs.fields(Datum)]
    heads = ["figure", "panel", *fields]
    at = heads.index("ci95")
    heads[at : at + 1] = ["low", "high"]
    rows = []
    for panel, data in panels:
        for each in data:
            told = structs.asdict(each) | {"cells": " ".join(each.cells)}
            row = [figure.id, panel.ylabel, *(told[name] for name in fields)]
            row[at : at + 1] = each.ci95 or (None, None)
            rows.append(row)
    return _csv(heads, rows)


def csv_of(columns: Sequence[str], rows: Sequence[Sequence[Entry]]) -> bytes:
    """Return a table as CSV, an interval in two columns beside its value."""
    wide = [
        any(isinstance(row[i], Measured) for row in rows) for i in range(len(columns))
    ]
    heads: list[str] = []
    for name, more in zip(columns, wide, strict=True):
        heads += [name, *[f"{name} low", f"{name} high", f"{name} n"] * more]
    return _csv(heads, [_flat(row, wide) for row in rows])


def latex(table: Table, rows: Sequence[Sequence[Entry]], caption: str) -> bytes:
    """Return a table as LaTeX (booktabs), caption and label included."""
    environment = Environment(  # noqa: S701 - LaTeX: `tex` escapes
        variable_start_string="<<",
        variable_end_string=">>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        keep_trailing_newline=True,
    )
    environment.filters["tex"] = _escaped
    made = environment.from_string(_LATEX).render(
        caption=caption, slug=table.slug, columns=table.columns, rows=texts(rows)
    )
    return made.encode("utf-8", "replace")


def texts(rows: Iterable[Sequence[Entry]]) -> list[list[str]]:
    """Return entries for people: three digits, the interval in brackets."""
    return [[_text(each) for each in row] for row in rows]


def _text(entry: Entry) -> str:
    if not isinstance(entry, Measured):
        return number(entry)
    if entry.value is None:
        return entry.interval if entry.n else "–"
    value = number(entry.value) if math.isfinite(entry.value) else "∞"
    ends = f" [{', '.join(map(number, entry.ci95))}]" if entry.ci95 else ""
    return value + ends


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(each, each) for each in str(text))


def _flat(row: Sequence[Entry], wide: Sequence[bool]) -> list[object]:
    made: list[object] = []
    for entry, more in zip(row, wide, strict=True):
        if isinstance(entry, Measured):
            made += [entry.value, *(entry.ci95 or (None, None)), entry.n]
        else:
            made += [entry, *[None] * 3 * more]
    return made


def _csv(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(heads)
    writer.writerows(rows)
    return sink.getvalue().encode("utf-8", "replace")
