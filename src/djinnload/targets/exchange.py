"""One connection: a message out, one frame in, every byte counted on the socket.

A task a request that does nothing but connect costs less than watching plain sockets:
uvloop connects, writes and reads in C (measured: bench/README.md). The task ends when
the connection is made; callbacks do the rest.
"""

import asyncio  # noqa: TID251 - targets talk to the loop
import os
import socket
from collections.abc import Callable
from ipaddress import ip_address
from struct import pack
from typing import cast

from msgspec import Struct

from djinnload.errors import ConnectFailed, ConnectionLost, TargetError
from djinnload.targets.slices import SLICE, Sender, rest
from djinnload.wire.djinn import Buffer, Frame, FrameReader, Spare

__all__ = (
    "SPARE",
    "Deserted",
    "Endpoint",
    "Exchange",
    "host_and_port",
    "reason",
    "resolve",
)

#: Where first bytes land; a loop reads one socket at a time, so all share it.
_SCRATCH = memoryview(bytearray(256 * 1024))
#: Of all connections.
SPARE = Spare(256 * 2**20)
_RESET = pack("ii", 1, 0)


class Deserted(ConnectFailed):
    """Nothing listens there: the server has ended, or was never started."""


class Endpoint(Struct, frozen=True):
    """Where to connect to.

    Attributes:
        host: A numeric address, so that connecting never looks a name up.
        reset: Closing resets. A client that closes first has no ports left after 470
            connections/s for a minute, except on loopback, where Linux reuses them.
    """

    host: str
    port: int
    reset: bool


def host_and_port(address: str) -> tuple[str, int] | None:
    """Return the parts of ``host:port``; None if *address* is none."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        return None
    return host.strip("[]"), int(port)


async def resolve(address: str) -> Endpoint:
    """Return what to connect to for *address*, ``host:port``.

    Raises:
        ConnectFailed: It is no address, or no host has that name.
    """
    parts = host_and_port(address)
    if parts is None:
        raise ConnectFailed(f"{address!r} is no address, expected host:port")
    host, port = parts
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectFailed(f"{address}: {reason(error)}") from error
    numeric = str(found[0][4][0])
    return Endpoint(numeric, port, reset=not ip_address(numeric).is_loopback)


class Exchange(asyncio.BufferedProtocol):
    """One request and its reply, on a connection of their own.

    Attributes:
        received: Bytes that came.
        first_ns: When the first of them came.
    """

    __slots__ = (
        "_buffers",
        "_connecting",
        "_done",
        "_endpoint",
        "_length",
        "_loop",
        "_now",
        "_over",
        "_reader",
        "_sender",
        "_sent",
        "_transport",
        "first_ns",
        "received",
    )

    def __init__(
        self,
        buffers: list[Buffer],
        now: Callable[[], int],
        done: "Callable[[Exchange, Frame | TargetError], None]",
    ) -> None:
        self._buffers = buffers
        self._now = now
        self._done = done
        self._reader = FrameReader(spare=SPARE)
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[object] | None = None
        self._sender: Sender | None = None
        self._length = 0
        self._sent = 0
        self._over = False
        self.first_ns: int | None = None
        self.received = 0

    @property
    def sent(self) -> int:
        """Return the bytes that the kernel took."""
        if self._transport is None:
            return self._sent
        unsent = self._sender.unsent if self._sender is not None else 0
        return self._length - unsent - self._transport.get_write_buffer_size()

    def start(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> None:
        """Connect and send; *done* is called once, never before this returns."""
        self._loop = loop
        self._endpoint = endpoint
        self._connecting = connecting = loop.create_task(
            loop.create_connection(self._itself, endpoint.host, endpoint.port)
        )
        connecting.add_done_callback(self._connected)

    def abort(self) -> None:
        """Give the connection up; *done* is not called any more. Idempotent."""
        self._over = True
        transport = self._transport
        if transport is None:
            if self._connecting is not None:
                self._connecting.cancel()
            return
        self._sent = self.sent
        self._transport = None
        transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BufferedProtocol`."""
        # By name only: uvloop's transports are not of asyncio's class.
        link = cast("asyncio.Transport", transport)
        if self._over:
            link.abort()
            return
        self._transport = link
        if self._endpoint.reset:
            plain = link.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._length = sum([len(buffer) for buffer in self._buffers])
        if self._length <= SLICE:
            link.writelines(self._buffers)
        else:
            self._sender = Sender(self._loop, link, self._buffers)
            self._sender.start()
        self._buffers = []

    def pause_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        if self._sender is not None:
            self._sender.pause()

    def resume_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        if self._sender is not None:
            self._sender.resume()

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        return self._reader.room()[:SLICE] if self._reader.missing else _SCRATCH

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        if self.first_ns is None:
            self.first_ns = self._now()
        self.received += nbytes
        reader = self._reader
        try:
            if reader.missing:
                frame = reader.filled(nbytes)
            else:
                frame = reader.feed(_SCRATCH[:nbytes])
        except TargetError as error:
            self._end(error)
            return
        if frame is not None:
            self._end(frame)
        elif nbytes == SLICE and self._transport is not None:
            rest(self._loop, self._transport)

    def eof_received(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        try:
            self._reader.eof()
        except ConnectionLost as error:
            self._end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BufferedProtocol`."""
        if self._over:
            return
        what = f"{self.sent} bytes sent, {self.received} received"
        why = "closed" if exc is None else reason(exc)
        self._end(ConnectionLost(f"connection lost ({why}) after {what}"))

    def _itself(self) -> "Exchange":
        return self

    def _connected(self, connecting: "asyncio.Task[object]") -> None:
        self._connecting = None  # its result holds us: no garbage cycle a request
        if connecting.cancelled():
            return
        error = connecting.exception()
        if error is not None:
            refused = isinstance(error, ConnectionRefusedError)
            kind = Deserted if refused else ConnectFailed
            self._end(kind(f"cannot connect: {reason(error)}"))

    def _end(self, result: Frame | TargetError) -> None:
        if not self._over:
            self.abort()
            self._done(self, result)


def reason(error: BaseException) -> str:
    """Return why the system says that it failed, alike on every loop."""
    # The loops put addresses into strerror; the number says it alike everywhere.
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number) if number is not None and number > 0 else str(error)
