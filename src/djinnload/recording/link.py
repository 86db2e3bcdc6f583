"""The generator's side of the process that writes: one process, shared by all channels.

Recorders append rows to a deque. The event loop sends them on itself (`Channel.pump`),
a few at a time, 0.1 µs a row: a thread would have to be given the GIL first, and take
it from what falls due. A thread sends those of channels that no loop pumps, gives
orders and hears reports.
"""

import atexit
import os
import select
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from errno import EPIPE
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Any

from djinnload.clock import monotonic_ns
from djinnload.errors import HostError
from djinnload.recording.live import Live
from djinnload.recording.messages import (
    Close,
    Open,
    Order,
    Report,
    Rows,
    decode_report,
    encode,
    frames,
)
from djinnload.scheduling import Apart, use_slice
from djinnload.units import MS

__all__ = ("Channel", "readings", "release", "shared")

TICK_S = 0.1
#: Where a loop pumps. The thread only hears reports then, and takes the GIL for it.
SELDOM_S = 0.5
#: Rows sent at a time: up to 50 µs.
_AT_ONCE = 500
#: Fewer rows than these wait for more, but not for long: each time the writer wakes up.
_FEW = 50
_SOON_NS = 50 * MS
#: How long an order may take: a slow disk confirms late.
_PATIENCE_S = 120.0
_PIPE_BYTES = 2**20
_F_SETPIPE_SZ = 1031


class Channel:
    """Rows on their way into one file.

    Attributes:
        append: Takes one row; a bound ``deque.append``, so it never blocks and never
            raises. Rows appended after `close` are not written.
        error: What stopped the writing (a full disk: OSError), else None. Rows go on
            being taken, and counted, but are lost.
        live, readings, echoes: As the writing process said last.
    """

    def __init__(self, number: int, link: "_Link") -> None:
        self.error: Exception | None = None
        self.live: dict[str, Live] = {}
        self.readings: dict[str, float] = {}
        self.echoes: list[dict[str, Any]] = []
        self.rows: deque[Any] = deque()
        self.append: Callable[[Any], None] = self.rows.append
        self.answered = Event()
        self.number = number
        self.pumped = False
        self._link = link
        self._closed = False
        self._sent_ns = 0

    def pump(self) -> bool:
        """Send some of the rows that wait; never blocks. From then on it is due often.

        To be called every few ms, from the thread that appends.

        Returns:
            Whether more of them wait than are sent at a time.
        """
        self.pumped = True
        waiting = len(self.rows)
        if waiting and (waiting >= _FEW or monotonic_ns() >= self._sent_ns + _SOON_NS):
            self._sent_ns = monotonic_ns()
            self._link.offer(self)
        return len(self.rows) >= _AT_ONCE

    def close(self) -> None:
        """Have everything written; never raises, see `error`."""
        if not self._closed:
            self._closed = True
            self._link.close(self)

    def taken(self) -> bytes:
        """Take rows that wait, _AT_ONCE at most; return their frame."""
        take, count = self.rows.popleft, min(_AT_ONCE, len(self.rows))
        rows = [take() for _ in range(count)]
        try:
            return encode(Rows(self.number, rows))
        except (TypeError, OverflowError) as error:  # a row that is no plain data
            self.error = self.error or error
            return b""

    def told(self, report: Report) -> None:
        """Take in what the writing process says, in the thread."""
        if report.error and self.error is None:
            self.error = (
                RuntimeError(report.error)
                if report.errno is None
                else OSError(report.errno, report.error)
            )
        self.live = report.live or self.live
        self.readings = report.readings or self.readings
        self.echoes = report.echoes or self.echoes
        if report.answer:
            self.answered.set()

    def lost(self, error: OSError) -> None:
        """Take in that the writing process is gone."""
        self.error = self.error or error
        self.answered.set()


