"""The Djinn target against small scripted servers on loopback."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop

from djinnload import spi
from djinnload.clock import monotonic_ns
from djinnload.errors import (
    ConnectFailed,
    ConnectionLost,
    LocalProtocolError,
    Refused,
    RemoteProtocolError,
    TargetError,
)
from djinnload.spi import Call, Model, Outcome, Reply, Request, TargetPlan, Tensor
from djinnload.targets.djinn import Djinn
from djinnload.targets.exchange import Endpoint
from djinnload.targets.requests import fingerprint
from djinnload.wire import djinn as wire
from djinnload.wire.djinn import Frame, FrameReader, MessageType

FRAMES = Path(__file__).parent.parent / "fixtures" / "frames"
ECHO = Model("echo", "Echo", {}, "float32", 0)
TINY = Model(
    "tiny", "GPT2LMHeadModel", {"model_type": "gpt2", "n_layer": 1}, "float32", 3
)
IDS = Tensor("input_ids", (1, 8), "int64", bytes(64))
ECHOED = {"policy": "qos", "server": "djinnload 0.1.0"}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Script = Callable[[Frame, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"], autouse=True)
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "uvloop":
        monkeypatch.setattr(asyncio, "run", uvloop.run)


class RealClock:
    def now(self) -> int:
        return monotonic_ns()

    def at(self, due_ns: int, callback: Callable[[], None]) -> None:
        raise NotImplementedError


def joined(parts: list[wire.Buffer]) -> bytes:
    return b"".join(parts)


def mirror(frame: Frame, **more: Any) -> bytes:
    found = wire.decode_request(frame)
    assert isinstance(found, wire.ExecuteRequest)
    metrics = {
        "queue_latency_ms": 1.5,
        "executor_time_ms": 2,
        "qos_class": found.meta.get("qos_class", "interactive"),
    }
    return joined(wire.execute_reply("success", found.inputs, metrics, ECHOED, **more))


class Server:
    """Answers probes and registrations as Djinn does; executes run the script."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.frames: list[Frame] = []
        self.got = 0
        self.gone = asyncio.Event()
        self.registration: dict[str, Any] = {"status": "success"}

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self.server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        self.tasks: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.transport.abort()
            self.gone.set()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        frames = FrameReader()
        frame, got = None, 0
        self.gone.clear()
        while frame is None:
            data = await reader.read(2**20)
            got += len(data)
            self.got = got
            if not data:
                return
            frame = frames.feed(data)
        self.frames.append(frame)
        match frame.kind:
            case MessageType.CACHE_QUERY:
                writer.write(joined(wire.cache_reply()))
            case MessageType.WARMUP_GPU:
                writer.write((FRAMES / "warmup.reply.bin").read_bytes())
            case MessageType.REGISTER_MODEL:
                writer.write(joined(wire.v1_reply(frame.kind, self.registration)))
            case _:
                found = wire.decode_request(frame)
                assert isinstance(found, wire.ExecuteRequest)
                if found.meta["tensor_keys"] == ["x"]:  # the target's own probe
                    writer.write(mirror(frame))
                else:
                    await self.script(frame, writer)
        await writer.drain()
        await reader.read()  # until the client closes


def a_call(**change: Any) -> Call:
    request = {"model": "echo", "inputs": {"input_ids": IDS}}
    call = {
        "population": "p",
        "session_id": "r-p-0-0",
        "qos_class": "realtime",
        "deadline_ns": None,
        "timeout_at_ns": 0,
        "behaviours": {},
    }
    for name, value in change.items():
        (call if name in call else request)[name] = value
    return Call(request=Request(**request), **call)


async def opened(
    address: str, *models: Model, ready_s: float = 5, register: str = "weights"
) -> tuple[Djinn, spi.Proof]:
    target = Djinn()
    plan = TargetPlan(address, models, register, int(ready_s * 1e9))
    return target, await target.open(plan, RealClock())


async def exchanged(target: Djinn, call: Call) -> Reply:
    found: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    cancel = target.submit(call, found.set_result)
    assert not found.done()
    reply = await asyncio.wait_for(found, 20)
    assert cancel() is None
    return reply


