"""A target for a server of its own protocol, over real sockets, and a run against it.

    python examples/own_target.py

The server takes a frame (4 bytes of length, then that many) and sends it back after 2 ms,
four at a time. The target is all that djinnload has to know of it.
"""

import asyncio
from pathlib import Path
from struct import Struct as Layout

import msgspec

import djinnload
from djinnload.errors import ConnectFailed
from djinnload.spi import Call, Clock, Outcome, Proof, Reply, TargetPlan, Tensor

LENGTH = Layout(">I")
SCENARIO = """
[scenario]
name = "frames"
duration = "3s"

[[population]]
name = "chat"
deadline = "100ms"
arrival = { process = "poisson", rate = "200/s" }
workload = { use = "echo", payload = "1kB" }
objectives = ["p95(latency) <= 100ms", "error_rate <= 2%"]
"""


class Frames:
    """Sends the one input of each request as a frame, and reads one back."""

    class Options(
        msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
    ):
        """Nothing to say; a plugin's scenario could set a time-out here."""

    streams = False

    def __init__(self, host: str, port: int) -> None:
        self._at = (host, port)

    async def open(self, plan: TargetPlan, clock: Clock) -> Proof:
        """See that the server answers, before anything is measured."""
        try:
            _, writer = await asyncio.open_connection(*self._at)
        except OSError as error:
            raise ConnectFailed(f"nothing listens at {self._at}: {error}") from error
        writer.close()
        return Proof("frames, the server of this example")

    async def exchange(self, call: Call) -> Reply:
        """Return what came of the call. A failure is an outcome, never an exception."""
        ((name, asked),) = call.request.inputs.items()
        try:
            reader, writer = await asyncio.open_connection(*self._at)
        except OSError as error:
            return Reply(Outcome.ERROR, error=f"no connection: {error}")
        try:
            writer.write(LENGTH.pack(asked.nbytes) + bytes(asked.data))
            (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
            answer = await reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError) as error:
            return Reply(Outcome.ERROR, error=f"no answer: {error}")
        finally:
            writer.close()  # also when cancelled: nobody waits for the reply any more
        return Reply(
            Outcome.OK,
            outputs={name: Tensor(name, asked.shape, asked.dtype, answer)},
            bytes_sent=LENGTH.size + asked.nbytes,
            bytes_received=LENGTH.size + size,
        )

    async def aclose(self) -> None:
        """Give up every connection; here each lives for one request."""


async def served(slots: asyncio.Semaphore, reader, writer) -> None:
    """Answer one frame; a connection without one is closed."""
    try:
        head = await reader.readexactly(LENGTH.size)
        frame = await reader.readexactly(LENGTH.unpack(head)[0])
        async with slots:
            await asyncio.sleep(0.002)
        writer.write(head + frame)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def main() -> None:
    """Serve, and measure what is served."""
    slots = asyncio.Semaphore(4)
    server = await asyncio.start_server(lambda *ends: served(slots, *ends), "127.0.0.1")
    host, port = server.sockets[0].getsockname()
    async with server:
        result = await djinnload.run(
            Path("frames.toml"), target=Frames(host, port), out=Path("results")
        )
    chat = result.summary["arms"]["default"]["all"]["chat"]
    print(f"{result.verdict['status']}: {result.path}")
    for reason in result.verdict["reasons"]:
        print(f"  {reason['code']}: {reason['message']}")
    print(
        f"{chat['ok']} of {chat['n']} answered, p50 {chat['latency_ms']['p50']:.1f} ms"
    )


if __name__ == "__main__":
    Path("frames.toml").write_text(SCENARIO, encoding="utf-8")
    asyncio.run(main())
