"""What the tests of the reference server share: a server in this process, ways to ask."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from djinnload.clock import monotonic_ns
from djinnload.server.app import serve
from djinnload.server.executor import Executor
from djinnload.server.settings import Settings
from djinnload.spi import (
    Call,
    Model,
    Proof,
    Reply,
    Request,
    TargetPlan,
    Tensor,
)
from djinnload.targets.djinn import Djinn
from djinnload.wire import djinn as wire
from djinnload.wire.djinn import HEADER, FrameReader

TESTS = Path(__file__).parent
FRAMES = TESTS / "fixtures" / "frames"
ECHO = Model("echo", "Echo", {}, "float32", 0)
SETTINGS = Settings(port=0, nice=0)
#: Generous: four tests at a time share two cores, and each child imports torch.
TIMEOUT_S = 240
PAYLOAD = Tensor("x", (2, 3), "float32", bytes(range(24)))


class RealClock:
    def now(self) -> int:
        return monotonic_ns()

    def at(self, due_ns: int, callback: Callable[[], None]) -> None:
        raise NotImplementedError


LOOP = {"use_uvloop": True}


@asynccontextmanager
async def serving(
    settings: Settings = SETTINGS, executor: Executor | None = None
) -> AsyncIterator[str]:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def on_ready(host: str, port: int) -> None:
        ready.set_result(f"{host}:{port}")

    async with anyio.create_task_group() as group:
        group.start_soon(partial(serve, settings, on_ready=on_ready, executor=executor))
        yield await ready
        group.cancel_scope.cancel()


async def opened(
    address: str, *models: Model, register: str = "weights"
) -> tuple[Djinn, Proof]:
    target = Djinn()
    plan = TargetPlan(address, models or (ECHO,), register, int(5e9))
    return target, await target.open(plan, RealClock())


def a_call(model: str = "echo", tensor: Tensor = PAYLOAD, **change: Any) -> Call:
    request = {"model": model, "inputs": {tensor.name: tensor}}
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


def submitted(target: Djinn, call: Call) -> "asyncio.Future[Reply]":
    found: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
    target.submit(call, found.set_result)
    return found


async def raw(address: str, data: bytes, *, half_close: bool = False) -> bytes:
    """Return everything that comes for *data* until the server closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    got = b""
    try:
        writer.write(data)
        if half_close:
            writer.write_eof()
        while more := await reader.read(2**16):
            got += more
    except ConnectionError:
        pass  # closed before all was read
    finally:
        writer.transport.abort()
    return got


async def asked(address: str, buffers: list[wire.Buffer]) -> wire.Frame:
    frame = FrameReader().feed(await raw(address, b"".join(buffers)))
    assert frame is not None
    return frame


async def registered(address: str, buffers: list[wire.Buffer]) -> dict[str, Any]:
    return wire.decode_v1((await asked(address, buffers)).payload)


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with anyio.fail_after(TIMEOUT_S):
            await main()

    anyio.run(bounded, backend_options=LOOP)


def ids(*tokens: int) -> Tensor:
    import numpy as np

    return Tensor.of("input_ids", np.array([tokens], dtype=np.int64))


def recomputed(model: Model, *tokens: int):
    import torch

    from djinnload.models import build

    with torch.inference_mode():
        found = build.build(model)(input_ids=torch.tensor([tokens]), use_cache=False)
    return found.logits.numpy()


class Slow(Executor):
    """Holds requests whose input is called ``tag`` until told to go on."""

    def __init__(self, settings: Settings, workers: int = 8) -> None:
        super().__init__(settings)
        self.workers = workers
        self.go = threading.Event()
        self.order: list[int] = []

    def answer(self, work):
        if work.inputs[0].name == "tag":
            self.order.append(work.inputs[0].data[0])
            assert self.go.wait(TIMEOUT_S)
        return super().answer(work)


def tag(number: int, **change: Any) -> Call:
    return a_call(
        tensor=Tensor("tag", (1,), "int64", bytes((number,)) + bytes(7)), **change
    )


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - a thread makes it true
        await anyio.sleep(0.002)


def frame_of(kind: int, payload: bytes) -> bytes:
    return HEADER.pack(kind, len(payload)) + payload
