"""The same model without a network: PyTorch in a child process, asked by a pipe."""

import asyncio  # noqa: TID251 - talks to a child process
import os
import sys
from contextlib import suppress

import msgspec
from msgspec import Struct

from djinnload.errors import ConnectionLost, Refused
from djinnload.models.assets import BUILT_IN
from djinnload.models.native import LENGTH, Asked, Ready, Said, Setup
from djinnload.models.replay import Plain
from djinnload.spi import (
    Call,
    Clock,
    Evidence,
    Outcome,
    Proof,
    Reply,
    TargetPlan,
    Tensor,
)
from djinnload.targets.shipping import in_session

__all__ = ("Local", "LocalOptions")

_END_S = 5.0
#: What it does, in the words of behaviours: nothing travels, one request at a time.
_DOES = {
    "weights": "resident",
    "state": "session",
    "result": "needed",
    "plan": "cached",
    "phases": "none",
}


class LocalOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the child runs, by default as the embedded server does.

    Attributes:
        threads: CPU threads; 0: all cores but one.
        nice: Niceness.
        device: ``cpu``, ``cuda`` …
    """

    threads: int = 0
    nice: int = 19
    device: str = "cpu"


class Local:
    """Answers from a child process (`djinnload.spi.AsyncTarget`); no byte is sent."""

    Options: type[Struct] = LocalOptions
    streams = False

    def __init__(self, options: LocalOptions | None = None) -> None:
        self._options = options or LocalOptions()
        self._waiting: dict[int, asyncio.Future[Said]] = {}
        self._number = 0
        self._reader: asyncio.Task[None] | None = None

    async def open(self, plan: TargetPlan, clock: Clock) -> Proof:
        """See `djinnload.spi.Target`."""
        options = self._options
        self._child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "djinnload.models.native",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            # A group of its own: a signal to ours is the run's to handle.
            start_new_session=True,
        )
        real = tuple(model for model in plan.models if model.name not in BUILT_IN)
        threads = options.threads or max(1, len(os.sched_getaffinity(0)) - 1)
        try:
            self._send(Setup(real, options.device, threads, options.nice))
            ready = msgspec.msgpack.decode(await self._receive(), type=Ready)
        except BaseException:
            # Cancelled while it builds, say; uvloop does not close before it has ended.
            with suppress(ProcessLookupError):
                self._child.kill()
            raise
        if ready.error:
            await self.aclose()
            raise Refused(f"the local copy cannot be built: {ready.error}")
        self._reader = asyncio.create_task(self._read())
        did: dict[str, object] = {**_DOES, "weights_sha256": ready.weights}
        evidence = {name: Evidence("echoed", value) for name, value in did.items()}
        return Proof(f"PyTorch on {options.device}, {threads} threads", evidence)

    async def exchange(self, call: Call) -> Reply:
        """See `djinnload.spi.AsyncTarget`."""
        request, kept = call.request, in_session(call)
        self._number += 1
        asked = Asked(
            number=self._number,
            model=request.model,
            inputs=tuple(_plain(name, t) for name, t in request.inputs.items()),
            session=f"{call.session_id}/{request.state}" if kept else "",
            continues=kept and request.step == "decode",
            last=request.last,
            needs=request.needs,
        )
        answer: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        self._waiting[asked.number] = answer
        alone = len(self._waiting) == 1
        try:
            self._send(asked)
            said = await answer
        finally:
            self._waiting.pop(asked.number, None)
        if said.error:
            return Reply(Outcome.ERROR, error=said.error)
        metrics = {
            "exec_ns": float(said.done_ns - said.begun_ns),
            "reused_tokens": float(said.reused),
        }
        if alone:  # else it has waited, and nobody says how long
            metrics["queue_ns"] = 0.0
        outputs = {
            p.name: Tensor(p.name, p.shape, p.dtype, p.data) for p in said.outputs
        }
        return Reply(Outcome.OK, outputs, metrics)

    def lost(self) -> bool:
        """Return whether the child has ended."""
        return self._child.returncode is not None

    async def aclose(self) -> None:
        """See `djinnload.spi.Target`."""
        if self._reader is not None:
            self._reader.cancel()
        assert self._child.stdin is not None  # noqa: S101 - opened with pipes
        self._child.stdin.close()
        try:
            async with asyncio.timeout(_END_S):
                await self._child.wait()
        except TimeoutError:  # it is in the middle of a forward, which nobody wants
            self._child.kill()
            await self._child.wait()

    def _send(self, message: Struct) -> None:
        assert self._child.stdin is not None  # noqa: S101 - opened with pipes
        payload = msgspec.msgpack.encode(message)
        self._child.stdin.write(LENGTH.pack(len(payload)) + payload)

    async def _receive(self) -> bytes:
        assert self._child.stdout is not None  # noqa: S101 - opened with pipes
        try:
            header = await self._child.stdout.readexactly(LENGTH.size)
            return await self._child.stdout.readexactly(*LENGTH.unpack(header))
        except asyncio.IncompleteReadError as error:
            raise ConnectionLost("the process of the local copy has ended") from error

    async def _read(self) -> None:
        decoder = msgspec.msgpack.Decoder(Said)
        try:
            while True:
                said = decoder.decode(await self._receive())
                answer = self._waiting.get(said.number)
                if answer is not None and not answer.done():
                    answer.set_result(said)
        except ConnectionLost as error:
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(error)


def _plain(name: str, tensor: Tensor) -> Plain:
    return Plain(name, tensor.shape, tensor.dtype, bytes(tensor.data))