def replied(script: Script, call: Call | None = None) -> tuple[Reply, Server]:
    async def main() -> tuple[Reply, Server]:
        async with Server(script) as server:
            target, _ = await opened(server.address, ECHO)
            reply = await exchanged(target, call or a_call())
            await target.aclose()
            return reply, server

    return asyncio.run(main())


def answering(data: bytes) -> Script:
    async def script(_: Frame, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        writer.close()

    return script


def recorded(name: str) -> bytes:
    return (FRAMES / f"{name}.bin").read_bytes()


async def mirroring(frame: Frame, writer: asyncio.StreamWriter) -> None:
    writer.write(mirror(frame))


class ClockAhead(RealClock):
    ahead_ns = 0

    def now(self) -> int:
        return super().now() + self.ahead_ns


def lost_after(script: Script, *, gone: bool) -> tuple[Reply, bool, bool]:
    """A reply of a server that is gone or not; lost at once, and 1 s later."""

    async def main() -> tuple[Reply, bool, bool]:
        target, clock = Djinn(), ClockAhead()
        async with Server(script) as server:
            plan = TargetPlan(server.address, (ECHO,), "weights", int(5e9))
            await target.open(plan, clock)
            if not gone:
                reply = await exchanged(target, a_call())
        if gone:
            reply = await exchanged(target, a_call())
        at_once = target.lost()
        clock.ahead_ns = 1_000_000_000
        return reply, at_once, target.lost()

    return asyncio.run(main())


def test_a_server_where_nothing_listens_for_a_second_is_lost() -> None:
    reply, at_once, later = lost_after(mirroring, gone=True)
    assert (reply.outcome, reply.bytes_sent) == (Outcome.ERROR, 0)
    assert reply.error == "cannot connect: Connection refused"
    assert (at_once, later) == (False, True)


@pytest.mark.parametrize("name", ["execute-realtime.reply", "execute-refused.reply"])
def test_a_server_that_answers_is_not_lost(name: str) -> None:
    assert lost_after(answering(recorded(name)), gone=False)[1:] == (False, False)


def test_a_server_that_closes_without_an_answer_is_not_lost() -> None:
    reply, *lost = lost_after(answering(b""), gone=False)
    assert reply.outcome is Outcome.ERROR
    assert lost == [False, False]


def test_is_a_callback_target() -> None:
    target: spi.CallbackTarget = Djinn()
    assert isinstance(target, spi.CallbackTarget)
    target.end_session("s")


def test_an_answer_is_a_reply() -> None:
    begin = monotonic_ns()
    reply, server = replied(mirroring)
    assert reply.outcome is Outcome.OK
    assert reply.outputs["input_ids"].shape == (1, 8)
    assert reply.metrics == {"queue_ns": 1.5e6, "exec_ns": 2e6}
    assert reply.qos_class == "realtime"
    assert reply.echo == ECHOED
    assert reply.first_ns is not None
    assert begin < reply.first_ns < monotonic_ns()
    assert reply.bytes_sent == server.got
    assert reply.bytes_received == len(mirror(server.frames[-1]))


def test_a_recorded_reply_is_read() -> None:
    reply, _ = replied(answering(recorded("execute-realtime.reply")))
    assert reply.outcome is Outcome.OK
    assert reply.outputs["logits"].numpy().shape == (1, 8, 32)
    assert reply.metrics["exec_ns"] == pytest.approx(18_158_435.8)
    assert reply.bytes_received == len(recorded("execute-realtime.reply"))
    assert reply.echo == {}


@pytest.mark.parametrize(
    ("data", "outcome", "error"),
    [
        (
            recorded("execute-refused.reply"),
            "refused",
            "Concurrency limit exceeded: 10",
        ),
        (
            joined(
                wire.execute_reply("error", message="VRAM quota exceeded: 3\n of 2")
            ),
            "refused",
            "VRAM quota exceeded: 3 of 2",
        ),
        (
            recorded("execute-unknown-fingerprint.reply"),
            "error",
            "Model nope not found",
        ),
        (
            recorded("execute-undecodable.reply"),
            "error",
            "Unsupported protocol version",
        ),
        (joined(wire.execute_reply("error")), "error", "status 'error'"),
        (recorded("warmup.reply"), "error", "WARMUP_GPU came for an EXECUTE_MODEL"),
        (b"", "error", "connection closed without an answer"),
        (
            recorded("execute-batch.reply")[:5],
            "error",
            "closed after 5 of 9 header bytes",
        ),
        (
            recorded("execute-batch.reply")[:-1],
            "error",
            "closed after 1725 of 1726 bytes",
        ),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "error", "HTTP came"),
        (b"\x42garbage garbage", "error", "no Djinn message has type 0x42"),
        (struct.pack(">BQ", 6, 2**60), "error", "over the limit"),
        (struct.pack(">BQ3s", 6, 3, b"\x02??"), "error", "cannot read the reply"),
    ],
)
def test_bad_answers_are_told_apart(data: bytes, outcome: str, error: str) -> None:
    reply, server = replied(answering(data))
    assert reply.outcome == outcome
    assert error in reply.error
    assert "\n" not in reply.error
    assert reply.outputs == {}
    assert reply.bytes_sent == server.got
    assert reply.bytes_received <= len(data)
    assert (reply.first_ns is None) == (not data)


