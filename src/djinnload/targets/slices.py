"""Long messages a slice at a time, so that nothing that is due waits for all of one.

The kernel takes and gives several MB at once: milliseconds in which the loop can send
no other request and read no clock.
"""

import asyncio  # noqa: TID251 - targets talk to the loop
from collections.abc import Iterator, Sequence

from djinnload.spi import Buffer

__all__ = ("SLICE", "Sender", "rest")

#: Bytes written, or read, in one turn of the loop: some 0.2 ms.
SLICE = 512 * 1024


class Sender:
    """Writes *buffers* to *transport*, a slice in a turn of the loop.

    The protocol passes on what it is told by way of `pause` and `resume`.

    Attributes:
        unsent: Bytes that the transport has not been given yet.
    """

    __slots__ = ("_loop", "_paused", "_slices", "_transport", "unsent")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        transport: asyncio.Transport,
        buffers: Sequence[Buffer],
    ) -> None:
        self.unsent = sum([len(buffer) for buffer in buffers])
        self._loop = loop
        self._transport = transport
        self._slices = _slices(buffers)
        self._paused = False

    def start(self) -> None:
        """Write the first slice; the protocol knows its sender by now."""
        # Any byte that the kernel does not take pauses: then the next slice waits.
        self._transport.set_write_buffer_limits(0)
        self._go_on()

    def pause(self) -> None:
        """Take note that the kernel takes no more for now."""
        self._paused = True

    def resume(self) -> None:
        """Take note that it has taken all."""
        self._paused = False
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._transport.is_closing():
            return
        piece = next(self._slices, None)
        if piece is None:
            return
        self.unsent -= sum([len(part) for part in piece])
        self._transport.writelines(piece)
        if not self._paused:
            self._loop.call_soon(self._go_on)


def _slices(buffers: Sequence[Buffer]) -> Iterator[list[memoryview]]:
    piece: list[memoryview] = []
    room = SLICE
    for buffer in buffers:
        left = memoryview(buffer)
        while left:
            part, left = left[:room], left[room:]
            piece.append(part)
            room -= len(part)
            if not room:
                yield piece
                piece, room = [], SLICE
    if piece:
        yield piece


def rest(loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
    """Read no more in this turn: while there is more, a loop reads on and on."""
    transport.pause_reading()
    loop.call_soon(_read_on, transport)


def _read_on(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()
