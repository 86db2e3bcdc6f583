"""Counts and rough quantiles while a cell runs, kept by the process that writes."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from djinnload.clock import monotonic_ns
from djinnload.sample import OUTCOMES
from djinnload.spi import Outcome
from djinnload.units import MS, SECOND

__all__ = ("Live", "LiveCounts", "merged")

Array = np.ndarray[Any, np.dtype[Any]]

#: Buckets an octave: a quantile is right to about 1 %.
_PER_OCTAVE = 32
_BUCKETS = 63 * _PER_OCTAVE
_RATE_OVER_NS = 3 * SECOND
_OK = OUTCOMES.index(Outcome.OK)
_REFUSED = OUTCOMES.index(Outcome.REFUSED)
#: n × (1 − q) ≥ 10, as everywhere.
_ENOUGH = 10


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
    """

    n: int = 0
    errors: int = 0
    refused: int = 0
    rate_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    missed: int | None = None


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

    def add(self, measured: Array, outcome: Array, latency_ns: Array) -> None:
        """Count requests; all of shape ``(n,)``.

        Args:
            measured: Whether the request is of measure, bool.
            outcome: Indices into `sample.OUTCOMES`.
            latency_ns: done − due.
        """
        self._all += len(measured)
        ok = measured & (outcome == _OK)
        n, n_ok = int(np.count_nonzero(measured)), int(np.count_nonzero(ok))
        self._n += n
        if n_ok != n:
            refused = int(np.count_nonzero(measured & (outcome == _REFUSED)))
            self._refused += refused
            self._errors += n - n_ok - refused
        if self._deadline is not None:
            in_time = int(np.count_nonzero(latency_ns[ok] <= self._deadline))
            self._missed += n - in_time
        shown = np.log2(np.maximum(latency_ns[ok], 1)) * _PER_OCTAVE
        # Into the buckets that came: far fewer than there are.
        bucket, counts = np.unique(shown.astype(np.int64), return_counts=True)
        self._buckets[bucket] += counts

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
        return Live(self._n, self._errors, self._refused, rate, p50, p99, missed)

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