def test_a_reset_is_an_error() -> None:
    async def script(frame: Frame, writer: asyncio.StreamWriter) -> None:
        writer.write(mirror(frame)[:20])
        await writer.drain()
        await asyncio.sleep(0.05)
        link = writer.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    reply, _ = replied(script)
    assert reply.outcome is Outcome.ERROR
    assert "connection lost" in reply.error
    assert reply.bytes_received == 20


def test_an_answer_byte_by_byte_is_read() -> None:
    async def script(frame: Frame, writer: asyncio.StreamWriter) -> None:
        for byte in mirror(frame):
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)

    reply, _ = replied(script)
    assert reply.outcome is Outcome.OK
    assert bytes(reply.outputs["input_ids"].data) == bytes(64)


@pytest.mark.parametrize("mib", [19, 40])
def test_large_tensors_go_both_ways(mib: int) -> None:
    data = bytes(range(256)) * (mib * 2**12)
    big = Tensor("input_ids", (len(data),), "uint8", data)
    reply, server = replied(mirroring, a_call(inputs={"input_ids": big}))
    assert reply.outcome is Outcome.OK
    assert reply.outputs["input_ids"].data == data
    assert reply.bytes_sent == server.got > len(data)
    assert reply.bytes_received > len(data)


def test_closing_with_a_reset_loses_nothing() -> None:
    async def main() -> None:
        async with Server(mirroring) as server:
            target, _ = await opened(server.address, ECHO)
            host, port = target._endpoint.host, target._endpoint.port
            target._endpoint = Endpoint(host, port, reset=True)
            for _ in range(20):
                reply = await exchanged(target, a_call())
                assert reply.outcome is Outcome.OK
                assert reply.bytes_sent == server.got

    asyncio.run(main())


def test_a_half_closed_answer_is_read() -> None:
    async def script(frame: Frame, writer: asyncio.StreamWriter) -> None:
        writer.write(mirror(frame))
        writer.write_eof()

    assert replied(script)[0].outcome is Outcome.OK


def test_cancelling_tells_the_bytes_and_closes() -> None:
    async def main() -> None:
        async def silence(frame: Frame, writer: asyncio.StreamWriter) -> None:
            writer.write(mirror(frame)[:30])

        async with Server(silence) as server:
            target, _ = await opened(server.address, ECHO)
            replies: list[Reply] = []
            cancel = target.submit(a_call(), replies.append)
            await asyncio.sleep(0.1)
            told = cancel()
            assert told is not None
            assert told.outcome is Outcome.CANCELLED
            assert (told.bytes_sent, told.bytes_received) == (server.got, 30)
            assert cancel() is None
            await asyncio.wait_for(server.gone.wait(), 5)
            at_once = target.submit(a_call(), replies.append)()
            assert at_once is not None
            assert at_once.bytes_received == 0
            await asyncio.sleep(0.05)
            assert replies == []

    asyncio.run(main())


