"""The reference server in this process: the wire, the queue, the process."""

import asyncio
import json
import os
import socket
import subprocess
import sys

import anyio
import pytest
from msgspec.structs import replace

from djinnload.clock import monotonic_ns
from djinnload.errors import HostError
from djinnload.server.app import serve
from djinnload.server.executor import Executor
from djinnload.spi import (
    Outcome,
    Tensor,
)
from djinnload.wire import djinn as wire
from djinnload.wire.djinn import FrameReader, MessageType
from server_kit import (
    FRAMES,
    PAYLOAD,
    SETTINGS,
    TESTS,
    Slow,
    a_call,
    asked,
    opened,
    raw,
    registered,
    run,
    serving,
    submitted,
    tag,
    until,
)


def test_echo(loop):
    async def main() -> None:
        async with serving() as address:
            target, proof = await opened(address)
            assert proof.kind.startswith("djinnload ")
            assert proof.evidence["policy"].value == "qos"
            reply = await submitted(target, a_call())
            assert reply.outcome is Outcome.OK
            assert bytes(reply.outputs["x"].data) == PAYLOAD.data
            assert reply.qos_class == "realtime"
            assert set(reply.metrics) == {"queue_ns", "exec_ns"}
            again = await submitted(target, a_call())
            assert again.echo is reply.echo  # equal bytes are the same object

    run(main)


def test_echo_of_many_and_of_large_ones(loop):
    async def main() -> None:
        async with serving(replace(SETTINGS, admission_limit=1000)) as address:
            target, _ = await opened(address)
            replies = await asyncio.gather(
                *(submitted(target, a_call()) for _ in range(200))
            )
            assert {reply.outcome for reply in replies} == {Outcome.OK}
            data = os.urandom(2**20) * 40
            large = Tensor("x", (len(data),), "uint8", data)
            reply = await submitted(target, a_call(tensor=large))
            assert reply.outputs["x"].data == data

    run(main)


@pytest.mark.parametrize("name", ["cache-query", "execute-unknown-fingerprint"])
def test_recorded_requests_get_the_recorded_replies(name):
    async def main() -> None:
        async with serving() as address:
            request = (FRAMES / f"{name}.request.bin").read_bytes()
            assert (
                await raw(address, request)
                == (FRAMES / f"{name}.reply.bin").read_bytes()
            )

    run(main)


@pytest.mark.models
def test_recorded_conversation_gives_the_recorded_logits(tiny):
    """Djinn's own conversation, its weights included: the same answers."""
    import numpy as np

    async def main() -> None:
        executor = Executor(SETTINGS)
        async with serving(SETTINGS, executor) as address:
            for name in ("register-weights", "register-again"):
                request = (FRAMES / f"{name}.request.bin").read_bytes()
                fields = wire.decode_v1(
                    FrameReader().feed(await raw(address, request)).payload
                )
                recorded = (FRAMES / f"{name}.reply.bin").read_bytes()
                theirs = wire.decode_v1(FrameReader().feed(recorded).payload)
                assert set(fields) - {"djinnload"} == set(theirs)
                for key in ("status", "message", "fingerprint"):
                    assert fields[key] == theirs[key]
            for name in ("prefill", "decode", "decode-last", "realtime", "batch"):
                request = (FRAMES / f"execute-{name}.request.bin").read_bytes()
                reply = (FRAMES / f"execute-{name}.reply.bin").read_bytes()
                ours, theirs = (
                    wire.decode_execute_reply(FrameReader().feed(data).payload)
                    for data in (await raw(address, request), reply)
                )
                assert ours.status == "success", ours.message
                assert ours.metrics["qos_class"] == theirs.metrics["qos_class"]
                difference = (
                    ours.outputs["logits"].numpy() - theirs.outputs["logits"].numpy()
                )
                assert np.abs(difference).max() < 1e-5
            assert len(executor.sessions) == 0

    run(main)


def test_a_connection_carries_one_request_and_closes():
    async def main() -> None:
        async with serving() as address:
            request = b"".join(wire.cache_query())
            one = b"".join(wire.cache_reply())
            begin = monotonic_ns()
            assert await raw(address, request + request) == one
            assert 0.09e9 < monotonic_ns() - begin < 2e9
            assert await raw(address, request, half_close=True) == one
            execute = b"".join(
                wire.execute_request({"fingerprint": "djinnload-echo"}, [PAYLOAD])
            )
            assert await raw(address, execute, half_close=True)

    run(main)


def test_other_messages():
    async def main() -> None:
        async with serving() as address:
            warm = await registered(address, wire.warmup())
            assert warm["status"] == "success"
            assert warm["djinnload"]["policy"] == "qos"
            for name, status in (("djinnload-echo", "success"), ("nope", "error")):
                init = wire.v1_reply(MessageType.INIT_MODEL, {"fingerprint": name})
                assert (await registered(address, init))["status"] == status
            for kind in (0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E):
                refused = await asked(
                    address, wire.frame(MessageType(kind), [b"\x80\x04."])
                )
                assert refused.kind is MessageType.ERROR
                assert "not supported" in wire.decode_v1(refused.payload)["message"]

    run(main)


