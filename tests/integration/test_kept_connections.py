"""Kept connections against a small framed server on loopback: 4 bytes length, bytes."""

import asyncio
from struct import pack, unpack_from

import pytest
import uvloop

from djinnload.clock import monotonic_ns
from djinnload.errors import RemoteProtocolError
from djinnload.spi import Outcome, Reply
from djinnload.targets.kept import Framing, Kept

LIMIT = 8 * 2**20


@pytest.fixture(params=["asyncio", "uvloop"], autouse=True)
def loop(request, monkeypatch):
    if request.param == "uvloop":
        monkeypatch.setattr(asyncio, "run", uvloop.run)


class Clock:
    now = staticmethod(monotonic_ns)


def length(header):
    found = unpack_from(">I", header)[0]
    if found > LIMIT:
        raise RemoteProtocolError(f"{found} bytes are too many")
    return found


def decode(payload, first_ns, sent, received):
    if payload == b"unreadable":
        raise RemoteProtocolError("no reply")
    return Reply(
        Outcome.OK,
        metrics={"payload": bytes(payload)},
        first_ns=first_ns,
        bytes_sent=sent,
        bytes_received=received,
    )


class Served:
    """A server that answers each frame by *script*; it counts its connections."""

    def __init__(self, script):
        self._script = script
        self.connections = 0
        self.writers = []

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.kept = Kept(Framing(4, length, decode))
        await self.kept.open(f"127.0.0.1:{port}", Clock)
        return self

    async def __aexit__(self, *_):
        await self.kept.aclose()
        for writer in self.writers:
            writer.close()
        self._server.close()
        await self._server.wait_closed()
        await asyncio.sleep(0.01)

    async def _serve(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                (n,) = unpack_from(">I", await reader.readexactly(4))
                await self._script(await reader.readexactly(n), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def ask(self, *parts):
        """Send a request; return its future reply and what cancels it."""
        answered = asyncio.get_running_loop().create_future()
        head = pack(">I", sum(len(part) for part in parts))
        cancel = self.kept.submit([head + parts[0], *parts[1:]], answered.set_result)
        assert not answered.done()
        return answered, cancel

    async def answer(self, *parts):
        return await asyncio.wait_for(self.ask(*parts)[0], 10)


async def echo(request, writer):
    writer.write(pack(">I", len(request)) + request)


def test_one_after_another_share_a_connection():
    async def main():
        async with Served(echo) as served:
            for k in range(50):
                before = monotonic_ns()
                reply = await served.answer(b"abc", b"%d" % k)
                assert reply.metrics["payload"] == b"abc%d" % k
                assert reply.bytes_sent == reply.bytes_received == 7 + len(str(k))
                assert before < reply.first_ns <= monotonic_ns()
            assert served.connections == 1

    asyncio.run(main())


def test_as_many_connections_as_requests_at_once():
    async def main():
        async with Served(echo) as served:
            for _ in range(3):
                asked = [served.ask(b"%d" % k)[0] for k in range(8)]
                replies = await asyncio.wait_for(asyncio.gather(*asked), 10)
                said = [reply.metrics["payload"] for reply in replies]
                assert said == [b"%d" % k for k in range(8)]
            assert served.connections == 8

    asyncio.run(main())


def test_replies_in_pieces_short_and_long():
    """The header byte by byte, 3 MiB in pieces, then a short one on the same link."""

    async def drip(request, writer):
        whole = pack(">I", len(request)) + request
        for at in range(7):
            writer.write(whole[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0.002)
        for at in range(7, len(whole), 1_000_000):
            writer.write(whole[at : at + 1_000_000])
            await writer.drain()
            await asyncio.sleep(0.002)

    async def main():
        big = bytes(range(256)) * 12288
        async with Served(drip) as served:
            for sent in (b"a", b"", b"0123456789", big, b"short", big[:70_000]):
                reply = await served.answer(sent)
                assert reply.outcome is Outcome.OK
                assert reply.metrics["payload"] == sent
                assert reply.bytes_received == 4 + len(sent)
            assert served.connections == 1

    asyncio.run(main())


def test_a_connection_closed_between_requests_is_replaced():
    async def main():
        async with Served(echo) as served:
            await served.answer(b"x")
            served.writers[0].close()
            await asyncio.sleep(0.05)
            assert (await served.answer(b"y")).outcome is Outcome.OK
            assert served.connections == 2

    asyncio.run(main())


@pytest.mark.parametrize(
    ("says", "error", "received"),
    [
        (b"", "connection lost", 0),
        (b"\0\0", "connection lost", 2),
        (b"\0\0\0\x09abc", "connection lost", 7),
        (b"\xff\xff\xff\xff", "bytes are too many", 0),
        (b"\0\0\0\x0aunreadable", "cannot read the reply: no reply", 0),
        (b"\0\0\0\x01ab", "nobody asked for", 0),
    ],
)
def test_what_is_no_reply_is_an_error_and_the_next_request_works(says, error, received):
    first = []

    async def script(request, writer):
        if not first:
            first.append(request)
            writer.write(says)
            await writer.drain()
            writer.close()
        else:
            await echo(request, writer)

    async def main():
        async with Served(script) as served:
            reply = await served.answer(b"x")
            assert reply.outcome is Outcome.ERROR
            assert error in reply.error
            assert reply.bytes_sent == 5
            assert reply.bytes_received >= received
            assert (await served.answer(b"y")).metrics["payload"] == b"y"
            assert served.connections == 2

    asyncio.run(main())


def test_cancelling_gives_the_connection_up_and_harms_no_other():
    async def silent(request, writer):
        if request != b"lost":
            await echo(request, writer)

    async def main():
        async with Served(silent) as served:
            answered, cancel = served.ask(b"lost")  # while it connects
            assert cancel().bytes_sent == 0
            done, stale = served.ask(b"kept")
            await asyncio.wait_for(done, 10)
            lost, cancel_lost = served.ask(b"lost")
            assert stale() is None  # its request is over: the one under way goes on
            await asyncio.sleep(0.02)
            assert cancel_lost().bytes_sent == 8
            assert cancel_lost() is None
            assert (await served.answer(b"after")).metrics["payload"] == b"after"
            assert not answered.done()
            assert not lost.done()

    asyncio.run(main())


def test_nobody_listens():
    async def main():
        async with Served(echo) as served:
            served._server.close()
            reply = await served.answer(b"x")
            assert reply.outcome is Outcome.ERROR
            assert "cannot connect: Connection refused" in reply.error

    asyncio.run(main())