def test_what_is_not_read_is_not_sent() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as deaf:
            target = Djinn()
            async with Server(mirroring) as server:
                target, _ = await opened(server.address, ECHO)
            target._endpoint = Endpoint(*deaf.getsockname(), reset=False)
            big = Tensor("input_ids", (50_000_000,), "uint8", bytes(50_000_000))
            cancel = target.submit(a_call(inputs={"input_ids": big}), print)
            await asyncio.sleep(0.1)
            told = cancel()
            assert told is not None
            await asyncio.sleep(0.05)  # the loop closes in its next turn
            link, _ = deaf.accept()
            with link:
                got = 0
                try:
                    while data := link.recv(2**20):
                        got += len(data)
                except ConnectionResetError:
                    pass
            assert 0 < told.bytes_sent < 50_000_000
            assert got <= told.bytes_sent

    asyncio.run(main())


def test_a_refusing_port_is_an_error_and_aclose_ends_all() -> None:
    async def main() -> None:
        async with Server(mirroring) as server:
            target, _ = await opened(server.address, ECHO)
        reply = await exchanged(target, a_call())
        assert reply.outcome is Outcome.ERROR
        assert "cannot connect" in reply.error
        replies: list[Reply] = []
        target.submit(a_call(), replies.append)
        await target.aclose()
        await asyncio.sleep(0.05)
        assert replies == []

    asyncio.run(main())


def test_requests_say_what_djinn_reads() -> None:
    calls = {
        "execute-batch": a_call(qos_class="batch"),
        "execute-realtime": a_call(deadline_ns=20_000_000),
    }
    ids = Tensor(
        "ids", (1, 8), "int64", b"".join(struct.pack("<q", i) for i in range(8))
    )
    for name, call in calls.items():
        changed = Call(
            **{f: getattr(call, f) for f in call.__struct_fields__ if f != "request"},
            request=Request("echo", {"input_ids": ids}),
        )
        _, server = replied(mirroring, changed)
        sent = bytes(server.frames[-1].payload)
        expected = recorded(f"{name}.request")[9 + 9 :]
        assert sent[9:].replace(b"djinnload-echo", b"fp-tiny") == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"step": "prefill", "state": "kv"},
            {"session_id": "r-p-0-0/kv", "execution_phase": "prefill"},
        ),
        (
            {"step": "decode", "state": "kv", "last": True},
            {
                "session_id": "r-p-0-0/kv",
                "session_finalize": True,
                "execution_phase": "decode",
            },
        ),
        ({"state": "é"}, {"session_id": "r-p-0-0/é"}),
        ({"step": "encode"}, {"session_finalize": True}),
        (
            {
                "needs": ("logits[-1]",),
                "behaviours": {"result": "needed"},
                "state": "kv",
            },
            {
                "session_id": "r-p-0-0/kv",
                "djinnload": {
                    "behaviours": {"result": "needed"},
                    "needs": ["logits[-1]"],
                },
            },
        ),
    ],
)
def test_sessions_phases_and_needs(
    change: dict[str, Any], expected: dict[str, Any]
) -> None:
    _, server = replied(mirroring, a_call(qos_class="", **change))
    found = wire.decode_request(server.frames[-1])
    assert isinstance(found, wire.ExecuteRequest)
    known = {
        "fingerprint",
        "profile_id",
        "tensor_keys",
        "tensor_shapes",
        "tensor_dtypes",
    }
    assert {k: v for k, v in found.meta.items() if k not in known} == expected


def test_nonsense_from_a_workload_ends_the_run() -> None:
    async def main() -> None:
        async with Server(mirroring) as server:
            target, _ = await opened(server.address, ECHO)
            with pytest.raises(LocalProtocolError, match="was not asked for"):
                target.submit(a_call(model="other"), print)
            bad = Tensor("input_ids", (9,), "int64", bytes(64))
            with pytest.raises(LocalProtocolError, match="64 bytes"):
                target.submit(a_call(inputs={"input_ids": bad}), print)

    asyncio.run(main())


