"""A thread that reads something again and again, off the loop, at even times."""

from collections.abc import Callable
from threading import Event, Thread

from djinnload.clock import monotonic_ns

__all__ = ("Periodic",)

#: How long its last reading may take before it is left to itself.
_PATIENCE_S = 5.0


class Periodic:
    """Calls *read* with the time (ns, monotonic) until it is stopped.

    Due times are multiples of the period: what a slow reading runs past is left out,
    never made up for.

    Args:
        read: In a thread of its own; what it raises ends the thread.
        period_ns: Between two readings, > 0.
        name: Of the thread.
    """

    def __init__(
        self, read: Callable[[int], None], *, period_ns: int, name: str
    ) -> None:
        self._read = read
        self._period_ns = period_ns
        self._stop = Event()
        self._thread = Thread(target=self._loop, name=name, daemon=True)

    def start(self) -> None:
        """Begin; the first reading is taken at once."""
        self._thread.start()

    def stop(self) -> None:
        """Take no further reading; waits for the one under way."""
        self._stop.set()
        self._thread.join(_PATIENCE_S)

    def _loop(self) -> None:
        due = monotonic_ns()
        while not self._stop.is_set():
            now = monotonic_ns()
            self._read(now)
            behind = max(0, monotonic_ns() - due)
            due += (behind // self._period_ns + 1) * self._period_ns
            self._stop.wait(max(0, due - monotonic_ns()) / 1e9)
