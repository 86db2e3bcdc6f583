"""Counts and rough quantiles while a cell runs, kept by the process that writes."""

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from djinnload.clock import monotonic_ns
from djinnload.sample import OUTCOMES
from djinnload.spi import Outcome
from djinnload.units import MS, SECOND

__all__ = (
    "BOUNDS_NS",
    "Live",
    "LiveCounts",
    "Times",
    "Totals",
    "merged",
    "summed",
)

Array = np.ndarray[Any, np.dtype[Any]]

#: Buckets an octave: a quantile is right to about 1 %.
_PER_OCTAVE = 32
_BUCKETS = 63 * _PER_OCTAVE
_RATE_OVER_NS = 3 * SECOND
_OK = OUTCOMES.index(Outcome.OK)
_REFUSED = OUTCOMES.index(Outcome.REFUSED)
#: n × (1 − q) ≥ 10, as everywhere.
_ENOUGH = 10


#: Upper ends of the buckets of `Times`, in ns; one more is for what is longer.
BOUNDS_NS = tuple(
    round(step * 10**power)
    for power in range(4, 11)  # 10 µs to 50 s
    for step in (1, 2.5, 5)
)
_EDGES = np.array(BOUNDS_NS, np.int64)


class Times(Struct, frozen=True):
    """How long something took: counts by bucket, not cumulative.

    Attributes:
        counts: Of the buckets of `BOUNDS_NS` and of what is longer; empty: none yet.
        sum_ns: Of all.
    """

    counts: tuple[int, ...] = ()
    sum_ns: int = 0


class Totals(Struct, frozen=True):
    """All that a population has done in measure; it only grows.

    Attributes:
        outcomes: Requests that are over, by outcome; those that were seen.
        bytes_sent, bytes_received: Of them.
        latency: done − due of ok requests.
        lateness: sent − ready of those that were sent.
    """

    outcomes: dict[str, int] = {}
    bytes_sent: int = 0
    bytes_received: int = 0
    latency: Times = Times()
    lateness: Times = Times()


class Live(Struct, frozen=True):
    """How a population does so far; requests of measure, not turns.

    Attributes:
        n: Requests that are over.
        errors: Neither ok nor refused.
        refused: Declined by the server.
        rate_per_s: Requests over, of any phase, over the last 3 s.
        missed: Not ok, or later than the deadline; None: there is no deadline.
        p50_ms, p99_ms: Of done − due of ok requests, to about 1 %; None while there are
            fewer than 20, or 1,000.
        totals: For who counts by himself.
    """

    n: int = 0
    errors: int = 0
    refused: int = 0
    rate_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    missed: int | None = None
    totals: Totals = Totals()


def merged(parts: Sequence[Live]) -> Live:
    """Return how a population does in several workers together.

    The counts are exact; a quantile is the mean of the workers' own, by their requests,
    which is near as they all drive the same mix; None where a worker has too few.
    """
    return Live(
        n=sum(each.n for each in parts),
        errors=sum(each.errors for each in parts),
        refused=sum(each.refused for each in parts),
        rate_per_s=sum(each.rate_per_s for each in parts),
        p50_ms=_mean([(each.p50_ms, each.n) for each in parts if each.n]),
        p99_ms=_mean([(each.p99_ms, each.n) for each in parts if each.n]),
        missed=_sum([each.missed for each in parts]),
        totals=summed([each.totals for each in parts]),
    )


def summed(parts: Sequence[Totals]) -> Totals:
    """Return what several have done together."""
    outcomes: Counter[str] = Counter()
    for each in parts:
        outcomes.update(each.outcomes)
    return Totals(
        dict(outcomes),
        sum(each.bytes_sent for each in parts),
        sum(each.bytes_received for each in parts),
        _times([each.latency for each in parts]),
        _times([each.lateness for each in parts]),
    )


def _times(parts: Sequence[Times]) -> Times:
    counts = [each.counts for each in parts if each.counts]
    return Times(
        tuple(map(sum, zip(*counts, strict=True))),
        sum(each.sum_ns for each in parts),
    )


def _sum(parts: Sequence[int | None]) -> int | None:
    known = [each for each in parts if each is not None]
    return sum(known) if known and len(known) == len(parts) else None


def _mean(parts: Sequence[tuple[float | None, int]]) -> float | None:
    known = [(value, n) for value, n in parts if value is not None]
    if not known or len(known) < len(parts):
        return None
    return sum(value * n for value, n in known) / sum(n for _, n in known)


