"""Djinn's frames: a type, a length and a payload, cut from bytes however they arrive.

Nothing is allocated for a length before it has been checked, and no more of it than has
nearly arrived: a hostile header costs nothing, and an honest one no pause.
"""

import sys
from collections.abc import Sequence
from enum import IntEnum
from struct import Struct as Packing

from msgspec import Struct

from djinnload.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError

__all__ = (
    "FORBIDDEN",
    "HEADER",
    "MAX_PAYLOAD",
    "Buffer",
    "Frame",
    "FrameReader",
    "MessageType",
    "Spare",
    "frame",
    "pads",
)

Buffer = bytes | bytearray | memoryview

HEADER = Packing(">BQ")
_pack = HEADER.pack
MAX_PAYLOAD = 10 * 2**30
#: Lengths that Djinn takes for a corrupt header.
FORBIDDEN = frozenset(n * 2**20 for n in (64, 128, 256, 512, 1024))
#: Room made for a payload at once, zeros that cost as much as receiving into it.
_ZEROS = bytes(2**19)
#: Shorter payloads are not worth a buffer of their own.
LONG = 2**18
#: References to a buffer that only a list holds, while they are counted.
_ALONE = 2


class MessageType(IntEnum):
    """First byte of a frame."""

    CACHE_QUERY = 0x04
    REGISTER_MODEL = 0x05
    EXECUTE_MODEL = 0x06
    INIT_MODEL = 0x07
    WARMUP_GPU = 0x08
    REGISTER_CHUNK_START = 0x09
    REGISTER_CHUNK_DATA = 0x0A
    REGISTER_CHUNK_END = 0x0B
    QUERY_RESULT = 0x0C
    EXECUTE_BATCH = 0x0D
    EXECUTE_STAGE = 0x0E
    EXECUTE_WITH_BREAKPOINT = 0x0F
    SIGNAL_PHASE = 0x10
    ERROR = 0xFF


_KINDS = {int(kind): kind for kind in MessageType}


class Frame(Struct, frozen=True, gc=False):
    """One message, whole.

    Attributes:
        payload: A view of the bytes received; decoding copies nothing.
    """

    kind: MessageType
    payload: memoryview


def frame(kind: MessageType, parts: Sequence[Buffer]) -> list[Buffer]:
    """Return the header and *parts*, as buffers to be written in order.

    Raises:
        LocalProtocolError: The protocol refuses a payload of that length.
    """
    length = 0
    for part in parts:
        length += len(part) if type(part) is bytes else memoryview(part).nbytes
    if length == 0 or length > MAX_PAYLOAD or length in FORBIDDEN:
        raise LocalProtocolError(f"no Djinn frame holds exactly {length} bytes")
    head = _pack(kind, length) + parts[0]
    return [head] if len(parts) == 1 else [head, *parts[1:]]


def pads(length: int) -> bytes:
    """Return what a JSON document must be followed by if the payload has *length*."""
    return b" " if length in FORBIDDEN else b""


