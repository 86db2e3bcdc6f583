"""What the generator and its host did meanwhile: loop lag, GC pauses, CPU, flights.

Ticks on the engine's own clock, in the engine's own loop: what delays the engine delays
the tick by as much. A tick costs about 1 µs, the reading each second about 50 µs.
"""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from djinnload.clock import RealClock, cpu_ns

__all__ = ("TICK_NS", "HostProbe", "Reading")

#: t_ns, source, device, name, value
Reading = tuple[int, str, str, str, float]

TICK_NS = 5_000_000
SECOND_NS = 1_000_000_000
#: Mean gap between the random instants at which requests in flight are counted.
FLIGHTS_NS = 20_000_000
#: Devices, of workers, that read the host too.
_OF_HOST = ("", "w0")


class HostProbe:
    """Readings of the generator and the host in measure.

    ``loop_lag_ns`` each tick: how late it came; ``gc_pause_ns`` each collection;
    ``cpu_ns`` and ``polled_ns`` each second, cumulative; ``cpu_share`` of the whole
    host and ``load1`` each second; ``in_flight`` of the engine at instants that are
    random (exponential gaps of 20 ms on average), so that a mean over them is one over
    time, with the standard error of independent draws, whatever the traffic does.

    Args:
        clock: That the engine runs on.
        append: Takes a reading; must be fast.
        in_flight: Returns the requests in flight, of all populations together.
        seed: Of the instants; nothing else draws from it.
        device: ``w0``, ``w1`` … of several workers; empty: there is one. The host is
            read by the first alone.
    """

    def __init__(
        self,
        clock: RealClock,
        append: Callable[[Reading], None],
        *,
        in_flight: Callable[[], int],
        seed: int,
        device: str = "",
    ) -> None:
        self._clock = clock
        self._append = append
        self._in_flight = in_flight
        self._gap = Random(f"{seed}/probes/in_flight{device}").expovariate
        self._device = device
        self._due = self._second = self._end = 0
        self._gc_began = 0

    @contextmanager
    def over(self, begin_ns: int, end_ns: int) -> Iterator[None]:
        """Read while inside; the first and last cumulative readings are at the bounds.

        Args:
            begin_ns: Start of measure, on the clock.
            end_ns: Last end of measure; nothing is read after it. To leave before it
                ends measure sooner.
        """
        self._start(begin_ns, end_ns)
        try:
            yield
        finally:
            if self._clock.now() < end_ns:
                self._end = self._clock.now()
                self._on_second()
            if self._on_gc in gc.callbacks:
                gc.callbacks.remove(self._on_gc)

    def _start(self, begin_ns: int, end_ns: int) -> None:
        import psutil

        self._cpu_percent = psutil.cpu_percent
        self._cpu_percent()
        self._end = end_ns
        self._due = self._clock.now()
        self._second = begin_ns
        gc.callbacks.append(self._on_gc)
        self._clock.at(begin_ns, self._on_second)
        self._clock.at(begin_ns + self._to_next(), self._on_instant)
        self._clock.at(self._due, self._on_tick)

    def _on_tick(self) -> None:
        now, due = self._clock.now(), self._due
        self._append((now, "generator", self._device, "loop_lag_ns", float(now - due)))
        # What a stall swallowed is one lag, not many: the next tick is in the future.
        due += TICK_NS
        self._due = due if due > now else now + TICK_NS
        if self._due <= self._end:
            self._clock.at(self._due, self._on_tick)

    def _to_next(self) -> int:
        return int(self._gap(1 / FLIGHTS_NS))

    def _on_instant(self) -> None:
        now = self._clock.now()
        if now < self._end:
            count = float(self._in_flight())
            self._append((now, "engine", self._device, "in_flight", count))
            # From now: as gaps have no memory, a stall only makes fewer instants.
            self._clock.at(now + self._to_next(), self._on_instant)

    def _on_second(self) -> None:
        now, append = self._clock.now(), self._append
        append((now, "generator", self._device, "cpu_ns", float(cpu_ns())))
        polled = float(self._clock.polled_ns)
        append((now, "generator", self._device, "polled_ns", polled))
        if self._device in _OF_HOST:
            append((now, "host", "", "cpu_share", self._cpu_percent() / 100))
            append((now, "host", "", "load1", os.getloadavg()[0]))
        if self._second < self._end:
            self._second = min(self._second + SECOND_NS, self._end)
            self._clock.at(self._second, self._on_second)

    def _on_gc(self, phase: str, info: dict[str, Any]) -> None:
        now = self._clock.now()
        if phase == "start":
            self._gc_began = now
        elif self._gc_began:
            pause = float(now - self._gc_began)
            self._append((now, "generator", self._device, "gc_pause_ns", pause))
