"""What a run is doing when it is asked to stop, and that may be cut short then."""

from collections.abc import Awaitable, Callable

import anyio

__all__ = ("unless_stopped",)


async def unless_stopped(
    stop: anyio.Event | None,
    work: Callable[[], Awaitable[object]],
    *,
    patience_s: float = 0.0,
    over: Callable[[], bool] = lambda: False,
) -> bool:
    """Return whether *work* came to its end; once *stop* is set, it is cancelled.

    What it raises is raised, and not in a group.

    Args:
        stop: None: nobody can ask.
        work: Leaves things in order if it is cancelled.
        patience_s: So long it may still take once *stop* is set.
        over: Asked then; True: *work* sees to *stop* by itself from here on.
    """
    failed: Exception | None = None
    ended = False

    async def cut() -> None:
        if stop is not None:
            await stop.wait()
            await anyio.sleep(patience_s)
            if not over():
                tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cut)
        try:
            await work()
            ended = True
        except Exception as error:  # noqa: BLE001 - raised below, not in a group
            failed = error
        tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return ended
