"""What most asyncio clients do: `await anyio.sleep` until the next is due, on uvloop.

sleeper.py PORT CONNECTIONS DUE OUT      (files as of timer.c)
"""

import asyncio
import sys
import time
from array import array
from pathlib import Path

import anyio


class Link(asyncio.Protocol):
    done = array("q")

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        now = time.monotonic_ns()
        for _ in range(len(data) // 64):
            self.done.append(now)


async def main(port: int, connections: int, due: array) -> array:
    loop, links, rows, message = asyncio.get_running_loop(), [], array("q"), bytes(64)
    for _ in range(connections):
        _, link = await loop.create_connection(Link, "127.0.0.1", port)
        links.append(link)
    start = time.monotonic_ns() + 300_000_000
    for number, offset in enumerate(due):
        at = start + offset
        # Never re-anchored; a wait that is over already is none.
        if (left := at - time.monotonic_ns()) > 0:
            await anyio.sleep(left / 1e9)
        rows.extend((at, time.monotonic_ns()))
        links[number % connections].transport.write(message)
    while len(Link.done) < len(due):  # noqa: ASYNC110 - once, at the end
        await anyio.sleep(0.01)
    return rows


if __name__ == "__main__":
    offsets = array("q")
    offsets.frombytes(Path(sys.argv[3]).read_bytes())
    arguments = (int(sys.argv[1]), int(sys.argv[2]), offsets)
    stamped = anyio.run(main, *arguments, backend_options={"use_uvloop": True})
    Path(sys.argv[4]).write_bytes(stamped.tobytes())
