"""A call that no single frame holds: frame after frame, to the run one exchange."""

import asyncio  # noqa: TID251 - targets talk to the loop
from collections.abc import Callable, Sequence

from djinnload.errors import RemoteProtocolError, TargetError
from djinnload.targets.exchange import Endpoint, Exchange
from djinnload.wire import djinn as wire
from djinnload.wire.djinn import Buffer, Frame, MessageType

__all__ = ("Parts",)


class Parts:
    """Sends frames one by one, each when the one before it was taken.

    It has the face of an `Exchange`; its bytes are those of all frames so far.

    Args:
        frames: The last one is answered with the call's reply.
        now: Reads the clock.
        done: Called once, with that reply, or with what went wrong.

    Attributes:
        first_ns: Of the reply.
    """

    def __init__(
        self,
        frames: Sequence[list[Buffer]],
        now: Callable[[], int],
        done: "Callable[[Parts, Frame | TargetError], None]",
    ) -> None:
        self._left = list(reversed(frames))
        self._now = now
        self._done = done
        self._past = (0, 0)
        self._current: Exchange | None = None

    @property
    def sent(self) -> int:
        """Return the bytes that the kernel took."""
        return self._past[0] + (self._current.sent if self._current else 0)

    @property
    def received(self) -> int:
        """Return the bytes that came."""
        return self._past[1] + (self._current.received if self._current else 0)

    @property
    def first_ns(self) -> int | None:
        """Return when the first byte of the reply came; None: not yet."""
        return None if self._left or not self._current else self._current.first_ns

    def start(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> None:
        """See `Exchange.start`."""
        self._loop, self._endpoint = loop, endpoint
        self._send()

    def abort(self) -> None:
        """See `Exchange.abort`."""
        if self._current is not None:
            self._current.abort()

    def _send(self) -> None:
        self._current = Exchange(self._left.pop(), self._now, self._answered)
        self._current.start(self._loop, self._endpoint)

    def _answered(self, exchange: Exchange, result: Frame | TargetError) -> None:
        if not self._left or not _taken(result):
            self._done(self, result)
            return
        self._past = (self.sent, self.received)
        self._current = None
        self._send()


def _taken(result: Frame | TargetError) -> bool:
    """Return whether the server has kept a part, and waits for the next."""
    if isinstance(result, TargetError) or result.kind is not MessageType.EXECUTE_MODEL:
        return False
    try:
        return wire.decode_execute_reply(result.payload).status == "success"
    except RemoteProtocolError:
        return False
