"""Work that SIGINT and SIGTERM stop: the first asks, a later one ends it at once."""

import asyncio  # noqa: TID251 - the loop that signals stop
import os
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

from djinnload.clock import monotonic_ns
from djinnload.units import SECOND

__all__ = ("INTERRUPTED", "patient", "stoppable")

INTERRUPTED = 130
#: Said twice so soon it is said once: `timeout` tells the process, then its group.
_ONCE_NS = SECOND
#: What does not end by then when it is told to, is ended: a thread that folds, say.
_AT_ONCE_S = 2.0


class _Signals:
    """What to do on SIGINT and SIGTERM, in the main thread."""

    def __init__(self) -> None:
        self._asked_ns: int | None = None

    @contextmanager
    def handled(
        self, stop: Callable[[], None], end: Callable[[], None]
    ) -> Iterator[None]:
        """Call *stop* on the first signal of this process, *end* on a later one."""
        force = threading.Timer(_AT_ONCE_S, os._exit, (INTERRUPTED,))
        force.daemon = True

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            now = monotonic_ns()
            if self._asked_ns is None:
                self._asked_ns = now
                stop()
            elif now - self._asked_ns > _ONCE_NS and not force.is_alive():
                force.start()
                end()

        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, on_signal) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            force.cancel()


_signals = _Signals()


def stoppable(work: Callable[[Any], Awaitable[Any]]) -> Any:
    """Run *work* on uvloop; it is given the event that the first signal sets.

    Raises:
        KeyboardInterrupt: A second one has ended it.
    """
    import anyio

    loops: list[asyncio.AbstractEventLoop] = []
    asked: list[Callable[[], object]] = []  # by the first signal, and the second

    async def inside() -> Any:
        stop, this = anyio.Event(), asyncio.current_task()
        assert this is not None  # noqa: S101 - we are in it
        asked[:] = stop.set, this.cancel
        loops.append(asyncio.get_running_loop())
        return await work(stop)

    def have(number: int) -> None:
        if not loops:
            raise KeyboardInterrupt
        with suppress(RuntimeError):  # the loop has come to its end
            loops[0].call_soon_threadsafe(asked[number])

    try:
        with _signals.handled(partial(have, 0), partial(have, 1)):
            return anyio.run(inside, backend_options={"use_uvloop": True})
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextmanager
def patient() -> Iterator[None]:
    """Let what is to be said of a stopped run be said: only a later signal ends it.

    Raises:
        KeyboardInterrupt: One has.
    """
    with _signals.handled(lambda: None, _interrupt):
        yield


def _interrupt() -> None:
    raise KeyboardInterrupt
