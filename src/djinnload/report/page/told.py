"""A run's summary → what its page says in words: verdict, rows, comparisons."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from djinnload.report.amounts import amount, interval, percent

__all__ = ("begun", "difference", "headline", "rows")

Document = dict[str, Any]
#: Cells with these have samples that count.
_WITH_RESULT = ("done", "void")
#: Above, a difference may be one of many looked for.
_LEVEL = 0.05


def rows(arms: Mapping[str, Any]) -> Iterator[Document]:
    """Yield what each population did in each arm: arms of a population side by side."""
    found = [
        {"arm": arm, "point": point, "name": name} | dict(pooled)
        for arm, points in arms.items()
        for point, populations in points.items()
        for name, pooled in populations.items()
    ]
    place = {
        key: i
        for i, key in enumerate(
            dict.fromkeys((row["point"], row["name"]) for row in found)
        )
    }
    for row in sorted(found, key=lambda row: place[row["point"], row["name"]]):
        yield {"qos_class": "", "objectives": ()} | row


def headline(
    summary: Document, rows: Iterable[Document], cells: Sequence[Document]
) -> Document:
    """Return the verdict in words."""
    status = str((summary.get("verdict") or {}).get("status") or "unknown")
    judged = [each for row in rows if row.get("judged") for each in row["objectives"]]
    judged += [each for each in summary.get("objectives") or () if each["judged"]]
    missed = sum(each.get("met") is False for each in judged)
    words = {
        "pass": f"all {len(judged)} judged objectives are met"
        if judged
        else "no objective was judged, and nothing makes the run void",
        "fail": f"{missed} of {len(judged)} judged objectives "
        f"{'is' if missed == 1 else 'are'} missed",
        "void": "this run is no evidence, neither for nor against; the reasons are "
        "below, and no number here should be quoted",
    }.get(status, "there is no verdict")
    with_result = sum(cell.get("status") in _WITH_RESULT for cell in cells)
    partial = f"Only {with_result} of {len(cells)} planned cells have a result."
    stopped = "The run was interrupted." if summary.get("interrupted") else ""
    unfinished = with_result < len(cells) or not summary.get("complete")
    return {
        "status": status,
        "words": words,
        "partial": f"{stopped} {partial}".strip() if unfinished or stopped else "",
        "with_result": with_result,
    }


def difference(found: Mapping[str, Any]) -> Document:
    """Return the interval of a comparison, and what it says in words."""
    ends, ratio, metric = found.get("ci95"), found.get("ratio"), str(found["metric"])
    if not isinstance(ends, list) or not all(isinstance(e, int | float) for e in ends):
        return {"interval": "", "words": "no interval"}
    a, b = found.get("a"), found.get("b")
    if ratio is not None:
        shown, even, by = interval(ends), 1.0, percent(abs(ratio - 1))
        higher = ratio > 1
    else:
        shown = f"difference [{', '.join(amount(end, metric) for end in ends)}]"
        even, higher, by = 0.0, sum(ends) > 0, "shown as a difference,"
        if isinstance(a, int | float) and isinstance(b, int | float):
            by = amount(abs(a - b), metric)
            if by.endswith("%"):
                by = f"{by.rstrip(' %')} percentage points"
    words = f"{by} {'higher' if higher else 'lower'}"
    if min(ends) <= even <= max(ends):
        words = "no difference shown"
    elif (found.get("p_holm") or 0) > _LEVEL:
        words += f", yet p (Holm) is over {_LEVEL:g}"
    return {"interval": shown, "words": words}


def begun(manifest: Mapping[str, Any]) -> str:
    """Return when a run began, UTC."""
    wall_ns = (manifest.get("anchor") or {}).get("wall_ns")
    if not isinstance(wall_ns, int):
        return "unknown"
    with contextlib.suppress(OverflowError, ValueError, OSError):
        return f"{datetime.fromtimestamp(wall_ns // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return "unknown"
