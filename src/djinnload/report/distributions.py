"""``curves.json`` → how latency, queue wait and lateness are spread, arms together."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import structs

from djinnload.reading.files import read_document
from djinnload.report import figures
from djinnload.report.amounts import number
from djinnload.report.drawn import Drawn, Keys, csv_of

__all__ = (
    "DEFAULT",
    "Curves",
    "Groups",
    "by_point",
    "curve_of",
    "drawn",
    "groups",
    "latency",
    "marks",
    "read",
)

Document = dict[str, Any]
#: Rows of the report by (point, population).
Groups = Mapping[tuple[str, str], Sequence[Document]]
Curves = Mapping[tuple[str, str, str, str], figures.Curve]

#: The arm of a scenario that has none.
DEFAULT = "default"
#: Waits that are shorter are drawn here, as a logarithm has no zero.
_QUEUE_FLOOR_MS = 0.01
#: Of one figure: more could not be told apart.
_LINES = 8
_PERCENTILE = re.compile(r"p(\d+(?:\.\d+)?)\(latency\)\s*<=?\s")
_SOURCE = "cells/*/samples/*.arrows"


def groups(rows: Iterable[Document]) -> dict[tuple[str, str], list[Document]]:
    """Return rows (an arm each) by point and population, in order."""
    found: dict[tuple[str, str], list[Document]] = {}
    for row in rows:
        found.setdefault((row["point"], row["name"]), []).append(row)
    return found


def read(run_dir: Path, keys: Keys) -> Curves:
    """Return curves by arm, point, population and metric; repeats together."""
    return {
        (str(each["arm"]), each["point"], each["population"], each["metric"]): curve_of(
            each, str(each["arm"]), keys.of(arm=str(each["arm"]))
        )
        for each in read_document(run_dir / "curves.json").get("curves") or ()
    }


def curve_of(found: Mapping[str, Any], arm: str, key: str = "") -> figures.Curve:
    """Return what `djinnload.summary.spread.curve` found, named after its arm."""
    return figures.Curve(
        label=arm * (arm != DEFAULT),
        ms=np.array(found["ms"], np.float64),
        share=np.array(found["share"], np.float64),
        n=found["n"],
        lost=found["lost"],
        key=key,
    )


def drawn(
    found: Groups, curves: Curves, metric: str, keys: Keys, *, void: bool
) -> Iterator[Drawn]:
    """Yield the figures of one metric, of each population at each point.

    Args:
        found: From `groups`.
        curves: From `read`.
        metric: latency (two figures each), queue or lateness.
        keys: Classes of populations.
        void: Whether to draw watermarks.
    """
    several = len({point for point, _ in found}) > 1
    for (point, name), rows in found.items():
        known = {
            row["arm"]: curve
            for row in rows
            if (curve := curves.get((row["arm"], point, name, metric)))
        }
        if known:
            title = f"{name} at {point}" if several else name
            for made in _MADE[metric](title, known, rows, void=void):
                yield structs.replace(made, key=keys.of(population=name))


def by_point(
    found: Groups, curves: Curves, keys: Keys, *, void: bool
) -> Iterator[Drawn]:
    """Yield percentiles of latency of each population in each arm, a line a point.

    Of many points it draws the first, the last, and some evenly between.

    Args:
        found: From `groups`.
        curves: From `read`.
        keys: Classes of arms and populations.
        void: Whether to draw watermarks.
    """
    lines: dict[tuple[str, str], dict[str, figures.Curve]] = {}
    for (point, name), rows in found.items():
        for row in rows:
            curve = curves.get((row["arm"], point, name, "latency"))
            if curve is not None and len(curve.ms):
                lines.setdefault((name, row["arm"]), {})[point] = curve
    for (name, arm), every in lines.items():
        title = f"{name}, {arm}" if arm != DEFAULT else name
        made = _by_point(title, every, void=void)
        yield structs.replace(made, key=keys.of(arm=arm, population=name))


def _by_point(title: str, every: Mapping[str, figures.Curve], *, void: bool) -> Drawn:
    points = list(every)
    chosen = np.linspace(0, len(points) - 1, min(_LINES, len(points))).round()
    shown = {points[int(i)]: every[points[int(i)]] for i in chosen}
    left_out = f", {len(shown)} of {len(points)}" * (len(shown) < len(points))
    return Drawn(
        f"percentiles-{title}",
        figures.nines(
            [structs.replace(c, label=point, key="") for point, c in shown.items()],
            title=f"Percentiles of latency: {title}",
            ylabel="latency (ms, logarithmic)",
            void=void,
        ),
        f"latency of {title} by percentile, a line a point",
        f"Latency of {title} from the due time of a turn, by percentile spaced by "
        f"nines, a line a point of the sweep{left_out}; all repeats together. Thin "
        "lines: fewer than ten turns lie beyond, so it is chance where they are.",
        csv_of(_nines(shown, "series")),
        source=_SOURCE,
        x="one_in",
        y="latency_ms",
    )


def latency(
    title: str,
    known: Mapping[str, figures.Curve],
    rows: Sequence[Document],
    *,
    void: bool,
) -> Iterator[Drawn]:
    """Yield the cumulative share of latency, and its percentiles spaced by nines.

    Args:
        title: Names the population.
        known: Curves by arm.
        rows: Of these arms; they say what latency is held against.
        void: Whether to draw watermarks.
    """
    counts, held = _counts(known, rows), list(marks(rows[0]))
    crossed = " An objective (✕) is met by a curve that passes left of it."
    shares = any(mark.share for mark in held)
    drawing = figures.cdf(
        list(known.values()),
        title=f"Latency: {title}",
        xlabel="latency from the due time (ms, logarithmic)",
        ylabel="share of due turns",
        marks=held,
        void=void,
    )
    yield _shares(
        "latency",
        title,
        known,
        drawing,
        f"latency of {title}, cumulative share",
        f"Latency of {_of(title, rows)}: from the due time of a turn to the end of its "
        f"last request. {counts}. A turn that is not ok never ends: its curve stays "
        f"below 100 %.{crossed * shares}",
    )
    if not any(len(curve.ms) for curve in known.values()):
        return
    below = " An objective (✕) is met by a line that passes below it." * shares
    yield Drawn(
        f"percentiles-{title}",
        figures.nines(
            list(known.values()),
            title=f"Percentiles of latency: {title}",
            ylabel="latency (ms, logarithmic)",
            marks=held,
            void=void,
        ),
        f"latency of {title} by percentile, spaced by nines",
        f"The same latency of {title}, the tail drawn out: each nine of the percentile "
        "is as wide as the one before. Thin lines: fewer than ten turns lie beyond, so "
        f"it is chance where they are.{below}",
        csv_of(_nines(known)),
        source=_SOURCE,
        x="one_in",
        y="latency_ms",
    )


def _queue(
    title: str,
    known: Mapping[str, figures.Curve],
    rows: Sequence[Document],
    *,
    void: bool,
) -> Iterator[Drawn]:
    drawing = figures.cdf(
        list(known.values()),
        title=f"Queue wait: {title}",
        xlabel="wait in the server's queue (ms, logarithmic)",
        ylabel="share of ok turns",
        floor_ms=_QUEUE_FLOOR_MS,
        void=void,
    )
    yield _shares(
        "queue",
        title,
        known,
        drawing,
        f"queue wait of {title}, cumulative share",
        f"Queue wait of {_of(title, rows)}: what the server says it kept a turn's "
        "requests waiting, summed over the turn; ok turns only. "
        f"{_counts(known, rows)}. Waits of zero, or under {_QUEUE_FLOOR_MS:g} ms, are "
        "drawn at the left edge.",
    )


def _lateness(
    title: str,
    known: Mapping[str, figures.Curve],
    rows: Sequence[Document],
    *,
    void: bool,
) -> Iterator[Drawn]:
    drawing = figures.cdf(
        list(known.values()),
        title=f"Lateness of the generator: {title}",
        xlabel="sent after it was ready (ms, logarithmic)",
        ylabel="share of sent turns",
        floor_ms=1e-3,
        void=void,
    )
    yield _shares(
        "lateness",
        title,
        known,
        drawing,
        f"lateness of the generator for {title}, cumulative share",
        f"Lateness of {_of(title, rows)}: how much later than it was ready djinnload "
        f"sent a request, summed over the turn. {_counts(known, rows)}. This is the "
        "generator's fault, not the server's, and small beside latency in a run that "
        "can be trusted.",
    )


def _shares(  # noqa: PLR0917 - as of `Drawn`
    metric: str,
    title: str,
    known: Mapping[str, figures.Curve],
    svg: str,
    label: str,
    caption: str,
) -> Drawn:
    """Return a cumulative share as a figure with its points to read."""
    x = f"{metric}_ms"
    return Drawn(
        f"{metric}-{title}",
        svg,
        label,
        caption,
        csv_of(_points(known, x)),
        source=_SOURCE,
        read="steps",
        x=x,
        y="share",
    )


_MADE = {"latency": latency, "queue": _queue, "lateness": _lateness}


def marks(row: Mapping[str, Any]) -> Iterator[figures.Mark]:
    """Yield the deadline and the objectives that latency is held against."""
    deadline = row.get("deadline_ms")
    if isinstance(deadline, int | float):
        yield figures.Mark(f"deadline {number(deadline)} ms", float(deadline))
    for each in row.get("objectives") or ():
        text, bound = str(each.get("text")), each.get("bound")
        found = _PERCENTILE.match(text)
        if found and isinstance(bound, int | float):
            yield figures.Mark(text, bound / 1e6, float(found[1]) / 100)


def _counts(known: Mapping[str, figures.Curve], rows: Iterable[Document]) -> str:
    repeats = {row["arm"]: row.get("repeats") for row in rows}
    return "; ".join(
        f"{f'{arm}: ' * (arm != DEFAULT)}n = {found.n:,} turns, {repeats[arm]} repeats"
        for arm, found in known.items()
    )


def _of(title: str, rows: Iterable[Document]) -> str:
    kind = next((row["qos_class"] for row in rows if row.get("qos_class")), "")
    return f"{title} (class {kind})" if kind else title


def _points(known: Mapping[str, figures.Curve], name: str) -> Iterator[Document]:
    for arm, curve in known.items():
        for x, share in zip(curve.ms.tolist(), curve.share.tolist(), strict=True):
            yield {"arm": arm, name: x, "share": share}


def _nines(
    known: Mapping[str, figures.Curve], column: str = "arm"
) -> Iterator[Document]:
    for name, curve in known.items():
        for one_in, ms in zip(*figures.quantiles(curve), strict=True):
            yield {
                column: name,
                "percentile": figures.percentile(float(one_in)),
                "one_in": float(one_in),
                "latency_ms": float(ms),
            }