class _Link:
    """One writing process, and the thread that alone speaks with it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "djinnload.recording.writer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        assert self._process.stdout is not None  # noqa: S101
        self._apart = Apart(self._process.pid)
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()
        _widen(self._in)
        os.set_blocking(self._out, False)
        os.set_blocking(self._in, False)
        # Who holds the lock writes; what the pipe had no room for goes first.
        self._lock = Lock()
        self._left = memoryview(b"")
        self._channels: dict[int, Channel] = {}
        self._number = 0
        self._received = bytearray()
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="djinnload-recorder", daemon=True)
        self._thread.start()

    @property
    def writer(self) -> int:
        """Return the process id of the writer."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self.pid == os.getpid() and self._thread.is_alive()

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Return those that are open."""
        return tuple(self._channels.values())

    @property
    def busy(self) -> bool:
        """Return whether a channel is open."""
        return bool(self._channels)

    def open(
        self, directory: str, *, name: str = "", header: Any = None, rotate: int = 0
    ) -> Channel:
        """Return a channel whose file is open.

        Raises:
            HostError: It cannot be made.
        """
        self._number += 1
        channel = Channel(self._number, self)
        self._channels[channel.number] = channel
        self._orders.put(Open(channel.number, directory, name, header, rotate))
        self._wait(channel)
        if channel.error is not None:
            self._channels.pop(channel.number, None)
            raise HostError(f"cannot record: {channel.error}") from channel.error
        return channel

    def offer(self, channel: Channel) -> None:
        """Send some of the channel's rows, unless that would have to wait."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._apart.look()
            if self._pushed():
                self._left = memoryview(channel.taken())
                self._pushed()
        except OSError:
            self._left = memoryview(b"")  # it is gone, as the thread will see
        finally:
            self._lock.release()

    def _pushed(self) -> bool:
        """Write what is left as far as the pipe has room; return whether all is."""
        with suppress(BlockingIOError):
            while self._left:
                self._left = self._left[os.write(self._in, self._left) :]
        return not self._left

    def close(self, channel: Channel) -> None:
        channel.pumped = False
        channel.answered.clear()
        if channel.number in self._channels:
            self._orders.put(Close(channel.number))
            self._wait(channel)
            self._channels.pop(channel.number, None)

    def _wait(self, channel: Channel) -> None:
        for _ in range(int(_PATIENCE_S)):
            if channel.answered.wait(1.0) or not self.alive:
                break
        if not channel.answered.is_set():
            channel.lost(OSError(EPIPE, "the writing process does not answer"))

    def end(self) -> None:
        """End the process, after what it was sent."""
        self._orders.put(None)
        self._thread.join(_PATIENCE_S)

    # In the thread

    def _run(self) -> None:
        use_slice(0)  # not the event loop's short ones
        try:
            while self._step():
                pass
        except OSError as error:
            said = OSError(error.errno or EPIPE, f"the writing process ended: {error}")
            for channel in tuple(self._channels.values()):
                channel.lost(said)
        finally:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            self._process.wait()

    def _step(self) -> bool:
        order, over = None, False
        with suppress(Empty):
            pumped = [each.pumped for each in tuple(self._channels.values())]
            seldom = bool(pumped) and all(pumped)
            order = self._orders.get(timeout=SELDOM_S if seldom else TICK_S)
            over = order is None
        for channel in tuple(self._channels.values()):
            if not channel.pumped:
                # What is appended meanwhile comes next time, or this never ends.
                for _ in range(0, len(channel.rows), _AT_ONCE):
                    self._write(channel.taken())
        if order is not None:
            self._write(encode(order))
            self._hear(self._channels[order.channel])
        if not over:
            self._read()
        return not over

    def _hear(self, channel: Channel) -> None:
        while not channel.answered.is_set():
            select.select([self._out], [], [], 1.0)
            self._read()

    def _write(self, frame: bytes) -> None:
        with self._lock:
            for data in (self._left, memoryview(frame)):
                self._left = data
                while not self._pushed():
                    select.select([], [self._in], [], 1.0)

    def _read(self) -> None:
        with suppress(BlockingIOError):
            came = os.read(self._out, _PIPE_BYTES)
            if not came:
                raise BrokenPipeError(EPIPE, "it was killed, or failed")
            self._received += came
        for message in frames(self._received):
            report = decode_report(message)
            if report.channel in self._channels:
                self._channels[report.channel].told(report)


def _widen(pipe: int) -> None:
    """Have the pipe hold what a busy second brings, where the system lets us."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):
            fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)


_lock = Lock()
_links: list[_Link] = []


def readings() -> dict[str, float]:
    """Return the newest reading of every probe under way, by ``device/name``."""
    found: dict[str, float] = {}
    for link in _links:
        for channel in link.channels:
            found |= channel.readings
    return found


def shared() -> _Link:
    """Return this process's link, made when first asked for, and again if it broke.

    Raises:
        HostError: The process cannot be started.
    """
    with _lock:
        if not _links or not _links[0].alive:
            try:
                _links[:] = [_Link()]
            except OSError as error:
                raise HostError(f"cannot record: {error}") from error
        return _links[0]


@atexit.register
def release() -> None:
    """End the writing process, if no channel is open; the next one starts another."""
    with _lock:
        if _links and not _links[0].busy:
            link = _links.pop()
            if link.alive:
                link.end()
