"""Whether the generator itself kept up: its loop's lag, its pauses and its core."""

from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom

from djinnload.findings import Found, note, void
from djinnload.stats.populations import Array
from djinnload.units import MS, format_ns

if TYPE_CHECKING:
    from djinnload.health.cell import CellEvidence

__all__ = ("cpu", "cpu_shares", "loop_stall")

TICK_NS = 5 * MS
STALL_NS = MS
STALL_SHARE = 0.01
#: A share is over STALL_SHARE if so many ticks would be late by chance so seldom. One
#: late tick of the 60 in a short cell is 1.7 %, and says nothing.
STALL_ALPHA = 0.05
LONG_STALL_NS = 25 * MS
CPU_SHARE = 0.80
#: How many of the requests that a pause hit are named.
NAMED = 5
_PAUSES = {"loop_lag_ns": "loop stall", "gc_pause_ns": "garbage collection"}


def loop_stall(evidence: "CellEvidence") -> Found:
    """LOOP_STALL, and single long lags and collections with the requests they hit.

    Of several workers, the one whose loop lagged most is judged.
    """
    begin, end = evidence.window_ns
    window = max(1, end - begin)
    shares = {
        worker: _stalled_ns(*evidence.probe("loop_lag_ns", device=worker), begin, end)
        / window
        for worker in evidence.workers
    }
    share, worst = max((share, worker) for worker, share in shares.items())
    if share > STALL_SHARE and _chance(share, window) < STALL_ALPHA:
        yield void(
            "LOOP_STALL",
            f"{_named(worst)}'s loop lagged over {format_ns(STALL_NS)} for "
            f"{100 * share:.2g}% of the window, {100 * STALL_SHARE:.0f}% may be",
            share,
        )
    for worker in evidence.workers:
        yield from _long_pauses(evidence, "loop-stall", "loop_lag_ns", worker)
        yield from _long_pauses(evidence, "gc-pause", "gc_pause_ns", worker)


def _chance(share: float, window_ns: int) -> float:
    """Return how likely as many late ticks are where STALL_SHARE of all are late."""
    ticks = max(1, round(window_ns / TICK_NS))
    return float(binom.sf(round(share * ticks) - 1, ticks, STALL_SHARE))


def _named(worker: str) -> str:
    return f"worker {worker.removeprefix('w')}" if worker else "the generator"


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


def _long_pauses(evidence: "CellEvidence", code: str, probe: str, worker: str) -> Found:
    times, pauses = evidence.probe(probe, device=worker)
    begin, end = evidence.window_ns
    inside = (times >= begin) & (times - pauses <= end) & (pauses >= LONG_STALL_NS)
    if not inside.any():
        return
    last = times[inside].astype(np.float64)
    spans = _merged(last - pauses[inside], last)
    longest = float(pauses[inside].max())
    # Which of several workers had a request is not known here.
    hit = f"in {_named(worker)} may have hit" if worker else "hit"
    yield note(
        code,
        f"{_PAUSES[probe]} of {format_ns(longest)} ({len(last):,} of 25 ms or more) "
        f"{hit} {_hit(evidence, spans)}; look at these before you trust the largest "
        "values",
        longest,
    )


def _merged(first: Array, last: Array) -> tuple[Array, Array]:
    """Return spans (both ends within) as ones that do not overlap, in order."""
    order = np.argsort(first)
    first, reached = first[order], np.maximum.accumulate(last[order])
    apart = first[1:] > reached[:-1]
    return first[np.append(True, apart)], reached[np.append(apart, True)]


def _hit(evidence: "CellEvidence", spans: tuple[Array, Array]) -> str:
    """Name the first requests that were to be sent, or came back, while nothing ran.

    A busy host stalls thousands of times and hits a tenth of all requests.
    """
    names: list[str] = []
    n = 0
    for samples in evidence.populations.values():
        r = samples.requests
        hit = _within(r.ready_ns, *spans) | _within(r.done_ns, *spans)
        n += int(hit.sum())
        at = np.flatnonzero(hit)[: NAMED - len(names)]
        user, session, turn, step = (
            each[at] for each in (r.user, r.session, r.turn, r.step)
        )
        names += [
            f"{samples.name} user {user[i]} session {session[i]} turn {turn[i]} "
            f"{step[i]}"
            for i in range(len(at))
        ]
    more = f", … ({n:,} in all)" if n > NAMED else ""
    return ", ".join(names) + more if names else "no request"


def _within(at: Array, first: Array, last: Array) -> Array:
    """Return, bool, which times lie in one of the spans (from `_merged`)."""
    # NaN is after all: its span ended before.
    span = np.searchsorted(first, at, side="right") - 1
    return np.asarray((span >= 0) & (at <= last[span]))


def cpu(evidence: "CellEvidence") -> Found:
    """CPU where a population is open, else the finding ``generator-limited``.

    Of several workers, the one that used most of its core is judged.
    """
    shares = cpu_shares(evidence)
    share, worst = max(((v, k) for k, v in shares.items()), default=(0.0, ""))
    if share <= CPU_SHARE:
        return
    seen = f"{_named(worst)} used {100 * share:.0f}% of its core"
    if evidence.open:
        yield void("CPU", f"{seen}, {100 * CPU_SHARE:.0f}% at most is sound", share)
    else:
        yield note(
            "generator-limited",
            f"{seen}: its closed loop may have set the pace, read the throughput as at "
            "least this, and compare no arms by it",
            share,
        )


def cpu_shares(evidence: "CellEvidence") -> dict[str, float]:
    """Return the share of a core that each worker used, where it is known.

    Busy time by wall time, deliberate polling excluded.
    """
    found = {worker: _cpu_share(evidence, worker) for worker in evidence.workers}
    return {worker: share for worker, share in found.items() if share is not None}


def _cpu_share(evidence: "CellEvidence", worker: str) -> float | None:
    times, used = evidence.probe("cpu_ns", device=worker)
    polled_at, polled = evidence.probe("polled_ns", device=worker)
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
