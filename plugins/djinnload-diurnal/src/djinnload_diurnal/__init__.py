"""Arrival process ``diurnal`` for djinnload: sessions that swing like day and night."""

import math
from collections.abc import Iterator, Mapping, Sequence
from random import Random

from msgspec import Struct

from djinnload.spi import Duration, Hz, Share

__all__ = ("Diurnal",)

_NS = 1e9
_NO_HINTS: Mapping[str, int] = {}
#: Of the time that a session is due at, in periods; far below a nanosecond of a day.
_PRECISE = 1e-15


class DiurnalOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the arrival process ``diurnal``.

    Attributes:
        mean: Sessions a second, over whole periods.
        swing: Of the mean, up and down.
        period: ns of the swing.
    """

    mean: Hz
    swing: Share = Share(0.5)
    period: Duration = Duration(86_400 * 1_000_000_000)


class Diurnal:
    """Poisson with rate(t) = mean × (1 + swing × sin(2π t ÷ period)).

    By time change: the k-th session is due when the integral of the rate reaches the
    k-th point of a Poisson process of rate 1 (Çinlar 1975).
    """

    Options: type[Struct] = DiurnalOptions

    def __init__(self, options: DiurnalOptions) -> None:
        if options.period == 0:
            raise ValueError("period must be greater than 0")
        self._mean = float(options.mean)
        self._swing = float(options.swing)
        self._period = options.period / _NS

    def offsets(self, rng: Random) -> Iterator[tuple[int, Mapping[str, int]]]:
        """Yield due times in ns without an end; one number is drawn for each."""
        target = seconds = 0.0
        while True:
            target += rng.expovariate(1.0)
            seconds = self._reaching(target, seconds)
            yield round(seconds * _NS), _NO_HINTS

    def expected(self, seconds: float) -> float:
        """Return the integral of the rate over the first *seconds*."""
        turns = 2 * math.pi * seconds / self._period
        swung = self._swing * self._period / (2 * math.pi) * (1 - math.cos(turns))
        return self._mean * (seconds + swung)

    def residuals(self, offsets: Sequence[int], rng: Random) -> Sequence[float]:
        """Return the integral of the rate over each gap: exponential of mean 1."""
        reached = [0.0, *(self.expected(each / _NS) for each in offsets)]
        return [after - before for before, after in zip(reached, reached[1:])]  # noqa: B905, RUF007 - one is longer

    def _reaching(self, target: float, after: float) -> float:
        """Return when the integral reaches *target*, by bisection."""
        # It differs from mean × time by this much at most.
        slack = self._swing * self._period / math.pi
        low = max(after, target / self._mean - slack)
        high = target / self._mean + slack
        while high - low > _PRECISE * max(high, self._period):
            middle = (low + high) / 2
            if self.expected(middle) < target:
                low = middle
            else:
                high = middle
        return high
