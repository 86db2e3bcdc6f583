"""Diagnostics over HTTP, as Djinn has them: ``/metrics/vmu`` and ``/healthz``.

What this server has no number for (a stack, fragmentation) is left out.
"""

import asyncio  # noqa: TID251 - the server talks to the loop
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from djinnload.clock import wall_ns
from djinnload.errors import HostError

__all__ = ("listen",)

#: Returns what is used of the server's memory, by name.
Usage = Callable[[], Mapping[str, float]]

_LONGEST = 8192
_TIMEOUT_S = 5.0
_BROKEN = (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
_END = b"\r\n\r\n"


async def listen(host: str, port: int, usage: Usage) -> asyncio.Server:
    """Answer on *port* until the server that is returned is closed.

    Raises:
        HostError: The port cannot be listened on.
    """
    answer = partial(_answer, usage)
    try:
        return await asyncio.start_server(answer, host, port, limit=_LONGEST)
    except OSError as error:
        reason = error.strerror or str(error)
        hint = "choose another GENIE_METRICS_PORT, or 0 for no diagnostics"
        message = f"cannot listen on {host}:{port} for diagnostics: {reason}"
        raise HostError(f"{message}; {hint}") from error


async def _answer(
    usage: Usage, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one request and close."""
    with suppress(OSError, *_BROKEN):
        asked = await asyncio.wait_for(reader.readuntil(_END), _TIMEOUT_S)
        status, document = _document(asked.split(b"\r\n", 1)[0], usage)
        body = msgspec.json.encode(document)
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
    writer.close()


def _document(line: bytes, usage: Usage) -> tuple[str, dict[str, Any]]:
    match line.split(b" "):
        case [b"GET", b"/metrics/vmu", _]:
            return "200 OK", {
                "node_id": platform.node(),
                "timestamp": wall_ns() / 1e9,
                "status": "ok",
                "vmu": dict(usage()),
            }
        case [b"GET", b"/healthz", _]:
            return "200 OK", {"status": "ok"}
        case [b"GET", _, _]:
            return "404 Not Found", {"status": "error", "message": "no such page"}
        case _:
            return "400 Bad Request", {"status": "error", "message": "GET only"}
