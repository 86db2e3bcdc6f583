"""Rate curves, their areas, and where an area is reached; pure.

The time-rescaling theorem in both directions: a process of rate r(t) is a process of
rate 1 read on the clock A(t) = ∫₀ᵗ r. So sessions are due where A reaches given areas,
and the areas between sessions are what must look like a unit process.

Source: Brown, Barbieri, Ventura, Kass, Frank, "The time-rescaling theorem and its
application to neural spike train data analysis", Neural Computation 14 (2002).
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count, pairwise
from math import sqrt
from random import Random
from typing import NamedTuple

__all__ = ("NS", "Segment", "differences", "even", "passed", "reached", "unit_poisson")

NS = 1e9
#: Sessions; rounding within it does not decide on which side of a border one falls.
_BORDER = 1e-9


class Segment(NamedTuple):
    """A piece of a rate curve: linear from *low* to *high* sessions/s.

    Attributes:
        seconds: Its length; infinite only where low = high.
    """

    seconds: float
    low: float
    high: float

    @property
    def area(self) -> float:
        """Return the sessions in the whole segment: (low + high) ÷ 2 × seconds."""
        mean = (self.low + self.high) / 2
        return mean * self.seconds if mean else 0.0

    def until(self, x: float) -> float:
        """Return the sessions in its first *x* seconds: low·x + slope·x² ÷ 2."""
        return self.low * x + self._slope * x * x / 2

    def where(self, area: float) -> float:
        """Return the seconds after which `until` is *area*, 0 ≤ area ≤ `area`.

        The root of the quadratic, in the form that also holds where the slope is 0:
        2·area ÷ (low + √(low² + 2·slope·area)).
        """
        if area <= 0:
            return 0.0
        # A falling curve that ends at 0: rounding may take the root below it.
        root = sqrt(max(self.low * self.low + 2 * self._slope * area, 0.0))
        return min(2 * area / (self.low + root), self.seconds)

    @property
    def _slope(self) -> float:
        # A drawn length may be 0.
        rise = self.high - self.low
        return rise / self.seconds if rise else 0.0


def reached(curve: Iterable[Segment], areas: Iterable[float]) -> Iterator[int]:
    """Yield the ns at which the area under *curve* reaches each of *areas*.

    Segments are half-open: an area reached at the border of two is due in the later
    one, after any pause there. Ends where the curve or the areas end.

    Args:
        curve: One segment after the other, from t = 0.
        areas: Sessions, never falling.
    """
    segments = iter(curve)
    now, before, segment = 0.0, 0.0, next(segments, None)
    for area in areas:
        while segment is not None and area + _BORDER >= before + segment.area:
            now += segment.seconds
            before += segment.area
            segment = next(segments, None)
        if segment is None:
            return
        yield round((now + segment.where(area - before)) * NS)


def passed(curve: Iterable[Segment], offsets: Iterable[int]) -> Iterator[float]:
    """Yield the area under *curve* up to each of *offsets*, in ns, never falling."""
    segments = iter(curve)
    now, before, segment = 0.0, 0.0, next(segments, None)
    for offset in offsets:
        while segment is not None and offset / NS > now + segment.seconds:
            now += segment.seconds
            before += segment.area
            segment = next(segments, None)
        yield before + (segment.until(offset / NS - now) if segment else 0.0)


def unit_poisson(rng: Random) -> Iterator[float]:
    """Yield the areas of a unit Poisson process: sums of exponentials of mean 1."""
    at, draw = 0.0, rng.expovariate
    while True:
        at += draw(1.0)
        yield at


def even() -> Iterator[float]:
    """Yield the areas 0, 1, 2, … of sessions that draw nothing."""
    return map(float, count())


def differences(areas: Iterable[float]) -> Sequence[float]:
    """Return the first area, then what each adds to the one before."""
    return [b - a for a, b in pairwise([0.0, *areas])]
