"""Counts and rough quantiles while a cell runs, kept by the recorder's thread."""

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
from msgspec import Struct

from djinnload.clock import monotonic_ns
from djinnload.units import MS, SECOND

__all__ = ("Live", "LiveCounts")

Array = np.ndarray[Any, np.dtype[Any]]

#: Buckets an octave: a quantile is right to about 1 %.
_PER_OCTAVE = 32
_BUCKETS = 63 * _PER_OCTAVE
_RATE_OVER_NS = 3 * SECOND
#: n × (1 − q) ≥ 10, as everywhere.
_ENOUGH = 10


class Live(Struct, frozen=True):
    """How a population does so far; requests of measure, not turns.

    Attributes:
        n: Requests that are over.
        errors: Neither ok nor refused.
        refused: Declined by the server.
        rate_per_s: Requests over, of any phase, over the last 3 s.
        p50_ms, p99_ms: Of done − due of ok requests, to about 1 %; None while there are
            fewer than 20, or 1,000.
    """

    n: int = 0
    errors: int = 0
    refused: int = 0
    rate_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None


class LiveCounts:
    """One population's counts; fed and read by the writer thread alone."""

    def __init__(self) -> None:
        self._n = self._errors = self._refused = self._all = 0
        self._buckets = np.zeros(_BUCKETS, np.int64)
        self._counted: deque[tuple[int, int]] = deque([(monotonic_ns(), 0)])

    def add(
        self, measured: Array, ok: Array, refused: Array, latency_ns: Array
    ) -> None:
        """Count requests; all bool, shape ``(n,)``, but *latency_ns*."""
        self._all += len(measured)
        self._n += int(measured.sum())
        self._refused += int((measured & refused).sum())
        self._errors += int((measured & ~ok & ~refused).sum())
        shown = np.maximum(latency_ns[measured & ok], 1)
        bucket = (np.log2(shown) * _PER_OCTAVE).astype(np.int64)
        self._buckets += np.bincount(bucket, minlength=_BUCKETS)[:_BUCKETS]

    def read(self) -> Live:
        """Return the counts as they are now."""
        now, counted = monotonic_ns(), self._counted
        counted.append((now, self._all))
        while now - counted[0][0] > _RATE_OVER_NS and len(counted) > 2:  # noqa: PLR2004
            counted.popleft()
        elapsed = now - counted[0][0]
        rate = (self._all - counted[0][1]) * SECOND / elapsed if elapsed else 0.0
        p50, p99 = self._quantiles((0.5, 0.99))
        return Live(self._n, self._errors, self._refused, rate, p50, p99)

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
