"""Connections that stay open, one request at a time on each: for framed protocols.

Djinn takes one request a connection; most servers take many. A target for a protocol
whose messages begin with a header that tells their length needs only this, a way to
write its requests and one to read its replies::

    def submit(self, call, on_reply):
        return self._kept.submit(my_request(call), on_reply)

No task a request, and nothing but the reply is made for one. A short reply is read as
it comes; one that does not come whole is received into one buffer of its length, never
copied.
"""

import asyncio  # noqa: TID251 - targets talk to the loop
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from msgspec import Struct

from djinnload.errors import TargetError
from djinnload.spi import Buffer, Clock, Outcome, Reply
from djinnload.targets.exchange import SPARE, Endpoint, reason, resolve
from djinnload.targets.slices import SLICE, Sender, rest

__all__ = ("Framing", "Kept")

#: Of whole replies: payload, first byte's time, bytes sent, bytes received.
Decode = Callable[[Buffer, int, int, int], Reply]
#: Replies up to so many bytes are copied.
_SHORT = 1024
_ZEROS = bytes(SLICE)


class Framing(Struct, frozen=True):
    """Where a reply ends, and what it says.

    Attributes:
        header: Bytes of a header, > 0.
        length: Returns the bytes that follow a header; given at least the header. Room
            is made for as many, so it raises RemoteProtocolError for more than can be,
            and for what is no header: the connection is then given up.
        decode: Makes the reply of a frame without its header, given first_ns,
            bytes_sent and bytes_received. Raises RemoteProtocolError likewise.
    """

    header: int
    length: Callable[[Buffer], int]
    decode: Decode


class Kept:
    """The connections to one server; as many as there ever were requests in flight.

    Args:
        framing: Of its replies.
    """

    def __init__(self, framing: Framing) -> None:
        self.framing = framing
        self.free: list[_Link] = []
        self._links: set[_Link] = set()

    async def open(self, address: str, clock: Clock) -> None:
        """Find the server; connections are made when they are needed.

        Raises:
            ConnectFailed: *address*, ``host:port``, is no address of a known host.
        """
        self.now = clock.now
        self._endpoint: Endpoint = await resolve(address)
        self.loop = asyncio.get_running_loop()

    def submit(
        self, buffers: Sequence[Buffer], on_reply: Callable[[Reply], None]
    ) -> Callable[[], Reply | None]:
        """Send *buffers*; see `djinnload.spi.CallbackTarget.submit`.

        A connection that the server closes while nothing is asked is replaced. One that
        it closes instead of an answer gives an error; nothing is sent twice.
        """
        free = self.free
        link = free.pop() if free else self._connect()
        return link.send(buffers, on_reply)

    async def aclose(self) -> None:
        """Give up every connection."""
        while self._links:
            self._links.pop().close()
        self.free.clear()

    def forget(self, link: "_Link") -> None:
        """Take note that *link* is closed."""
        self._links.discard(link)
        if link in self.free:
            self.free.remove(link)

    def _connect(self) -> "_Link":
        link, at = _Link(self), self._endpoint
        self._links.add(link)
        made = self.loop.create_task(
            self.loop.create_connection(link.itself, at.host, at.port)
        )
        link.connecting = made
        made.add_done_callback(link.connected)
        return link


