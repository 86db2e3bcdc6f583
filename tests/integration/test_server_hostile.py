"""Clients that send the reference server what no client should."""

import asyncio
import random
from functools import partial

import anyio
import pytest
from msgspec.structs import replace

from djinnload.server import connection
from djinnload.spi import (
    Outcome,
    Tensor,
)
from djinnload.wire import djinn as wire
from djinnload.wire.djinn import HEADER, FrameReader, MessageType
from server_kit import (
    PAYLOAD,
    SETTINGS,
    a_call,
    frame_of,
    opened,
    raw,
    run,
    serving,
    submitted,
)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
        HEADER.pack(0x42, 10) + bytes(10),
        HEADER.pack(0x10, 3) + b"\x01\x00\x00",
        HEADER.pack(0xFF, 3) + b"\x01\x00\x00",
        HEADER.pack(6, 0),
        HEADER.pack(6, 64 * 2**20),
        HEADER.pack(6, 2**63),
        HEADER.pack(6, 3 * 2**20 + 1) + bytes(100),
    ],
)
def test_what_is_no_request_is_closed(data, loop):
    async def main() -> None:
        async with serving(replace(SETTINGS, max_frame_bytes=3 * 2**20)) as address:
            assert await raw(address, data) == b""
            assert (
                await submitted((await opened(address))[0], a_call())
            ).outcome is Outcome.OK

    run(main)


@pytest.mark.parametrize(
    "data",
    [
        frame_of(6, b"\x80\x04\x95pickle"),
        frame_of(6, b"\x02" + b"\xff" * 8),
        frame_of(6, b"\x02\x00\x00\x00\x02\x00\x00\x00\x00[]"),
        frame_of(6, b"\x02\x00\x00\x00\x02\xff\xff\xff\xff{}"),
        frame_of(5, b"\x01\xff\xff\xff\xff"),
        frame_of(5, b"\x01\x00\x00\x27\x10" + b"[" * 10_000),
        frame_of(7, b"\x01\x00\x00\x00\x02{}"),
        frame_of(8, b"\x02"),
        frame_of(4, b"\xff\xfe"),
    ],
)
def test_what_cannot_be_read_is_answered(data, capfd):
    async def main() -> None:
        async with serving() as address:
            answer = FrameReader().feed(await raw(address, data))
            assert answer.kind is MessageType.ERROR
            assert "Failed to deserialize" in wire.decode_v1(answer.payload)["message"]

    run(main)
    assert "Traceback" not in capfd.readouterr().err


def test_random_bytes_do_no_harm(capfd):
    rng = random.Random(7)
    good = b"".join(wire.execute_request({"fingerprint": "djinnload-echo"}, [PAYLOAD]))

    async def main() -> None:
        async with serving() as address, anyio.create_task_group() as group:
            for _ in range(150):
                data = bytearray(good)
                for _ in range(rng.randint(1, 4)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
                cut = rng.randint(1, len(data))
                group.start_soon(
                    partial(raw, address, bytes(data[:cut]), half_close=True)
                )
        async with serving() as address:
            assert (
                await submitted((await opened(address))[0], a_call())
            ).outcome is Outcome.OK

    run(main)
    errors = capfd.readouterr().err
    assert "Traceback" not in errors
    assert len(errors.splitlines()) < 80


def test_silent_and_slow_clients_are_closed(monkeypatch):
    monkeypatch.setattr(connection, "HEADER_S", 0.1)
    monkeypatch.setattr(connection, "_LEAST_S", 0.1)

    async def main() -> None:
        async with serving() as address:
            assert await raw(address, b"") == b""
            assert await raw(address, b"\x06\x00") == b""
            assert await raw(address, HEADER.pack(6, 1000) + bytes(10)) == b""

    run(main)


def test_bytes_being_received_are_bounded():
    async def main() -> None:
        settings = replace(SETTINGS, max_buffer_bytes=2**20)
        async with serving(settings) as address:
            for _ in range(3):
                assert await raw(address, HEADER.pack(6, 2**21) + bytes(2**21)) == b""
            small = Tensor("x", (300_000,), "uint8", bytes(300_000))
            target, _ = await opened(address)
            for _ in range(8):  # what was taken was given back
                reply = await submitted(target, a_call(tensor=small))
                assert reply.outcome is Outcome.OK

    run(main)


def test_who_does_not_read_is_cut_off(monkeypatch):
    # Enough to send it, on a busy machine; not to wait for who reads nothing.
    monkeypatch.setattr(connection, "_LEAST_S", 1.5)
    monkeypatch.setattr(connection, "_S_PER_MIB", 0.0)
    data = bytes(40 * 2**20)
    big = Tensor("x", (len(data),), "uint8", data)
    request = b"".join(wire.execute_request({"fingerprint": "djinnload-echo"}, [big]))

    async def main() -> None:
        async with serving() as address:
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
            writer.write(request)
            await writer.drain()
            writer.transport.pause_reading()
            await anyio.sleep(4)
            writer.transport.resume_reading()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await reader.readexactly(len(data))
            writer.transport.abort()

    run(main)
