"""A target that answers in this process at once: what the generator itself costs."""

import asyncio  # noqa: TID251 - answers on the loop's next turn
from collections.abc import Callable

from msgspec import Struct

from djinnload.spi import Call, Clock, Outcome, Proof, Reply, TargetPlan

__all__ = ("Null",)

_OK = Reply(Outcome.OK)


class Null:
    """Answers ok, with no outputs, on the event loop's next turn.

    No server and no network: the numbers are djinnload's own overhead.
    """

    class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Nothing to say."""

    streams = False
    answers = False  #: Nothing to check.

    def __init__(self, options: Options) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self, plan: TargetPlan, clock: Clock) -> Proof:
        """Take note of the loop; there is nothing to open."""
        self._loop = asyncio.get_running_loop()
        return Proof("null target in this process")

    async def aclose(self) -> None:
        """Do nothing: there is nothing to close."""

    def submit(
        self, call: Call, on_reply: Callable[[Reply], None]
    ) -> Callable[[], Reply | None]:
        """See `djinnload.spi.CallbackTarget`."""
        assert self._loop is not None  # noqa: S101 - opened first
        return self._loop.call_soon(on_reply, _OK).cancel

    def end_session(self, session_id: str) -> None:
        """Do nothing: nothing is kept."""
