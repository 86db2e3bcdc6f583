"""Sessions that come closer together, or further apart, than independent ones; pure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import inf, log
from random import Random
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from djinnload.arrivals.curve import (
    NS,
    Segment,
    differences,
    passed,
    reached,
    unit_poisson,
)
from djinnload.units import Duration, Hz, Share

__all__ = ("Bursts", "Gamma", "OnOff")

_NO_HINTS: Mapping[str, int] = {}
_Several = Annotated[int, Meta(ge=1, le=10_000)]


class GammaOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario may say of `Gamma`.

    Attributes:
        rate: Mean sessions a second.
        shape: Of the gaps: 1 is Poisson, below it bursty, above it more even.
    """

    rate: Hz
    shape: Annotated[float, Meta(ge=0.01, le=1000)]


class Gamma:
    """Independent gaps of a gamma distribution, met at a random moment.

    A gap has the mean 1 ÷ rate and the squared coefficient of variation 1 ÷ shape
    (scale θ = 1 ÷ (rate × shape)). The first gap is what is left of one that is under
    way at t = 0 (U × Gamma(shape + 1), U uniform), so the process is stationary and
    ``expected`` exact. Gaps below 1 ns, common only where shape < 0.1, become 0.
    """

    Options: ClassVar[type[Struct]] = GammaOptions
    random = True

    def __init__(self, options: GammaOptions) -> None:
        self._rate = float(options.rate)
        self._shape = options.shape

    def offsets(self, rng: Random) -> Iterator[tuple[int, Mapping[str, int]]]:
        """Yield the running sum of the gaps, without end."""
        shape, scale = self._shape, 1 / (self._rate * self._shape)
        draw = rng.gammavariate
        at = rng.random() * draw(shape + 1, scale)
        while True:
            yield round(at * NS), _NO_HINTS
            at += draw(shape, scale)

    def expected(self, seconds: float) -> float:
        """Return rate × *seconds*."""
        return self._rate * seconds

    def residuals(self, offsets: Sequence[int], rng: Random) -> Sequence[float]:
        """Return −ln S(gap) of each session; S: the gap's survival function.

        With x = gap ÷ θ and Q the regularized upper incomplete gamma function,
        S = Q(shape, x); of the first gap Q(shape + 1, x) − x ÷ shape × Q(shape, x).
        """
        from scipy.special import gammaincc

        shape, per_ns = self._shape, self._rate * self._shape / NS
        first, *others = (b - a for a, b in pairwise([0, *offsets]))
        x = first * per_ns
        left = gammaincc(shape + 1, x) - x / shape * gammaincc(shape, x)
        return [
            _information(float(left)),
            *(_information(float(gammaincc(shape, gap * per_ns))) for gap in others),
        ]


class BurstsOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario may say of `Bursts`.

    Attributes:
        rate: Mean events a second; an event starts one session or several.
        probability: That an event starts several.
        size: Fewest and most sessions of such an event, each number as likely.
    """

    rate: Hz
    probability: Share
    size: tuple[_Several, _Several]

    def __post_init__(self) -> None:
        low, high = self.size
        if low > high:
            raise ValueError(f"size [{low}, {high}] falls, write the smaller one first")


class Bursts:
    """A compound Poisson process: events of a Poisson process, all sessions at once.

    The number of sessions of an event is hidden: it is 1, or with *probability* drawn
    from *size*. Nothing is due at t = 0.
    """

    Options: ClassVar[type[Struct]] = BurstsOptions
    random = True

    def __init__(self, options: BurstsOptions) -> None:
        self._rate = float(options.rate)
        self._probability = float(options.probability)
        self._size = options.size

    def offsets(self, rng: Random) -> Iterator[tuple[int, Mapping[str, int]]]:
        """Yield each event's offset once a session, without end."""
        at = 0.0
        for size in self._sizes(rng):
            at += rng.expovariate(self._rate)
            offset = round(at * NS)
            for _ in range(size):
                yield offset, _NO_HINTS

    def expected(self, seconds: float) -> float:
        """Return rate × *seconds* × mean sessions of an event."""
        several = sum(self._size) / 2
        mean = 1 + self._probability * (several - 1)
        return self._rate * seconds * mean

    def residuals(self, offsets: Sequence[int], rng: Random) -> Sequence[float]:
        """Return rate × gap of each event, the sizes being known."""
        events, at = [0], 0
        for size in self._sizes(rng):
            if at >= len(offsets):
                break
            events.append(offsets[at])
            at += size
        return [(b - a) * self._rate / NS for a, b in pairwise(events)]

    def _sizes(self, rng: Random) -> Iterator[int]:
        """Yield the hidden numbers of sessions, from a generator of their own."""
        hidden = Random(rng.getrandbits(64))
        while True:
            several = hidden.random() < self._probability
            yield hidden.randint(*self._size) if several else 1


class OnOffOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario may say of `OnOff`.

    Attributes:
        rate: Mean sessions a second while on.
        rate_off: While off; None: no sessions then.
        on: Mean time on, > 0.
        off: Mean time off, > 0.
    """

    rate: Hz
    rate_off: Hz | None = None
    on: Duration
    off: Duration

    def __post_init__(self) -> None:
        if not self.on or not self.off:
            raise ValueError("on and off must be greater than 0, such as 5s")


class OnOff:
    """A Poisson process whose rate switches at random (Markov-modulated Poisson).

    Times on and off are exponential. The state at t = 0 is drawn from the stationary
    law, on with probability on ÷ (on + off), so ``expected`` is exact from the start.
    """

    Options: ClassVar[type[Struct]] = OnOffOptions
    random = True

    def __init__(self, options: OnOffOptions) -> None:
        self._rates = float(options.rate), float(options.rate_off or 0)
        self._means = options.on / NS, options.off / NS

    def offsets(self, rng: Random) -> Iterator[tuple[int, Mapping[str, int]]]:
        """Yield where the area under the hidden curve reaches a unit Poisson process's.

        Without end.
        """
        curve = self._curve(rng)
        for offset in reached(curve, unit_poisson(rng)):
            yield offset, _NO_HINTS

    def expected(self, seconds: float) -> float:
        """Return *seconds* × (rate × on + rate_off × off) ÷ (on + off)."""
        (fast, slow), (on, off) = self._rates, self._means
        return seconds * (fast * on + slow * off) / (on + off)

    def residuals(self, offsets: Sequence[int], rng: Random) -> Sequence[float]:
        """Return the area under the hidden curve between sessions."""
        return differences(passed(self._curve(rng), offsets))

    def _curve(self, rng: Random) -> Iterator[Segment]:
        """Return the hidden curve, from a generator of its own seeded at once."""
        return self._states(Random(rng.getrandbits(64)))

    def _states(self, hidden: Random) -> Iterator[Segment]:
        on, off = self._means
        state = 0 if hidden.random() * (on + off) < on else 1
        while True:
            rate = self._rates[state]
            yield Segment(hidden.expovariate(1 / self._means[state]), rate, rate)
            state = 1 - state


def _information(survival: float) -> float:
    return -log(survival) if survival > 0 else inf