class _Link(asyncio.Protocol):
    """One connection; `on_reply` is None while nothing is asked."""

    __slots__ = (
        "_began",
        "_big",
        "_decode",
        "_first_ns",
        "_free",
        "_head",
        "_length",
        "_now",
        "_sender",
        "_sent",
        "_serial",
        "_transport",
        "_unsent",
        "connecting",
        "kept",
        "on_reply",
    )

    def __init__(self, kept: Kept) -> None:
        framing = kept.framing
        self.kept = kept
        self._free = kept.free
        self._now = kept.now
        self._head = framing.header
        self._length = framing.length
        self._decode = framing.decode
        self._transport: asyncio.Transport | None = None
        self._unsent: Sequence[Buffer] = ()
        self._began = b""
        self._big: _Big | None = None
        self._sender: Sender | None = None
        self._first_ns: int | None = None
        self._sent = 0
        self._serial = 0
        self.connecting: asyncio.Task[object] | None = None
        self.on_reply: Callable[[Reply], None] | None = None

    def send(
        self, buffers: Sequence[Buffer], on_reply: Callable[[Reply], None]
    ) -> Callable[[], Reply | None]:
        self.on_reply = on_reply
        self._serial = serial = self._serial + 1
        transport = self._transport
        if transport is None:
            self._unsent = buffers
        elif len(buffers) == 1:
            message = buffers[0]
            self._sent = len(message)
            transport.write(message)
        else:
            self._write(transport, buffers)
        return partial(self._cancel, serial)

    def _write(self, transport: asyncio.Transport, buffers: Sequence[Buffer]) -> None:
        self._sent = sum([len(buffer) for buffer in buffers])
        if self._sent <= SLICE:
            transport.writelines(buffers)
        else:
            self._sender = Sender(self.kept.loop, transport, buffers)
            self._sender.start()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._sender is not None:
            self._sender.pause()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        if self._sender is not None:
            self._sender.resume()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._first_ns is None:
            self._first_ns = self._now()
        if self._began:
            data = self._began + data
        size, head = len(data), self._head
        if size < head:
            self._began = data
            return
        try:
            missing = head + self._length(data) - size
        except TargetError as error:
            self.fail(str(error))
            return
        if missing > 0:
            self._receive(data, missing)
        elif missing or self.on_reply is None:
            self.fail("bytes came that nobody asked for")
        else:
            # A copy of a few bytes costs less than a view of them.
            self.whole(data[head:] if size <= _SHORT else memoryview(data)[head:])

    def whole(self, payload: Buffer) -> None:
        """Give the reply whose *payload* is whole."""
        on_reply, first = self.on_reply, self._first_ns
        assert on_reply is not None  # noqa: S101 - a request waits for it
        assert first is not None  # noqa: S101 - bytes came
        try:
            size = self._head + len(payload)
            reply = self._decode(payload, first, self._sent, size)
        except TargetError as error:
            self.fail(f"cannot read the reply: {error}")
            return
        self.on_reply = self._first_ns = self._sender = None
        self._began = b""
        self._free.append(self)
        on_reply(reply)

    def _receive(self, data: bytes, missing: int) -> None:
        """Receive what is missing of a long frame in place."""
        assert self._transport is not None  # noqa: S101 - bytes came
        self._began = b""
        self._big = _Big(self, self._transport, data[self._head :], missing)
        self._transport.set_protocol(self._big)

    def received(self, payload: memoryview) -> None:
        """Take the frame that `_Big` received."""
        assert self._transport is not None  # noqa: S101 - bytes came
        self._big = None
        self._transport.set_protocol(self)
        if self.on_reply is None:
            self.fail("bytes came that nobody asked for")
        else:
            self.whole(payload)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        # By name only: uvloop's transports are not of asyncio's class.
        self._transport = link = cast("asyncio.Transport", transport)
        if self.on_reply is None:
            link.abort()  # cancelled meanwhile
            return
        self._write(link, self._unsent)
        self._unsent = ()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        why = "closed" if exc is None else reason(exc)
        self.fail(f"connection lost ({why}), {self._received} bytes received")

    def itself(self) -> "_Link":
        return self

    def connected(self, made: "asyncio.Task[object]") -> None:
        self.connecting = None
        if not made.cancelled() and (error := made.exception()) is not None:
            self.fail(f"cannot connect: {reason(error)}")

    @property
    def _received(self) -> int:
        return len(self._began) + (self._head + self._big.got if self._big else 0)

    def close(self) -> None:
        self.on_reply = None
        if self.connecting is not None:
            self.connecting.cancel()
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: str) -> None:
        """Give the connection up; what was asked on it has failed."""
        on_reply, reply = self.on_reply, self._ended(Outcome.ERROR, error)
        self.close()
        self.kept.forget(self)
        if on_reply is not None:
            on_reply(reply)

    def _ended(self, outcome: Outcome, error: str) -> Reply:
        unsent = 0
        if self._transport is not None:
            unsent = self._transport.get_write_buffer_size()
            unsent += self._sender.unsent if self._sender is not None else 0
        return Reply(
            outcome,
            error=error,
            first_ns=self._first_ns,
            bytes_sent=max(0, self._sent - unsent),
            bytes_received=self._received,
        )

    def _cancel(self, serial: int) -> Reply | None:
        if self.on_reply is None or serial != self._serial:
            return None
        reply = self._ended(Outcome.CANCELLED, "")
        self.close()
        self.kept.forget(self)
        return reply


class _Big(asyncio.BufferedProtocol):
    """Takes the connection over while a long frame comes in."""

    def __init__(
        self, link: _Link, transport: asyncio.Transport, begun: bytes, missing: int
    ) -> None:
        self._link = link
        self._transport = transport
        self._length = len(begun) + missing
        self._payload = SPARE.take(self._length) or bytearray(begun)
        self._payload[: len(begun)] = begun
        self.got = len(begun)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        # Made as bytes come: zeros for all at once would stop the loop for long.
        if self.got == len(self._payload) < self._length:
            self._payload += _ZEROS[: self._length - self.got]
        upto = min(self.got + SLICE, self._length)
        return memoryview(self._payload)[self.got : upto]

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self.got += nbytes
        if self.got == self._length:
            SPARE.keep(self._payload)
            self._link.received(memoryview(self._payload)[: self._length])
        elif nbytes == SLICE:
            rest(self._link.kept.loop, self._transport)

    def pause_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._link.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._link.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._link.connection_lost(exc)
