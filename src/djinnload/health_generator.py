"""Whether the generator itself kept up: its loop's lag, its pauses and its core."""

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from djinnload.findings import Found, note, void
from djinnload.stats import Array
from djinnload.units import MS, format_ns

if TYPE_CHECKING:
    from djinnload.health import CellEvidence

__all__ = ("cpu", "loop_stall")

TICK_NS = 5 * MS
STALL_NS = MS
STALL_SHARE = 0.01
LONG_STALL_NS = 25 * MS
CPU_SHARE = 0.80
#: How many of the requests that a pause hit are named.
NAMED = 5


def loop_stall(evidence: "CellEvidence") -> Found:
    """LOOP_STALL, and single long lags and collections with the requests they hit."""
    times, lags = evidence.probe("loop_lag_ns")
    begin, end = evidence.window_ns
    share = _stalled_ns(times, lags, begin, end) / max(1, end - begin)
    if share > STALL_SHARE:
        yield void(
            "LOOP_STALL",
            f"the generator's loop lagged over {format_ns(STALL_NS)} for "
            f"{100 * share:.2g}% of the window, {100 * STALL_SHARE:.0f}% may be",
            share,
        )
    yield from _long_pauses(evidence, "loop-stall", "loop stall", times, lags)
    pauses = evidence.probe("gc_pause_ns")
    yield from _long_pauses(evidence, "gc-pause", "garbage collection", *pauses)


def _stalled_ns(times: Array, lags: Array, begin: int, end: int) -> float:
    """Return how much of the window was stalled, counting overlaps once.

    A late tick stands for the tick's whole period, as ticks are a sample of the time;
    a lag longer than that for all of itself, as the ticks within it may be merged.
    """
    over = lags > STALL_NS
    last = times[over].astype(np.float64)
    first = last - np.maximum(lags[over], TICK_NS)
    order = np.argsort(first)
    first, last = np.clip(first[order], begin, end), np.clip(last[order], begin, end)
    if not len(first):
        return 0.0
    reached = np.concatenate(([float(begin)], np.maximum.accumulate(last)[:-1]))
    return float(np.maximum(0.0, last - np.maximum(first, reached)).sum())


def _long_pauses(
    evidence: "CellEvidence", code: str, what: str, times: Array, pauses: Array
) -> Found:
    begin, end = evidence.window_ns
    inside = (times >= begin) & (times - pauses <= end) & (pauses >= LONG_STALL_NS)
    if not inside.any():
        return
    spans = [(t - v, t) for t, v in zip(times[inside], pauses[inside], strict=True)]
    longest = float(pauses[inside].max())
    yield note(
        code,
        f"{what} of {format_ns(longest)} ({len(spans)} of 25 ms or more) hit "
        f"{_hit(evidence, spans)}; look at these before you trust the largest values",
        longest,
    )


def _hit(evidence: "CellEvidence", spans: Collection[tuple[float, float]]) -> str:
    """Name the requests that were to be sent, or came back, while nothing ran."""
    names: list[str] = []
    for samples in evidence.populations.values():
        r = samples.requests
        hit = np.zeros(len(r.due_ns), bool)
        for a, b in spans:
            for at in (r.ready_ns, r.done_ns):
                hit |= (at >= a) & (at <= b)
        names += [
            f"{samples.name} user {r.user[i]} session {r.session[i]} turn {r.turn[i]} "
            f"{r.step[i]}"
            for i in np.flatnonzero(hit)
        ]
    more = f", … ({len(names):,} in all)" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more if names else "no request"


def cpu(evidence: "CellEvidence") -> Found:
    """CPU where a population is open, else the finding ``generator-limited``."""
    share = _cpu_share(evidence)
    if share is None or share <= CPU_SHARE:
        return
    seen = f"the generator used {100 * share:.0f}% of its core"
    if evidence.open:
        yield void("CPU", f"{seen}, {100 * CPU_SHARE:.0f}% at most is sound", share)
    else:
        yield note(
            "generator-limited",
            f"{seen}: its closed loop may have set the pace, read the throughput as at "
            "least this, and compare no arms by it",
            share,
        )


def _cpu_share(evidence: "CellEvidence") -> float | None:
    """Return busy time by wall time, deliberate polling excluded; None: unknown."""
    times, used = evidence.probe("cpu_ns")
    polled_at, polled = evidence.probe("polled_ns")
    if not len(times):
        return None
    # Read at the start and end of measure, give or take what the loop did just then.
    begin, end = evidence.window_ns
    span = np.array([max(begin, times[0]), min(end, times[-1])])
    if span[1] <= span[0]:
        return None
    busy = np.diff(np.interp(span, times, used))[0]
    if len(polled_at):
        busy -= np.diff(np.interp(span, polled_at, polled))[0]
    return float(busy / (span[1] - span[0]))
