"""The least that Python can do: uvloop and a Protocol that sends, receives, sends again.

Nothing is timed, checked or written down. `churn` connects for each exchange.
"""

import argparse
import asyncio
import socket

import uvloop


class Kept(asyncio.Protocol):
    """Sends the same bytes as soon as *size* bytes have come back."""

    def __init__(self, message: bytes, size: int):
        self._message = message
        self._size = self._missing = size

    def connection_made(self, transport):
        self._transport = transport
        transport.write(self._message)

    def data_received(self, data):
        self._missing -= len(data)
        if not self._missing:
            self._missing = self._size
            self._transport.write(self._message)


class Churn(asyncio.Protocol):
    """One exchange; then the connection is closed and the next one made."""

    def __init__(self, message: bytes, size: int, over):
        self._message = message
        self._missing = size
        self._over = over

    def connection_made(self, transport):
        self._transport = transport
        transport.write(self._message)

    def data_received(self, data):
        self._missing -= len(data)
        if not self._missing:
            self._transport.abort()
            self._over()


def churn(loop, address, message, size):
    """Keep one exchange going; connecting costs a task each, uvloop has no other way."""

    def go():
        loop.create_task(
            loop.create_connection(lambda: Churn(message, size, go), *address)
        )

    go()


async def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("how", choices=["kept", "churn"])
    given.add_argument("port", type=int)
    given.add_argument("connections", type=int)
    given.add_argument("send", help="file with the bytes of a request")
    given.add_argument("receive", type=int, help="bytes of a reply")
    asked = given.parse_args()
    with open(asked.send, "rb") as file:  # noqa: ASYNC230, PTH123 - before anything runs
        message = file.read()
    loop, address = asyncio.get_running_loop(), ("127.0.0.1", asked.port)
    for _ in range(asked.connections):
        if asked.how == "churn":
            churn(loop, address, message, asked.receive)
        else:
            made = loop.create_connection(
                lambda: Kept(message, asked.receive), *address
            )
            transport, _ = await made
            link = transport.get_extra_info("socket")
            assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
