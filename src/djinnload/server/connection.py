"""One connection: one request in, one reply out, as Djinn does it; bounded throughout.

What a client sends is counted as it arrives; no reply waits for ever to be read.
"""

import asyncio  # noqa: TID251 - the server talks to the loop
from collections.abc import Callable, Sequence
from typing import cast

from djinnload.errors import TargetError
from djinnload.server.log import log
from djinnload.wire.djinn import Buffer, Frame, FrameReader

__all__ = ("Budget", "Connection", "Respond")

#: Time for the 9 bytes of a header, and from an answer to our closing.
HEADER_S = 10.0
LINGER_S = 0.1
_LEAST_S = 30.0
_S_PER_MIB = 2.0
_MIB = 2**20
#: Bytes after the request that are still read, to see the end of the stream.
_SURPLUS = 64 * 1024

#: Where first bytes land; a loop reads one socket at a time, so all share it.
_SCRATCH = memoryview(bytearray(256 * 1024))

#: Answers a request, once; None closes without an answer.
Respond = Callable[[Sequence[Buffer] | None], None]


class Budget:
    """Bytes that all connections together may hold.

    Attributes:
        left: What is not held now.
    """

    def __init__(self, limit: int) -> None:
        self.left = limit

    def take(self, n: int) -> bool:
        """Hold *n* bytes more; False, and nothing held, if that is too many."""
        if n > self.left:
            return False
        self.left -= n
        return True

    def give(self, n: int) -> None:
        """Let go of *n* bytes."""
        self.left += n


def body_s(nbytes: int) -> float:
    """Return how long *nbytes* may take to pass: 2 s for each MiB, at least 30 s."""
    return max(_LEAST_S, _S_PER_MIB * nbytes / _MIB)


class Connection(asyncio.BufferedProtocol):
    """The server's end of one connection.

    Args:
        handle: Called with the request, and with what answers it; never raises.
        budget: Shared by all connections.
        limit: Largest payload that is read.
        everyone: Connections that are open; this one adds and removes itself.
    """

    __slots__ = (
        "_abort_timer",
        "_answered",
        "_budget",
        "_eof",
        "_everyone",
        "_handle",
        "_held",
        "_loop",
        "_reader",
        "_surplus",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        handle: Callable[[Frame, Respond], None],
        budget: Budget,
        limit: int,
        everyone: "set[Connection]",
    ) -> None:
        self._handle = handle
        self._budget = budget
        self._everyone = everyone
        self._reader: FrameReader | None = FrameReader(limit)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self._held = 0
        self._surplus = 0
        self._answered = False
        self._eof = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BufferedProtocol`."""
        # By name only: uvloop's transports are not of asyncio's class.
        self._transport = cast("asyncio.Transport", transport)
        self._everyone.add(self)
        self._timer = self._loop.call_later(HEADER_S, self._late, "header")

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        reader = self._reader
        return reader.room() if reader is not None and reader.missing else _SCRATCH

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        reader = self._reader
        if reader is None:
            self._ignore(nbytes)
            return
        if not self._budget.take(nbytes):
            self._drop("too many bytes are being received at the same time")
            return
        self._held += nbytes
        had_header = reader.missing is not None
        try:
            if reader.missing:
                frame = reader.filled(nbytes)
            else:
                frame = reader.feed(_SCRATCH[:nbytes])
        except TargetError as error:
            self._drop(str(error))
            return
        if frame is not None:
            self._reader = None
            self._stop_timer()
            self._handle(frame, self.respond)
        elif not had_header and (missing := reader.missing) is not None:
            self._stop_timer()
            self._timer = self._loop.call_later(body_s(missing), self._late, "body")

    def eof_received(self) -> bool:
        """See `asyncio.BufferedProtocol`."""
        self._eof = True
        # A client may close its half and wait: it is answered all the same.
        return self._reader is None and not self._answered

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._transport = None
        self._everyone.discard(self)
        self._stop_timer()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        if self._reader is not None or self._answered:
            # A request that is being worked on holds its bytes until it is answered.
            self._let_go()
        self._reader = None

    def respond(self, buffers: Sequence[Buffer] | None) -> None:
        """Send the answer, if anyone is still there, and close soon after."""
        self._answered = True
        self._let_go()
        transport = self._transport
        if transport is None:
            return
        if buffers is None:
            transport.close()
            return
        transport.writelines(buffers)
        left = transport.get_write_buffer_size()
        if not self._budget.take(left):
            self._drop("too many bytes of replies are not read")
            return
        self._held = left
        if left:
            self._abort_timer = self._loop.call_later(body_s(left), transport.abort)
        if self._eof:
            transport.close()
        else:
            self._timer = self._loop.call_later(LINGER_S, transport.close)

    def abort(self) -> None:
        """Close at once, answered or not."""
        if self._transport is not None:
            self._transport.abort()

    def _ignore(self, nbytes: int) -> None:
        self._surplus += nbytes
        if self._surplus > _SURPLUS and self._transport is not None:
            self._transport.pause_reading()

    def _late(self, what: str) -> None:
        self._drop(f"no whole {what} in time")

    def _drop(self, reason: str) -> None:
        transport = self._transport
        if transport is None:
            return
        log(f"closed {peer(transport)}: {reason}")
        transport.abort()

    def _let_go(self) -> None:
        self._budget.give(self._held)
        self._held = 0

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def peer(transport: asyncio.BaseTransport) -> str:
    """Return the other end's address, for a log."""
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else "a client"