@pytest.mark.parametrize(
    ("policy", "expected"), [("qos", [0, 3, 2, 1]), ("fcfs", [0, 1, 2, 3])]
)
def test_order_of_the_queue(policy, expected):
    settings = replace(SETTINGS, policy=policy, slots=1, escalation_delay_ns=10**12)
    executor = Slow(settings, 1)

    async def main() -> None:
        async with serving(settings, executor) as address:
            target, _ = await opened(address)
            replies = [submitted(target, tag(0, qos_class="batch"))]
            await until(lambda: executor.order == [0])
            for number, name in ((1, "batch"), (2, "interactive"), (3, "realtime")):
                replies.append(submitted(target, tag(number, qos_class=name)))
                await anyio.sleep(0.03)
            executor.go.set()
            done = await asyncio.gather(*replies)
            assert executor.order == expected
            assert [reply.qos_class for reply in done] == [
                "batch", "batch", "interactive", "realtime"
            ]  # fmt: skip
            waited = [reply.metrics["queue_ns"] for reply in done]
            assert waited[0] < 10e6 < waited[3] < waited[1]
            assert {reply.echo["policy"] for reply in done} == {policy}

    run(main)


def test_without_a_policy_nothing_queues():
    settings = replace(SETTINGS, policy="none", slots=1)
    executor = Slow(settings, 4)

    async def main() -> None:
        async with serving(settings, executor) as address:
            target, proof = await opened(address)
            assert proof.evidence["policy"].value == "none"
            replies = [submitted(target, tag(number)) for number in range(4)]
            await until(lambda: len(executor.order) == 4)
            await anyio.sleep(0.05)
            executor.go.set()
            for reply in await asyncio.gather(*replies):
                assert reply.metrics["queue_ns"] == 0.0
                assert reply.metrics["exec_ns"] > 45e6

    run(main)


def test_refusals():
    settings = replace(SETTINGS, slots=2)
    executor = Slow(settings)

    async def main() -> None:
        async with serving(settings, executor) as address:
            target, _ = await opened(address)
            replies = [submitted(target, tag(number)) for number in range(13)]
            await until(lambda: sum(reply.done() for reply in replies) == 3)
            assert len(executor.order) == 2
            executor.go.set()
            done = await asyncio.gather(*replies)
            refused = [reply for reply in done if reply.outcome is Outcome.REFUSED]
            assert len(refused) == 3
            text = "Concurrency limit exceeded: 10 active requests >= 10 limit"
            assert {reply.error for reply in refused} == {text}
            assert len(executor.order) == 10

    run(main)


def test_a_client_that_leaves_cancels_nothing():
    settings = replace(SETTINGS, slots=1)
    executor = Slow(settings)

    async def main() -> None:
        async with serving(settings, executor) as address:
            target, _ = await opened(address)
            left = target.submit(tag(0), print)
            await until(lambda: executor.order == [0])
            second = target.submit(tag(1), print)
            await anyio.sleep(0.05)
            assert left() is not None
            assert second() is not None
            executor.go.set()
            reply = await submitted(target, tag(2))
            assert reply.outcome is Outcome.OK
            assert executor.order == [0, 1, 2]

    run(main)


def test_an_executor_that_breaks_is_an_error(capfd):
    class Broken(Executor):
        def answer(self, work):
            if work.inputs[0].name == "tag":
                raise KeyError("no\nsuch thing")
            return super().answer(work)

    async def main() -> None:
        async with serving(SETTINGS, Broken(SETTINGS)) as address:
            target, _ = await opened(address)
            for number in range(12):  # more than the limit: slots are given back
                reply = await submitted(target, tag(number))
                assert reply.outcome is Outcome.ERROR
                assert "KeyError" in reply.error

    run(main)
    assert "Traceback" not in capfd.readouterr().err


def test_a_port_in_use_is_said():
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(
                HostError, match=f"127.0.0.1:{port}: it is in use; choose"
            ):
                await serve(replace(SETTINGS, port=port), on_ready=print)

    run(main)


def test_a_process_ends_with_its_parent():
    command = [sys.executable, str(TESTS / "misbehaving_server.py"), "good"]
    environment = {**os.environ, "DJINNLOAD_SERVER_POLICY": "fcfs"}
    with subprocess.Popen(
        [*command, "--port", "0", "--exit-with-parent"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        ready = json.loads(process.stdout.readline())["ready"]
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19

        async def main() -> None:
            _, proof = await opened(f"{ready['host']}:{ready['port']}")
            assert proof.evidence["policy"].value == "fcfs"

        run(main)
        process.stdin.close()
        assert process.wait(20) == 0
        errors = process.stderr.read().decode()
    assert "Traceback" not in errors
    assert errors.splitlines()[0].startswith("djinnload server: version ")
