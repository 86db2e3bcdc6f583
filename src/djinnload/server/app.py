"""The reference server's process: listens, says when it is ready, ends with its parent.

It answers as Djinn does, over the same wire, and is not Djinn.
"""

import asyncio  # noqa: TID251 - the server talks to the loop
import errno
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event, Thread

from djinnload import __version__
from djinnload.errors import HostError
from djinnload.server.connection import Budget, Connection
from djinnload.server.executor import Executor
from djinnload.server.health import listen
from djinnload.server.log import log
from djinnload.server.service import Service
from djinnload.server.settings import Settings

__all__ = ("serve",)

_BACKLOG = 4096
#: How long the loop may take to end once the parent is gone.
_GRACE_S = 3.0


async def serve(
    settings: Settings,
    *,
    on_ready: Callable[[str, int], None],
    executor: Executor | None = None,
) -> None:
    """Serve until cancelled, or until the parent ends if *settings* say so.

    Args:
        settings: Everything that the server is told.
        on_ready: Called once with host and port, when connections are accepted.
        executor: Runs the models; tests hand in one that misbehaves.

    Raises:
        HostError: The address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    _be_nice(settings.nice)
    service = Service(settings, executor or Executor(settings))
    everyone: set[Connection] = set()
    budget = Budget(settings.max_buffer_bytes)
    limit = settings.max_frame_bytes
    try:
        server = await _listen(
            settings, partial(Connection, service.handle, budget, limit, everyone)
        )
        health: asyncio.Server | None = None
        try:
            if settings.metrics_port:
                health = await listen(
                    settings.host, settings.metrics_port, service.usage
                )
            host, port = server.sockets[0].getsockname()[:2]
            log(_start_line(settings, host, port))
            ended = loop.create_future()
            if settings.exit_with_parent:
                _watch_parent(loop, ended)
            on_ready(host, port)
            await ended
            log("the parent has ended")
        finally:
            server.close()
            if health is not None:
                health.close()
    finally:
        for connection in list(everyone):
            connection.abort()
        service.close()


async def _listen(settings: Settings, make: Callable[[], Connection]) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    host, port = settings.host, settings.port
    try:
        return await loop.create_server(make, host, port, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = "it is in use; choose another port, or 0 for any free one"
        else:
            reason = error.strerror or str(error)
        raise HostError(f"cannot listen on {host}:{port}: {reason}") from error


def _start_line(settings: Settings, host: str, port: int) -> str:
    policy = settings.policy
    if policy != "none":
        policy += f", {settings.slots} slots"
    return f"version {__version__} on {host}:{port}, {policy}, on {settings.device}"


def _be_nice(nice: int) -> None:
    # Threads are as nice as whoever starts them: before any of ours.
    now = os.nice(0)
    if nice > now:
        os.nice(nice - now)


def _watch_parent(
    loop: asyncio.AbstractEventLoop, ended: "asyncio.Future[None]"
) -> None:
    def end() -> None:
        if not ended.done():
            ended.set_result(None)

    def watch() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        with suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(end)
        # A forward may hold the process up for minutes: nobody waits for it.
        Event().wait(_GRACE_S)
        os._exit(0)

    Thread(target=watch, name="djinnload-parent", daemon=True).start()
