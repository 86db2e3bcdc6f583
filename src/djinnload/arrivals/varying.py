"""Rates that change as the scenario says: ramps and stages; pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from random import Random
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from djinnload.arrivals.curve import (
    NS,
    Segment,
    differences,
    even,
    passed,
    reached,
    unit_poisson,
)
from djinnload.units import Duration, Hz

__all__ = ("Ramp", "Stages")

_NO_HINTS: Mapping[str, int] = {}
_Offsets = Iterator[tuple[int, Mapping[str, int]]]


class RampOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario may say of `Ramp`.

    Attributes:
        start: Sessions a second at t = 0; None: none.
        end: From *over* on; None: none. Not both are None.
        over: Length of the ramp, > 0.
        random: True: Poisson of that rate; False: nothing is drawn.
    """

    start: Hz | None = None
    end: Hz | None = None
    over: Duration
    random: bool = True

    def __post_init__(self) -> None:
        if not self.over:
            raise ValueError("over must be greater than 0, such as 60s")
        if not self.start and not self.end:
            raise ValueError("start and end are missing, give at least one, like 20/s")


class StageOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stage of `Stages`.

    Attributes:
        rate: Sessions a second; None: a pause.
        time: Length, > 0.
    """

    rate: Hz | None = None
    time: Duration

    def __post_init__(self) -> None:
        if not self.time:
            raise ValueError("time must be greater than 0, such as 30s")


class StagesOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario may say of `Stages`.

    Attributes:
        stages: One after the other; at least one has a rate.
        random: True: Poisson of that rate; False: nothing is drawn.
    """

    stages: Annotated[tuple[StageOptions, ...], Meta(min_length=1)]
    random: bool = True

    def __post_init__(self) -> None:
        if not any(stage.rate for stage in self.stages):
            raise ValueError("no stage has a rate, give one, like 20/s")


class Ramp:
    """A rate that moves evenly from *start* to *end* over *over*, and stays there.

    r(t) = start + (end − start) × t ÷ over, in sessions/s; A(t) = ∫₀ᵗ r its area. With
    ``random = false`` the k-th session, k = 0, 1, …, is due where A reaches k, the
    first at t = 0. Else where it reaches the k-th of a unit Poisson process, which is
    the Poisson process of that rate (time rescaling); nothing is due at t = 0.
    """

    Options: ClassVar[type[Struct]] = RampOptions

    def __init__(self, options: RampOptions) -> None:
        low, high = float(options.start or 0), float(options.end or 0)
        ramp = Segment(options.over / NS, low, high)
        self._curve = (ramp, Segment(inf, high, high)) if high else (ramp,)
        self.random = options.random

    def offsets(self, rng: Random) -> _Offsets:
        """Yield where the area reaches each session's; no end if *end* is given."""
        return _offsets(self._curve, rng if self.random else None)

    def warmup(self, rng: Random) -> _Offsets:
        """Yield sessions at the steady rate *start*; none where that is none."""
        return _offsets(_steady(self._curve[0]), rng if self.random else None)

    def expected(self, seconds: float) -> float:
        """Return A(*seconds*)."""
        return next(passed(self._curve, [round(seconds * NS)]))

    def residuals(self, offsets: Sequence[int], rng: Random) -> Sequence[float]:
        """Return A between sessions; not random: 1 for all but the first, which has 0.

        Of the first: A from 0.
        """
        return differences(passed(self._curve, offsets))


class Stages:
    """Stages of a steady rate each; no sessions after the last.

    r(t) is the rate of the stage that t falls in, and sessions are due as those of
    `Ramp` are. A stage holds its beginning and not its end: what is due between two is
    in the later one, after a pause if that is one.
    """

    Options: ClassVar[type[Struct]] = StagesOptions

    def __init__(self, options: StagesOptions) -> None:
        rates = [(stage.time / NS, float(stage.rate or 0)) for stage in options.stages]
        self._curve = [Segment(seconds, rate, rate) for seconds, rate in rates]
        self.random = options.random

    def offsets(self, rng: Random) -> _Offsets:
        """Yield where the area reaches each session's, to the end of the stages."""
        return _offsets(self._curve, rng if self.random else None)

    def warmup(self, rng: Random) -> _Offsets:
        """Yield sessions at the rate of the first stage; none where that is a pause."""
        return _offsets(_steady(self._curve[0]), rng if self.random else None)

    def expected(self, seconds: float) -> float:
        """Return the area up to *seconds*."""
        return next(passed(self._curve, [round(seconds * NS)]))

    def residuals(self, offsets: Sequence[int], rng: Random) -> Sequence[float]:
        """Return the area between sessions, as `Ramp` does."""
        return differences(passed(self._curve, offsets))


def _steady(first: Segment) -> tuple[Segment]:
    """Return the rate that *first* begins with, without end."""
    return (Segment(inf, first.low, first.low),)


def _offsets(curve: Iterable[Segment], rng: Random | None) -> _Offsets:
    """Yield sessions due by *curve*; None: nothing is drawn."""
    areas = unit_poisson(rng) if rng is not None else even()
    return ((offset, _NO_HINTS) for offset in reached(curve, areas))