class LiveCounts:
    """One population's counts.

    Args:
        deadline_ns: Of its requests; None: they have none.
    """

    def __init__(self, deadline_ns: int | None = None) -> None:
        self._deadline = deadline_ns
        self._missed = 0
        self._n = self._errors = self._refused = self._all = 0
        self._buckets = np.zeros(_BUCKETS, np.int64)
        self._counted: deque[tuple[int, int]] = deque([(monotonic_ns(), 0)])
        self._outcomes = np.zeros(len(OUTCOMES), np.int64)
        self._bytes = [0, 0]
        self._latency, self._lateness = _Buckets(), _Buckets()

    def add(
        self,
        measured: Array,
        outcome: Array,
        latency_ns: Array,
        lateness_ns: Array,
        nbytes: tuple[Array, Array],
    ) -> None:
        """Count requests; all of shape ``(n,)``.

        Args:
            measured: Whether the request is of measure, bool.
            outcome: Indices into `sample.OUTCOMES`.
            latency_ns: done − due.
            lateness_ns: sent − ready; negative: it was never sent.
            nbytes: Sent, and received.
        """
        self._all += len(measured)
        n = int(np.count_nonzero(measured))
        if n != len(measured):
            outcome, latency_ns = outcome[measured], latency_ns[measured]
            lateness_ns = lateness_ns[measured]
            nbytes = nbytes[0][measured], nbytes[1][measured]
        self._n += n
        self._measured(outcome, latency_ns, lateness_ns)
        for way, each in enumerate(nbytes):
            self._bytes[way] += int(each.sum())

    def _measured(self, outcome: Array, latency_ns: Array, lateness_ns: Array) -> None:
        """Count what is of measure."""
        n = len(outcome)
        ok = outcome == _OK
        n_ok = int(np.count_nonzero(ok))
        if n_ok != n:
            latency_ns = latency_ns[ok]
            refused = int(np.count_nonzero(outcome == _REFUSED))
            self._refused += refused
            self._errors += n - n_ok - refused
        if self._deadline is not None:
            in_time = int(np.count_nonzero(latency_ns <= self._deadline))
            self._missed += n - in_time
        shown = np.log2(np.maximum(latency_ns, 1)) * _PER_OCTAVE
        self._buckets += np.bincount(shown.astype(np.int64), minlength=_BUCKETS)
        self._outcomes += np.bincount(outcome, minlength=len(OUTCOMES))
        self._latency.add(latency_ns)
        sent = lateness_ns >= 0
        self._lateness.add(lateness_ns if sent.all() else lateness_ns[sent])

    def read(self) -> Live:
        """Return the counts as they are now."""
        now, counted = monotonic_ns(), self._counted
        counted.append((now, self._all))
        while now - counted[0][0] > _RATE_OVER_NS and len(counted) > 2:  # noqa: PLR2004
            counted.popleft()
        elapsed = now - counted[0][0]
        rate = (self._all - counted[0][1]) * SECOND / elapsed if elapsed else 0.0
        p50, p99 = self._quantiles((0.5, 0.99))
        missed = None if self._deadline is None else self._missed
        n, errors, refused = self._n, self._errors, self._refused
        totals = self._totals()
        return Live(n, errors, refused, rate, p50, p99, missed, totals)

    def _totals(self) -> Totals:
        seen = zip(OUTCOMES, self._outcomes.tolist(), strict=True)
        outcomes = {str(outcome): n for outcome, n in seen if n}
        sent, received = self._bytes
        times = self._latency.read(), self._lateness.read()
        return Totals(outcomes, sent, received, *times)

    def _quantiles(self, qs: Iterable[float]) -> list[float | None]:
        below = np.cumsum(self._buckets)
        n = int(below[-1])
        return [
            self._middle_ms(int(np.searchsorted(below, math.ceil(q * n))))
            if n * (1 - q) >= _ENOUGH - 1e-6
            else None
            for q in qs
        ]

    @staticmethod
    def _middle_ms(bucket: int) -> float:
        return float(2 ** ((bucket + 0.5) / _PER_OCTAVE)) / MS


class _Buckets:
    """Counts by the buckets of `BOUNDS_NS`."""

    def __init__(self) -> None:
        self._counts = np.zeros(len(BOUNDS_NS) + 1, np.int64)
        self._sum = 0

    def add(self, values_ns: Array) -> None:
        # A bucket holds its upper end, as le= says.
        found = np.searchsorted(_EDGES, values_ns)
        self._counts += np.bincount(found, minlength=len(self._counts))
        self._sum += int(values_ns.sum())

    def read(self) -> Times:
        return Times(tuple(self._counts.tolist()), self._sum)
