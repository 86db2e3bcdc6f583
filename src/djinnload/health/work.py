"""UNEQUAL: whether compared arms were asked for the same work, by the same schedule.

Arms are paired by point and repeat with the baseline. What came back may differ and is
a result; what was sent may not.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from djinnload import objective
from djinnload.findings import Found, void
from djinnload.stats import grouping
from djinnload.stats.populations import Array, PopulationSamples, Requests, group_starts

if TYPE_CHECKING:
    from djinnload.health.cell import CellEvidence

__all__ = (
    "POSITIONS",
    "PREFIX",
    "TOTALS",
    "common",
    "is_total",
    "shortest",
    "unequal",
)

#: Of ``comparison.equal_work``: the shorter of two sessions begins the longer one.
PREFIX = "prefix"
#: Metrics that say what a token or a first answer takes.
_A_TOKEN = (
    "request_latency",
    "ttft",
    "tpot",
    "bytes_sent",
    "bytes_received",
    "bytes",
)
#: That say what a turn takes: totals where a turn is cut short; all others always are.
_A_TURN = ("latency", "service", "queue", "exec", "lateness", "blocked")
#: Why a total is not compared.
TOTALS = "equal_work = prefix: totals are not compared"
#: What to say of the metrics that are.
POSITIONS = "equal_work = prefix: equal positions of each session only"

_ADVICE = {
    "exact": (
        "give both arms the same workload and decode = forced, or say equal_work = "
        "prefix and compare what a token takes"
    ),
    PREFIX: "give both arms the same workload",
}


class _Sessions(NamedTuple):
    """The requests of each session of a population, in the order of the asking.

    Attributes:
        keys: int64; (user, session) as one number, ascending.
        order: Index of each request, sessions one after the other.
        starts, sizes: Where each session begins in *order*, and its requests.
        due_ns: int64; of its first request, from the start of measure.
        whole: bool; it ended within measure and every request was ok.
    """

    keys: Array
    order: Array
    starts: Array
    sizes: Array
    due_ns: Array
    whole: Array


def unequal(cells: "Sequence[CellEvidence]", comparison: Mapping[str, Any]) -> Found:
    """Yield UNEQUAL once for each pair of cells and population that differs.

    Args:
        cells: Of all arms.
        comparison: ``baseline``, and ``equal_work`` if it is not exact.
    """
    how = comparison.get("equal_work") or "exact"
    for arm, baseline in _pairs(cells, comparison.get("baseline")):
        where = "{point}/{arm}/r{repeat:02d}".format_map(_place(arm))
        for name in dict.fromkeys((*baseline.populations, *arm.populations)):
            a, b = arm.populations.get(name), baseline.populations.get(name)
            value, what = _difference(a, b, how, cut=_cut(arm) or _cut(baseline))
            if what:
                yield void(
                    "UNEQUAL",
                    f"{where} {name}: {what}; {_ADVICE[how]}",
                    value,
                    name,
                )


def shortest(
    a: "CellEvidence", b: "CellEvidence", population: str
) -> tuple[PopulationSamples, PopulationSamples]:
    """Return what both cells did at equal positions of sessions that were ok in both.

    The rest of a longer session is left out: under ``prefix`` it is no work of both.
    """
    left, right = a.populations[population], b.populations[population]
    ours, theirs = _sessions(left), _sessions(right)
    rows = _aligned(ours, theirs, *_both(ours, theirs))
    return (
        grouping.kept(left, np.sort(rows[0]), a.manifest),
        grouping.kept(right, np.sort(rows[1]), b.manifest),
    )


def common(
    pairs: "Sequence[tuple[CellEvidence, CellEvidence]]", population: str
) -> tuple[list[PopulationSamples], list[PopulationSamples], bool]:
    """Return what both of each pair did (`shortest`), and whether all turns are whole.

    A turn of which only a part is kept is none to say how long a turn takes.
    """
    left, right, whole = [], [], True
    for pair in pairs:
        kept = shortest(*pair, population)
        whole &= all(map(_whole, pair, kept))
        left.append(kept[0])
        right.append(kept[1])
    return left, right, whole


def is_total(metric: str, *, whole: bool) -> bool:
    """Return whether *metric*, such as ``p95(latency)``, grows with a session.

    Args:
        metric: A measure.
        whole: No turn was cut short, see `common`.
    """
    name = objective.parse_measure(metric).metric
    return name not in (*_A_TOKEN, *_A_TURN) if whole else name not in _A_TOKEN


def _whole(cell: "CellEvidence", kept: PopulationSamples) -> bool:
    there = _requests(cell.populations[kept.name].requests)
    return all(there[turn] == n for turn, n in _requests(kept.requests).items())


def _requests(r: Requests) -> Counter[tuple[int, int, int]]:
    """Return how many requests each turn has."""
    named = (r.user.tolist(), r.session.tolist(), r.turn.tolist())
    return Counter(zip(*named, strict=True))


def _pairs(
    cells: "Sequence[CellEvidence]", baseline: str | None
) -> "Iterator[tuple[CellEvidence, CellEvidence]]":
    against = {
        (place["point"], place["repeat"]): cell
        for cell in cells
        if (place := _place(cell))["arm"] == baseline
    }
    for cell in cells:
        place = _place(cell)
        other = against.get((place["point"], place["repeat"]))
        if place["arm"] != baseline and other is not None:
            yield cell, other


def _place(cell: "CellEvidence") -> dict[str, Any]:
    manifest = cell.manifest
    return {
        "point": str(manifest.get("point") or "all"),
        "arm": manifest.get("arm"),
        "repeat": int(manifest.get("repeat") or 0),
    }


def _cut(cell: "CellEvidence") -> bool:
    return bool(cell.manifest.get("interrupted"))


def _difference(
    a: PopulationSamples | None, b: PopulationSamples | None, how: str, *, cut: bool
) -> tuple[float, str]:
    """Return the share of sessions that differ, and in what; empty: in nothing."""
    if a is None or b is None:
        return 1.0, "only one of the arms has this population"
    ours, theirs = _sessions(a), _sessions(b)
    if a.loop == b.loop == "open" and not cut:
        apart, n = _rescheduled(ours, theirs)
        if apart:
            return apart / n, (
                f"{apart:,} of {n:,} sessions were not due at the time at which they "
                "were in the baseline"
            )
    return _unlike(a.requests, b.requests, ours, theirs, how)


def _rescheduled(a: _Sessions, b: _Sessions) -> tuple[int, int]:
    """Return how many sessions are on one side only or due at other times; of all."""
    _, i, j = np.intersect1d(a.keys, b.keys, assume_unique=True, return_indices=True)
    alone = len(a.keys) + len(b.keys) - 2 * len(i)
    moved = int((a.due_ns[i] != b.due_ns[j]).sum())
    return alone + moved, len(i) + alone


def _unlike(
    a: Requests, b: Requests, ours: _Sessions, theirs: _Sessions, how: str
) -> tuple[float, str]:
    i, j = _both(ours, theirs)
    if not len(i):
        return 0.0, ""
    left, right = _aligned(ours, theirs, i, j)
    same = (
        (a.turn[left] == b.turn[right])
        & (a.step[left] == b.step[right])
        & (a.units[left] == b.units[right])
    )
    shortest = np.minimum(ours.sizes[i], theirs.sizes[j])
    first = np.cumsum(shortest) - shortest
    differs = ~np.logical_and.reduceat(same.astype(bool), first)
    longer = ours.sizes[i] != theirs.sizes[j]
    if how != PREFIX:
        differs |= longer
    if not (n := int(differs.sum())):
        return 0.0, ""
    at = int(np.flatnonzero(differs)[0])
    example = int(ours.order[ours.starts[i[at]]])
    return n / len(i), (
        f"{n:,} of {len(i):,} sessions that were ok in both arms did other work than "
        f"in the baseline, such as session {a.session[example]} of user "
        f"{a.user[example]}: {ours.sizes[i[at]]} requests against "
        f"{theirs.sizes[j[at]]}" + " in other steps or units" * (not longer[at])
    )


def _both(a: _Sessions, b: _Sessions) -> tuple[Array, Array]:
    """Return where the sessions are, in each, that are whole in both."""
    _, i, j = np.intersect1d(a.keys, b.keys, assume_unique=True, return_indices=True)
    kept = a.whole[i] & b.whole[j]
    return i[kept], j[kept]


def _aligned(a: _Sessions, b: _Sessions, i: Array, j: Array) -> tuple[Array, Array]:
    """Return indices of requests at equal positions of sessions *i* and *j*."""
    shortest = np.minimum(a.sizes[i], b.sizes[j])
    within = np.arange(shortest.sum()) - np.repeat(
        np.cumsum(shortest) - shortest, shortest
    )
    left = a.order[np.repeat(a.starts[i], shortest) + within]
    return left, b.order[np.repeat(b.starts[j], shortest) + within]


def _sessions(samples: PopulationSamples) -> _Sessions:
    r = samples.requests
    # One number sorts and matches faster than two: user −1 is 0, sessions fit 40 bits.
    key = ((r.user.astype(np.int64) + 1) << 40) + r.session.astype(np.int64)
    # By turn too: see `djinnload.stats.populations.by_session`.
    order = np.lexsort((r.turn, key))
    if not len(order):
        none = np.empty(0, np.int64)
        return _Sessions(none, none, none, none, none, none.astype(bool))
    starts = group_starts(key[order])
    ok = ((r.outcome == "ok") & (r.verified != False))[order]  # noqa: E712
    ended = r.session_end.astype(bool)[order]
    return _Sessions(
        keys=key[order][starts],
        order=order,
        starts=starts,
        sizes=np.diff(np.append(starts, len(order))),
        due_ns=r.due_ns[order][starts].astype(np.int64) - samples.window_ns[0],
        whole=np.logical_and.reduceat(ok.astype(bool), starts)
        & np.logical_or.reduceat(ended, starts),
    )
