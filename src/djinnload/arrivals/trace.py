"""Sessions as they once came: a recorded trace, replayed."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import log
from random import Random
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from djinnload.arrivals import trace_files
from djinnload.units import Duration

__all__ = ("Trace",)

_NS = 1e9
#: Rounding to ns may put a session on its group's very end.
_LEAST = 1e-12


class TraceOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a scenario may say of `Trace`.

    Attributes:
        path: Of the file.
        format: ``auto``: by the names of its columns.
        speed: 2 replays in half the time.
        start: Time of the trace that is left out at its beginning.
        time: Time of the trace after *start* that is replayed; None: to its end.
        spread: Quantum of its timestamps: equal ones are drawn apart within it; 0: not.
    """

    path: Annotated[str, Meta(min_length=1)]
    format: Literal["auto", "azure", "mooncake", "burstgpt"] = "auto"
    speed: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    start: Duration = Duration(0)
    time: Duration | None = None
    spread: Duration = Duration(0)

    def __post_init__(self) -> None:
        if self.time == 0:
            raise ValueError("time must be greater than 0, or left out")


class Trace:
    """A session at (t − t₀ − start) ÷ speed for each one of the trace, to its end.

    t₀ is the time of the file's first session, so that without *start* the first is due
    at 0. With *spread*, the n sessions of one timestamp t are n independent uniform
    draws, in order, from [t, t + spread), cut at the next timestamp: a trace whose
    clock ticked every 3 s is else replayed as bursts that never were. The lengths that
    the trace tells are the hints ``prompt_tokens`` and ``new_tokens``.
    """

    Options: ClassVar[type[Struct]] = TraceOptions
    files = ("path",)

    def __init__(self, options: TraceOptions) -> None:
        self._rows = trace_files.read(
            options.path, options.format, start=options.start, time=options.time
        )
        self._speed = options.speed
        self._spread = int(options.spread)
        self.random = options.spread > 0

    def offsets(self, rng: Random) -> Iterator[tuple[int, Mapping[str, int]]]:
        """Yield each session with its lengths; draws nothing without *spread*."""
        rows, at = self._rows, 0
        for time, width, n in self._groups():
            drawn = sorted(rng.random() for _ in range(n)) if width else [0.0] * n
            for u in drawn:
                # Cut, not rounded: never on the next timestamp.
                offset = int((time + u * width) / self._speed)
                yield offset, _hints(rows.inputs[at], rows.outputs[at])
                at += 1

    def expected(self, seconds: float) -> float:
        """Return the sessions before *seconds*; within a quantum, in proportion."""
        times, until = self._rows.times, seconds * self._speed * _NS
        after = bisect_left(times, until)
        if not after or not self._spread:
            return float(after)
        first, width = bisect_left(times, times[after - 1]), self._width(after)
        return first + (after - first) * min(1.0, (until - times[first]) / width)

    def residuals(self, offsets: Sequence[int], rng: Random) -> Sequence[float]:
        """Return how each session lies in its quantum, the trace being known.

        With *spread*: of the k-th of n in [t, t + w), where v is the share of w that is
        left after it, (n − k + 1) × ln(v before ÷ v): exponential of mean 1 for uniform
        draws. Without: 1 + the seconds that it is off, 1 for all.

        Source: Rényi, "On the theory of order statistics" (1953).
        """
        found: list[float] = []
        for time, width, n in self._groups():
            group = offsets[len(found) : len(found) + n]
            if not width:
                found += [1 + (o * self._speed - time) / _NS for o in group]
                continue
            left = [1 - (o * self._speed - time) / width for o in group]
            pairs = pairwise([1.0, *(max(v, _LEAST) for v in left)])
            found += [(n - k) * log(a / b) for k, (a, b) in enumerate(pairs)]
        return found

    def lengths(self) -> Iterator[Mapping[str, int]]:
        """Yield all hints, each once, for a workload to refuse before anything runs."""
        import numpy as np

        # Two numbers of 31 bits in one of 64: no Python object a session.
        packed = np.frombuffer(self._rows.inputs, np.int32).astype(np.int64) << 32
        packed |= np.frombuffer(self._rows.outputs, np.int32)
        for both in np.unique(packed):
            yield _hints(int(both >> 32), int(both & 0xFFFFFFFF))

    def _groups(self) -> Iterator[tuple[int, int, int]]:
        """Yield (time, width that its sessions are spread over, sessions), in ns."""
        times, first = self._rows.times, 0
        while first < len(times):
            after = bisect_right(times, times[first], first)
            yield times[first], self._width(after), after - first
            first = after

    def _width(self, after: int) -> int:
        """Return the ns that the timestamp before index *after* is spread over."""
        times = self._rows.times
        if after == len(times):
            return self._spread
        return min(self._spread, times[after] - times[after - 1])


def _hints(prompt: int, new: int) -> Mapping[str, int]:
    return {"prompt_tokens": prompt, "new_tokens": new}