class Spare:
    """Buffers of long payloads, used again once nobody looks at them.

    Fresh memory costs a quarter of what receiving into it does: the kernel hands out
    pages one fault at a time, and zeros are written first.

    Args:
        limit: Bytes that may be kept; the oldest go first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: list[bytearray] = []

    def take(self, n: int) -> bytearray | None:
        """Return the buffer next to *n* bytes that nothing else refers to, if any.

        Neither half as long nor twice: a reply that carries a growing state is a little
        longer than the one before it.
        """
        kept, best, found = self._kept, n, -1
        for i in range(len(kept)):
            size = len(kept[i])
            off = abs(size - n)
            # Views of it refer to it: of a tensor, of an array made of that, …
            # Looked at in the list: a loop's variable would be one reference more.
            near = off < best and size < 2 * n < 4 * size
            if near and sys.getrefcount(kept[i]) == _ALONE:
                best, found = off, i
        return None if found < 0 else kept.pop(found)

    def keep(self, buffer: bytearray) -> None:
        """Take note of a buffer that is in use."""
        if LONG <= len(buffer) <= self._limit:
            self._kept.append(buffer)
            while sum(map(len, self._kept)) > self._limit:
                self._kept.pop(0)


class FrameReader:
    """Cuts one frame from a connection, the only one that Djinn ever sends on it.

    Give it bytes with `feed`, or let the socket write into `room` and say how many came
    with `filled`. Bytes after the frame are counted in `surplus` and else ignored.

    Args:
        limit: Largest payload that is taken.
        spare: Where long payloads' buffers come from.
    """

    def __init__(self, limit: int = MAX_PAYLOAD, spare: Spare | None = None) -> None:
        self._limit = limit
        self._spare = spare
        self._head = bytearray()
        self._kind = MessageType.ERROR
        self._length = 0
        self._payload = bytearray()
        self._got = 0
        self._frame: Frame | None = None
        self.surplus = 0

    @property
    def missing(self) -> int | None:
        """Return the payload's bytes that are to come; None before its header."""
        return self._length - self._got if self._length else None

    def feed(self, data: Buffer) -> Frame | None:
        """Take *data*; return the frame once it is whole.

        Raises:
            RemoteProtocolError: An unknown type, or a length that is not allowed.
        """
        view = memoryview(data)
        if not self._length:
            if not self._head and self._all(view):
                return self._frame
            view = self._header(view)
        while len(view) and self.missing:
            with self.room() as room:
                n = min(len(room), len(view))
                room[:n] = view[:n]
            self._got += n
            view = view[n:]
        self.surplus += len(view)
        return self._finish()

    def room(self) -> memoryview:
        """Return where the payload's next bytes belong; release it before `filled`."""
        if not self._payload and self._spare is not None and self._length >= LONG:
            self._payload = self._spare.take(self._length) or self._payload
        if self._got == len(self._payload) < self._length:
            self._payload += _ZEROS[: self._length - self._got]
        return memoryview(self._payload)[self._got : self._length]

    def filled(self, n: int) -> Frame | None:
        """Say that *n* bytes were written to `room`; return the frame if whole."""
        self._got += n
        return self._finish()

    def eof(self) -> None:
        """Say that no more bytes come.

        Raises:
            ConnectionLost: The frame is not whole.
        """
        if self._frame is not None:
            return
        if not self._length:
            got = len(self._head)
            where = f"after {got} of 9 header bytes" if got else "without an answer"
        else:
            where = f"after {self._got} of {self._length} bytes"
        raise ConnectionLost(f"connection closed {where}")

    def _header(self, view: memoryview) -> memoryview:
        take = HEADER.size - len(self._head)
        self._head += view[:take]
        if len(self._head) == HEADER.size:
            kind, length = HEADER.unpack(self._head)
            self._check(kind, length)
            self._kind, self._length = _KINDS[kind], length
        elif self._head and self._head[0] not in _KINDS:
            self._check(self._head[0], 1)
        return view[take:]

    def _check(self, kind: int, length: int) -> None:
        if self._head.startswith(b"HTTP") or kind == ord("H"):
            raise RemoteProtocolError("HTTP came where a Djinn frame belongs")
        if kind not in _KINDS:
            raise RemoteProtocolError(f"no Djinn message has type 0x{kind:02x}")
        if length == 0 or length in FORBIDDEN:
            raise RemoteProtocolError(f"payload length {length} is not allowed")
        if length > self._limit:
            raise RemoteProtocolError(
                f"payload of {length} bytes is over the limit of {self._limit}"
            )

    def _all(self, view: memoryview) -> bool:
        """Take a short message that came in one piece, if *view* is that."""
        if len(view) <= HEADER.size:
            return False
        kind, length = HEADER.unpack_from(view)
        if length != len(view) - HEADER.size:
            return False
        if kind not in _KINDS or length in FORBIDDEN or length > self._limit:
            return False
        payload = view[HEADER.size :]
        # What is not read-only is where the next bytes will be received.
        kept = payload if payload.readonly else memoryview(bytes(payload))
        self._frame = Frame(_KINDS[kind], kept)
        self._length = self._got = length
        return True

    def _finish(self) -> Frame | None:
        if not self._length or self._got < self._length:
            return None
        if self._frame is None:
            payload = memoryview(self._payload)[: self._length]
            self._frame = Frame(self._kind, payload)
            if self._spare is not None:
                self._spare.keep(self._payload)
        return self._frame
