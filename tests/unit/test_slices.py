"""Long messages leave, and come, a slice in a turn of the loop; nothing is lost by it."""

import asyncio
import os
from contextlib import suppress
from functools import partial

import pytest
import uvloop

from djinnload.clock import monotonic_ns
from djinnload.targets.exchange import Endpoint, Exchange
from djinnload.targets.kept import Framing, Kept
from djinnload.targets.slices import SLICE, Sender, rest
from djinnload.wire.djinn import HEADER, MessageType, frame


class Transport:
    """Takes all, or tells its sender to wait."""

    def __init__(self, full=False):
        self.turns, self.full, self.closing, self.sender = [], full, False, None

    def set_write_buffer_limits(self, high):
        assert high == 0

    def is_closing(self):
        return self.closing

    def writelines(self, parts):
        self.turns.append(b"".join(parts))
        if self.full:
            self.sender.pause()


class Loop:
    def __init__(self):
        self.ready = []

    def call_soon(self, callback):
        self.ready.append(callback)

    def turn(self):
        ready, self.ready = self.ready, []
        for callback in ready:
            callback()
        return len(ready)


def sending(message, **options):
    loop, transport = Loop(), Transport(**options)
    transport.sender = Sender(loop, transport, message)
    transport.sender.start()
    return loop, transport


def test_a_turn_writes_a_slice_whatever_the_buffers_are():
    message = [b"head", os.urandom(2 * SLICE), memoryview(os.urandom(SLICE + 1)), b""]
    loop, transport = sending(message)
    while loop.turn():
        pass
    assert b"".join(transport.turns) == b"".join(message)
    assert [len(turn) for turn in transport.turns] == [SLICE] * 3 + [5]
    assert transport.sender.unsent == 0


def test_what_the_kernel_has_not_taken_keeps_the_next_slice_waiting():
    loop, transport = sending([bytes(3 * SLICE)], full=True)
    assert loop.turn() == 0
    assert transport.sender.unsent == 2 * SLICE
    transport.sender.resume()
    assert len(transport.turns) == 1, "not before others have had their turn"
    loop.turn()
    assert len(transport.turns) == 2


def test_nothing_is_written_to_a_connection_that_is_given_up():
    loop, transport = sending([bytes(3 * SLICE)])
    transport.closing = True
    loop.turn()
    assert len(transport.turns) == 1


@pytest.mark.parametrize("closing", [False, True])
def test_reading_goes_on_in_the_next_turn(closing):
    said = []

    class Link(Transport):
        def pause_reading(self):
            said.append("pause")

        def resume_reading(self):
            said.append("resume")

    class Turns(Loop):
        def call_soon(self, callback, *arguments):
            super().call_soon(partial(callback, *arguments))

    loop, link = Turns(), Link()
    rest(loop, link)
    assert said == ["pause"]
    link.closing = closing
    loop.turn()
    assert said == ["pause", "resume"][: 2 - closing]


async def echo(reader, writer):
    with suppress(ConnectionError):
        while head := await reader.read(HEADER.size):
            head += await reader.readexactly(HEADER.size - len(head))
            writer.write(head + await reader.readexactly(HEADER.unpack(head)[1]))
            await writer.drain()
    writer.close()


async def kept(message, port, done):
    # A copy: the reply's memory is used again for the next one as long.
    framing = Framing(
        HEADER.size,
        lambda head: HEADER.unpack_from(head)[1],
        lambda payload, *rest: (bytes(payload), *rest),
    )

    class RealTime:
        now = staticmethod(monotonic_ns)

    found = Kept(framing)
    await found.open(f"127.0.0.1:{port}", RealTime)
    found.submit(message, lambda reply: done(reply[0]))
    return found


async def alone(message, port, done):
    exchange = Exchange(message, monotonic_ns, lambda _, it: done(bytes(it.payload)))
    exchange.start(asyncio.get_running_loop(), Endpoint("127.0.0.1", port, reset=False))


@pytest.mark.parametrize("way", [kept, alone])
@pytest.mark.parametrize("loops", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_megabytes_go_and_come_whole(loops, way):
    async def main():
        served = asyncio.Event()

        async def serve(reader, writer):
            await echo(reader, writer)
            served.set()

        server = await asyncio.start_server(serve, "127.0.0.1")
        port = server.sockets[0].getsockname()[1]
        sent = os.urandom(8 * 2**20 + 5)
        came = asyncio.get_running_loop().create_future()
        message = frame(MessageType.EXECUTE_MODEL, [b"x", sent])
        used = await way(message, port, came.set_result)
        assert await came == b"x" + sent
        if used is not None:
            await used.aclose()
        await served.wait()
        server.close()

    with asyncio.Runner(loop_factory=loops) as runner:
        runner.run(main())
