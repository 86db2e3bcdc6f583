"""Arrival processes: seeded random numbers → due offsets in ns; pure.

Offsets are absolute, never a sum of rounded gaps, so nothing drifts; who is behind is
never re-anchored. All offsets are ≥ 0 and never fall.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, pairwise
from random import Random

from msgspec import Struct

from djinnload.units import Hz

__all__ = ("Constant", "Poisson", "Rate")

_NS = 1e9
_NO_HINTS: Mapping[str, int] = {}


class Rate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario may say of a steady process.

    Attributes:
        rate: Mean sessions a second.
    """

    rate: Hz


class Constant:
    """An even pace: the k-th session is due at k ÷ rate, the first at 0."""

    Options: type[Struct] = Rate
    random = False

    def __init__(self, options: Rate) -> None:
        self._rate = float(options.rate)

    def offsets(self, rng: Random) -> Iterator[tuple[int, Mapping[str, int]]]:
        """Yield k ÷ rate for k = 0, 1, …; draws nothing."""
        for k in count():
            yield round(k * _NS / self._rate), _NO_HINTS

    def expected(self, seconds: float) -> float:
        """Return rate × *seconds*."""
        return self._rate * seconds

    def residuals(self, offsets: Sequence[int], rng: Random) -> Sequence[float]:
        """Return rate × gap of each session: 1 for all but the first, which has 0."""
        return _scaled(offsets, self._rate)


class Poisson:
    """Independent sessions: exponential gaps of mean 1 ÷ rate, the first one drawn too.

    What independent clients of a large crowd look like together (Palm–Khintchine).
    """

    Options: type[Struct] = Rate
    random = True

    def __init__(self, options: Rate) -> None:
        self._rate = float(options.rate)

    def offsets(self, rng: Random) -> Iterator[tuple[int, Mapping[str, int]]]:
        """Yield the running sum of the gaps, without end."""
        draw, rate, at = rng.expovariate, self._rate, 0.0
        while True:
            # A float sum is exact to 1 ns for 100 days.
            at += draw(rate)
            yield round(at * _NS), _NO_HINTS

    def expected(self, seconds: float) -> float:
        """Return rate × *seconds*."""
        return self._rate * seconds

    def residuals(self, offsets: Sequence[int], rng: Random) -> Sequence[float]:
        """Return rate × gap of each session, the first counted from 0."""
        return _scaled(offsets, self._rate)


def _scaled(offsets: Sequence[int], rate: float) -> Sequence[float]:
    return [(b - a) * rate / _NS for a, b in pairwise([0, *offsets])]
