"""The easy kind of target as the fast kind: one asyncio task a request."""

import asyncio  # noqa: TID251 - a task a request
from collections.abc import Callable

from msgspec import Struct

from djinnload.errors import TargetError
from djinnload.spi import (
    AsyncTarget,
    Call,
    CallbackTarget,
    Clock,
    Outcome,
    Proof,
    Reply,
    TargetPlan,
)

__all__ = ("as_callback",)


def as_callback(target: AsyncTarget | CallbackTarget) -> CallbackTarget:
    """Return *target* with ``submit``; itself if it has one."""
    return target if isinstance(target, CallbackTarget) else _Adapted(target)


class _Adapted:
    """Whatever ``exchange`` raises becomes the outcome ``error``, never a crash."""

    Options = Struct

    def __init__(self, options: AsyncTarget) -> None:
        self._target = target = options
        self._tasks: set[asyncio.Task[None]] = set()
        self.streams = target.streams
        self._end = getattr(target, "end_session", None)

    async def open(self, plan: TargetPlan, clock: Clock) -> Proof:
        return await self._target.open(plan, clock)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._target.aclose()

    def submit(
        self, call: Call, on_reply: Callable[[Reply], None]
    ) -> Callable[[], Reply | None]:
        task = asyncio.get_running_loop().create_task(self._exchange(call, on_reply))
        # The loop itself keeps only weak references to tasks.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def cancel() -> None:
            task.cancel()

        return cancel

    def end_session(self, session_id: str) -> None:
        if self._end is not None:
            self._end(session_id)

    async def _exchange(self, call: Call, on_reply: Callable[[Reply], None]) -> None:
        try:
            reply = await self._target.exchange(call)
        except TargetError as error:
            reply = Reply(Outcome.ERROR, error=str(error))
        except Exception as error:  # noqa: BLE001 - an outcome
            reply = Reply(Outcome.ERROR, error=f"{type(error).__name__}: {error}")
        # A plugin's word for it: nothing checks its types.
        if type(reply) is not Reply:
            what = f"exchange returned {type(reply).__name__}, not a Reply"
            reply = Reply(Outcome.ERROR, error=what)
        on_reply(reply)
