"""Samples → turns, quantiles with intervals, rates; pure, reads no clock.

Percentiles are nearest rank, everywhere. A turn that is not ok ranks as +inf.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from msgspec import Struct

from djinnload.reading.packing import Columns
from djinnload.stats.intervals import (
    Array,
    blocks,
    clopper_pearson_lower,
    clopper_pearson_upper,
    grow,
    mean_interval,
    n_eff,
    nearest_rank,
    percentile_interval,
    repeat_interval,
    share_interval,
    share_of,
)
from djinnload.units import SECOND

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = (
    "METRICS",
    "Array",
    "PopulationSamples",
    "Requests",
    "Turns",
    "blocks",
    "by_session",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "goodput",
    "group_starts",
    "grow",
    "in_system",
    "mean_interval",
    "n_eff",
    "nearest_rank",
    "percentile_interval",
    "populations",
    "repeat_interval",
    "sessions",
    "share_interval",
    "share_of",
    "values",
    "within_deadline",
)


class Turns(Columns):
    """The turns of one population of one cell whose phase is measure, in due order.

    All arrays have shape ``(n,)``. Times are float64 ns; NaN where unknown. A column
    may be made anew at each access: keep what is used twice, and write to none.

    Attributes:
        due_ns: int64; the first request's due.
        done_ns: int64; the last request's done.
        ok: bool; every request's outcome was ok and none was found wrong.
        latency_ns: done − due, also of turns that are not ok (see `values`).
        service_ns, queue_ns, exec_ns, lateness_ns, blocked_ns: Sums over its requests.
        ttft_ns: First step's done (first token if the target streams) − due.
        tpot_ns: (done − ttft point) ÷ (units − 1); NaN for one unit.
        units, bytes_sent, bytes_received: Sums over its requests.
        reused_tokens: That the server had already when its first request came.
        number: int64; the turn's number within its session.
    """

    __struct_fields__: ClassVar[tuple[str, ...]] = (
        "due_ns",
        "done_ns",
        "ok",
        "latency_ns",
        "service_ns",
        "queue_ns",
        "exec_ns",
        "lateness_ns",
        "blocked_ns",
        "ttft_ns",
        "tpot_ns",
        "units",
        "bytes_sent",
        "bytes_received",
        "reused_tokens",
        "number",
    )


class Requests(Columns):
    """The requests of one population of one cell whose phase is measure, in due order.

    Of `Columns`, as `Turns` are.

    Attributes:
        step, outcome: `Labels` of str.
        due_ns, done_ns: int64.
        ready_ns, sent_ns, first_ns: float64, NaN where null.
        queue_ns, exec_ns, units, bytes_sent, bytes_received, reused_tokens,
            max_abs_diff: float64, NaN where null.
        verified: `Labels` of True, False or None (not checked).
        turn, session, user, worker: int64.
        session_end: bool.
    """

    __struct_fields__: ClassVar[tuple[str, ...]] = (
        "step",
        "outcome",
        "due_ns",
        "ready_ns",
        "sent_ns",
        "first_ns",
        "done_ns",
        "queue_ns",
        "exec_ns",
        "units",
        "bytes_sent",
        "bytes_received",
        "reused_tokens",
        "max_abs_diff",
        "verified",
        "turn",
        "session",
        "user",
        "worker",
        "session_end",
    )


class PopulationSamples(Struct, frozen=True):
    """What one population did in one cell.

    Attributes:
        loop: ``open`` or ``closed``.
        window_ns: (start, end) of measure on the clock.
        sessions: started, done, abandoned, as the engine counted them.
    """

    name: str
    loop: str
    qos_class: str
    deadline_ns: int | None
    window_ns: tuple[int, int]
    turns: Turns
    requests: Requests
    sessions: dict[str, int] = {}


def populations(
    table: "pa.Table", manifest: Mapping[str, Any]
) -> dict[str, PopulationSamples]:
    """Group the samples of one cell into turns; vectorised, for 10 million rows.

    Warm-up and cooldown are left out, and after an interrupt (``manifest``) turns with
    a cancelled request too.

    Args:
        table: From `djinnload.recording.recorder.read_samples`.
        manifest: The cell's manifest.json: its populations (all of them are returned,
            also those without a sample), window, sessions, ``streams``.
    """
    # Imported late, as it makes what is defined here.
    from djinnload.stats import grouping

    return grouping.populations([table], manifest)[0]


def values(samples: PopulationSamples, metric: str, step: str | None = None) -> Array:
    """Return one value for each turn (request, session), in due order.

    Args:
        samples: One population of one cell.
        metric: latency, service, queue, exec, lateness, blocked, ttft, tpot (a turn,
            ns); request_latency (a request, ns); session (last done − first due of
            those that ended within measure, ns); miss, error (a turn, 0 or 1);
            bytes_sent, bytes_received, bytes (both) of a turn, a unit of its work.
        step: Of request_latency only: requests of this step alone.

    Returns:
        float64, shape ``(n,)``: +inf where it is not ok. Left out: ok turns for which
        the metric is not defined (tpot of one token, queue where the server did not
        say); all of them if it is defined for none of the ok ones.

    Raises:
        ValueError: No such metric.
    """
    if metric in _SHARES:
        return _SHARES[metric](samples).astype(np.float64)
    if metric == "request_latency":
        return _request_latency(samples.requests, step)
    if metric == "session":
        return sessions(samples)
    if metric in _BYTES:
        return _bytes_a_unit(samples.turns, _BYTES[metric])
    if metric not in METRICS:
        known = (*METRICS, *_SHARES, *_BYTES, "request_latency", "session")
        raise ValueError(f"no metric {metric!r} (there is: {', '.join(known)})")
    return _ranked(getattr(samples.turns, f"{metric}_ns"), samples.turns.ok)


#: Metrics of turns that are times.
METRICS = (
    "latency",
    "service",
    "queue",
    "exec",
    "lateness",
    "blocked",
    "ttft",
    "tpot",
)


def within_deadline(samples: PopulationSamples) -> Array:
    """Return, bool a turn, whether it was ok and no later than the deadline, if any."""
    turns = samples.turns
    good: Array = turns.ok
    if samples.deadline_ns is not None:
        good = good & (turns.latency_ns <= samples.deadline_ns)
    return good


def goodput(samples: PopulationSamples) -> float:
    """Return turns ok and within the deadline per second of measure; NaN: no window."""
    begin, end = samples.window_ns
    if end <= begin:
        return float("nan")
    return int(within_deadline(samples).sum()) * SECOND / (end - begin)


def in_system(samples: PopulationSamples) -> tuple[float, int]:
    """Return the time-weighted mean and the largest number of turns in the window.

    A turn is in the system while due ≤ t < done, so a queue at the generator counts.
    """
    begin, end = samples.window_ns
    if end <= begin:
        return float("nan"), 0
    due = np.clip(samples.turns.due_ns, begin, end)
    done = np.clip(samples.turns.done_ns, begin, end)
    mean = float((done - due).sum() / (end - begin))
    # The most are there just after an arrival. At equal times those that leave go
    # first: done is not in the system any more.
    left = np.searchsorted(np.sort(done), due, side="right")
    inside = np.arange(1, len(due) + 1) - left
    return mean, int(inside.max(initial=0))


def sessions(samples: PopulationSamples) -> Array:
    """Return last done − first due (ns) of each session, in due order; +inf: not ok.

    Sessions that did not end within measure are left out, unless a request of theirs
    was not ok.
    """
    r = samples.requests
    due = r.due_ns
    if not len(due):
        return np.empty(0)
    order, starts = by_session(r)
    ok = np.logical_and.reduceat(_is_ok(r)[order], starts)
    ended = np.logical_or.reduceat(r.session_end[order].astype(bool), starts)
    first = np.minimum.reduceat(due[order], starts)
    span = np.maximum.reduceat(r.done_ns[order], starts) - first
    lasted = np.where(ok, span.astype(np.float64), np.inf)
    by_due = np.argsort(first, kind="stable")
    kept: Array = lasted[by_due][(ended | ~ok)[by_due]]
    return kept


def by_session(requests: Requests) -> tuple[Array, Array]:
    """Return the order that puts sessions one after the other, and where each starts.

    Sessions come by user and number, their requests in the order of the asking: of a
    stream that is behind, the next turn is due before this one's last requests are.
    """
    user, session, turn = requests.user, requests.session, requests.turn
    kept = turn[1:] >= turn[:-1]
    for key in (session, user):
        kept = (key[1:] > key[:-1]) | ((key[1:] == key[:-1]) & kept)
    if kept.all():
        # As open populations are: nothing has to move.
        return np.arange(len(user)), group_starts(user, session)
    order = np.lexsort((turn, session, user))
    return order, group_starts(user[order], session[order])


def group_starts(*keys: Array) -> Array:
    """Return where any of *keys* (sorted, equally long) changes; int64."""
    changed = np.zeros(len(keys[0]), bool)
    changed[:1] = True
    for key in keys:
        changed[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(changed)


def _miss(samples: PopulationSamples) -> Array:
    return ~within_deadline(samples)


def _error(samples: PopulationSamples) -> Array:
    return np.asarray(~samples.turns.ok)


_SHARES: Mapping[str, Callable[[PopulationSamples], Array]] = {
    "miss": _miss,
    "error": _error,
}


#: Columns that each metric of bytes adds up.
_BYTES: Mapping[str, tuple[str, ...]] = {
    "bytes_sent": ("bytes_sent",),
    "bytes_received": ("bytes_received",),
    "bytes": ("bytes_sent", "bytes_received"),
}


def _bytes_a_unit(turns: Turns, columns: Sequence[str]) -> Array:
    units = np.where(turns.units > 0, turns.units, np.nan)
    return _ranked(sum(getattr(turns, name) for name in columns) / units, turns.ok)


def _ranked(measured: Array, ok: Array) -> Array:
    ranked = np.where(ok, measured, np.inf)
    kept = ~np.isnan(ranked)
    if kept.all():
        return ranked
    if ok.any() and not (kept & ok).any():
        # Nobody measured it: the failures alone would look like a measurement.
        return np.empty(0)
    return ranked[kept]


def _request_latency(requests: Requests, step: str | None) -> Array:
    chosen = slice(None) if step is None else requests.step == step
    latency = (requests.done_ns - requests.due_ns)[chosen].astype(np.float64)
    return np.where(_is_ok(requests)[chosen], latency, np.inf)


def _is_ok(requests: Requests) -> Array:
    ok = (requests.outcome == "ok") & (requests.verified != False)  # noqa: E712
    return np.asarray(ok, bool)