def test_opening_registers_and_proves(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = pytest.importorskip("djinnload.models.weights")
    tensors = [Tensor("w", (2,), "float32", bytes(8))]
    monkeypatch.setattr(weights, "tensors", lambda _: iter(tensors))

    async def main() -> None:
        async with Server(mirroring) as server:
            said = {
                "policy": "qos",
                "server": "djinnload 0.1.0",
                "weights_sha256": "00",
            }
            server.registration = {"status": "success", "djinnload": said}
            for register in ("id", "weights"):
                _, proof = await opened(server.address, TINY, register=register)
                found = wire.decode_request(server.frames[-1])
                assert isinstance(found, wire.RegisterRequest)
                assert found.fingerprint == fingerprint(TINY, register)
                assert found.architecture.endswith(".modeling_gpt2.GPT2LMHeadModel")
                assert proof.kind == "djinnload 0.1.0"
                assert proof.evidence["policy"] == spi.Evidence("echoed", "qos")
                assert proof.registration["sent"] == server.got
                assert proof.registration["received"] > 0
                if register == "id":
                    assert (found.model_id, found.weights) == (TINY.model_id, None)
                else:
                    assert found.weights is not None
                    assert found.weights[0].name == "w"
            server.registration = {"status": "error", "message": "no such\nmodel"}
            with pytest.raises(Refused, match="declined model tiny: no such model"):
                await opened(server.address, TINY, register="id")

    asyncio.run(main())


def test_the_echo_proves_the_policy() -> None:
    async def main() -> None:
        async with Server(mirroring) as server:
            _, proof = await opened(server.address, ECHO)
            assert proof.kind == "djinnload 0.1.0"
            assert proof.evidence == {"policy": spi.Evidence("echoed", "qos")}
            assert proof.registration == {"sent": 0, "received": 0}

    asyncio.run(main())


def test_fingerprints_follow_the_recipe() -> None:
    one = fingerprint(TINY, "id")
    assert one == fingerprint(TINY, "id")
    assert len(one) == 16
    int(one, 16)
    other = Model(
        "tiny", "GPT2LMHeadModel", {"model_type": "gpt2", "n_layer": 1}, "float32", 4
    )
    assert len({one, fingerprint(TINY, "weights"), fingerprint(other, "id")}) == 3
    assert fingerprint(ECHO, "id") == "djinnload-echo"


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            RemoteProtocolError,
            "does not speak Djinn: HTTP",
        ),
        (
            b"SSH-2.0-OpenSSH_9.6\r\n",
            RemoteProtocolError,
            "does not speak Djinn: no Djinn",
        ),
        (b"", ConnectionLost, "taken and closed"),
        (None, ConnectionLost, "takes connections and does not answer: 0 bytes"),
    ],
)
def test_other_servers_are_told_apart(
    answer: bytes | None, error: type[TargetError], match: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        if answer is not None:
            writer.write(answer)
            writer.close()
        else:
            await reader.read()
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        try:
            with pytest.raises(error, match=match) as caught:
                await opened(f"{host}:{port}", ECHO, ready_s=0.3)
            assert f"{host}:{port}" in str(caught.value)
        finally:
            server.close()
            await asyncio.sleep(0.05)

    asyncio.run(main())


def test_opening_waits_for_a_server_that_is_late() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(ConnectFailed, match=f"nothing listens at 127.0.0.1:{port}"):
            await opened(f"127.0.0.1:{port}", ECHO, ready_s=0.2)
        opening = asyncio.create_task(opened(f"127.0.0.1:{port}", ECHO))
        await asyncio.sleep(0.2)
        server = Server(mirroring)
        server.tasks = set()
        server.server = await asyncio.start_server(server._serve, "127.0.0.1", port)
        _, proof = await opening
        assert proof.kind == "djinnload 0.1.0"
        await server.__aexit__()

    asyncio.run(main())


@pytest.mark.parametrize("address", ["", "host", "127.0.0.1:", "127.0.0.1:99999", ":5"])
def test_an_address_is_checked(address: str) -> None:
    with pytest.raises(ConnectFailed, match="no address"):
        asyncio.run(opened(address, ECHO))
