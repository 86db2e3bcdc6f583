"""The only module that reads time: the real clock (timerfd) and the simulated one.

Both keep a heap of (due, order, callback) and fire it in order, never early and never
inside `at`. `asyncio`'s own timers are not used: uvloop rounds them to whole ms and
fires 4 sends in 10 early.
"""

import asyncio  # noqa: TID251 - the real clock watches a timerfd in the loop
import ctypes
import os
import time  # noqa: TID251 - the one place
from collections.abc import Callable
from heapq import heappop, heappush
from types import TracebackType
from typing import ClassVar, Self

__all__ = (
    "RealClock",
    "SimulatedClock",
    "boottime_ns",
    "cpu_ns",
    "monotonic_ns",
    "wall_ns",
)

Callback = Callable[[], None]

#: Callbacks that may run before the loop reads its sockets again.
BURST = 100
#: Precise mode polls this close to a due time; before, the loop goes round without
#: waiting, so that a reply is read, and stamped, when it comes.
NEAR_NS = 15_000
#: A round of the loop that took no longer has found nothing to do.
_ROUND_NS = 12_000
#: What waking takes is learned by steps; these are even where a quarter took less.
_SOONER_NS, _LATER_NS = 100, -300

monotonic_ns = time.monotonic_ns
wall_ns = time.time_ns
cpu_ns = time.process_time_ns


def boottime_ns() -> int:
    """Return ns since boot, suspended time included (Linux; else monotonic)."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return monotonic_ns() if clock is None else time.clock_gettime_ns(clock)


class SimulatedClock:
    """Time that moves only when told to: exact to the ns, without an event loop."""

    def __init__(self, start_ns: int = 0) -> None:
        self._now = start_ns
        self._order = 0
        self._heap: list[tuple[int, int, Callback]] = []

    def now(self) -> int:
        """Return the simulated time in ns."""
        return self._now

    def at(self, due_ns: int, callback: Callback) -> None:
        """See `djinnload.spi.Clock`."""
        self._order += 1
        heappush(self._heap, (due_ns, self._order, callback))

    def run(self, until_ns: int | None = None) -> int:
        """Fire what is due, moving time along, until *until_ns* or nothing is left.

        Returns:
            The number of callbacks fired.
        """
        heap, fired = self._heap, 0
        while heap and (until_ns is None or heap[0][0] <= until_ns):
            due, _, callback = heappop(heap)
            self._now = max(self._now, due)
            fired += 1
            callback()
        if until_ns is not None and until_ns > self._now:
            self._now = until_ns
        return fired

    def stall(self, ns: int) -> None:
        """Move time on without firing anything: what a blocked loop looks like."""
        self._now += ns


class RealClock:
    """The host's monotonic clock, in the running event loop; a context manager.

    On Linux an absolute timerfd, watched by the loop, is armed for the heap's head: as
    much before as waking takes three times in four on this host, 15 µs at most. Once
    awake too soon, it polls. `polled_ns` says what polling costs.

    Args:
        early_ns: Precise mode: wake this long before the head is due, and poll.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, early_ns: int = 0) -> None:
        self.now = time.monotonic_ns
        self.polled_ns = 0
        self._loop = loop
        self._early = early_ns
        self._near = min(NEAR_NS, early_ns or NEAR_NS)
        self._order = 0
        self._heap: list[tuple[int, int, Callback]] = []
        self._armed: int | None = None
        self._expires = 0
        self._round: asyncio.Handle | None = None
        self._left_ns = 0
        self._timer = _timer()
        loop.add_reader(self._timer.fd, self._fire if early_ns else self._wake)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._heap.clear()
        if self._round is not None:
            self._round.cancel()
        self._loop.remove_reader(self._timer.fd)
        self._timer.close()

    def at(self, due_ns: int, callback: Callback) -> None:
        """See `djinnload.spi.Clock`."""
        self._order += 1
        heappush(self._heap, (due_ns, self._order, callback))
        if self._armed is None or due_ns < self._armed:
            self._arm(due_ns)

    def next_ns(self) -> int | None:
        """Return when the next callback is due; None: there is none."""
        return self._heap[0][0] if self._heap else None

    def _arm(self, due_ns: int) -> None:
        self._armed = due_ns
        self._expires = max(due_ns - self._early, 1)
        self._timer.set(self._expires)

    def _wake(self) -> None:
        took = self.now() - self._expires
        step = _SOONER_NS if took > self._early else _LATER_NS
        self._early = min(max(self._early + step, 0), NEAR_NS)
        self._fire()

    def _fire(self) -> None:
        heap, now = self._heap, self.now
        # While callbacks run, `at` must not arm: the head is armed once, at the end.
        self._armed = -1
        for _ in range(BURST):
            if not heap:
                break
            wait = heap[0][0] - now()
            if wait > self._near:
                break
            if wait > 0:
                self._poll(heap[0][0])
            heappop(heap)[2]()
        if heap and 0 < heap[0][0] - now() < self._early:
            if self._round is None:
                # Expired and not set again, it would wake us each round as well.
                self._timer.set(0)
            self._left_ns = now()
            self._round = self._loop.call_soon(self._come_back)
            return
        self._round = None
        if heap:
            self._arm(heap[0][0])
        else:
            self._armed = None
            self._timer.set(0)

    def _come_back(self) -> None:
        took = self.now() - self._left_ns
        if took < _ROUND_NS:
            self.polled_ns += took
        self._fire()

    def _poll(self, until_ns: int) -> None:
        now = self.now
        start = now()
        while now() < until_ns:
            pass
        self.polled_ns += now() - start


class _Timespec(ctypes.Structure):
    _fields_: ClassVar = [("sec", ctypes.c_long), ("nsec", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_: ClassVar = [("interval", _Timespec), ("value", _Timespec)]


class _TimerFd:
    """An absolute CLOCK_MONOTONIC timerfd; `set(0)` disarms and clears it."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._settime = libc.timerfd_settime
        self._spec = _Itimerspec()
        self._args = (self.fd, 1, ctypes.byref(self._spec), None)  # 1: absolute

    def set(self, due_ns: int) -> None:
        value = self._spec.value
        value.sec, value.nsec = divmod(due_ns, 1_000_000_000)
        # Setting also clears past expirations: no read is needed after a wake-up.
        self._settime(*self._args)

    def close(self) -> None:
        os.close(self.fd)


def _timer() -> _TimerFd:
    return _TimerFd()
