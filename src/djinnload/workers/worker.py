"""One of the processes that share a run's load: ``python -m djinnload.workers.worker``.

Does what it is told, a line at a time (`workers.messages`); the other side is
`workers.crew`. It plans by itself, opens a target of its own, drives its part of each
schedule and writes files of its own. When its input ends, whoever started it is gone:
it interrupts what runs, and ends.
"""

import asyncio  # noqa: TID251 - the pipes to the run are the loop's
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from djinnload import manifest, verify
from djinnload.boots import servers as boots
from djinnload.cell import Conditions, Watch, drive
from djinnload.errors import DjinnloadError, HostError, LocalProtocolError
from djinnload.recording import link
from djinnload.recording.recorder import write_json
from djinnload.shard import Fault, Part
from djinnload.spi import CallbackTarget
from djinnload.workers import messages
from djinnload.workers.jobs import Planner
from djinnload.workers.messages import (
    Begin,
    Close,
    Identity,
    Open,
    Order,
    Prepare,
    Report,
    Setup,
)

__all__ = ("Worker", "main")

#: After the input has ended, what runs has so long to be written down.
PATIENCE_S = 1.0


class Worker:
    """Carries out orders.

    Args:
        orders: In the order in which they came, without `messages.Stop`.
        say: Sends a report; never blocks.
        stop: Set when the run is interrupted, or gone.
    """

    def __init__(
        self,
        orders: MemoryObjectReceiveStream[Order],
        say: Callable[[Report], None],
        stop: anyio.Event,
    ) -> None:
        self._orders = orders
        self._say = say
        self._stop = stop
        self._opened: dict[str, AsyncExitStack] = {}
        self._targets: dict[str, CallbackTarget] = {}
        self._planner: Planner
        self._part = Part()
        self._identity: Identity

    async def work(self) -> None:
        """Carry out one order after the other, until there are no more."""
        async with self._orders, AsyncExitStack() as left:
            async for order in self._orders:
                self._say(await self._answer(order, left))

    async def _answer(self, order: Order, left: AsyncExitStack) -> Report:
        try:
            return await self._obey(order, left)
        except DjinnloadError as error:
            return messages.Failed(Fault.of(error))
        except Exception as error:  # noqa: BLE001 - the run must learn of any
            traceback.print_exc()
            what = f"worker {self._part.worker} failed, {type(error).__name__}"
            return messages.Failed(Fault("HostError", (f"{what}: {error}",)))

    async def _obey(self, order: Order, left: AsyncExitStack) -> Report:
        match order:
            case Setup():
                return self._set_up(order)
            case Open():
                return await self._open(order, left)
            case Close():
                await self._opened.pop(order.boot).aclose()
                return messages.Closed()
            case Prepare():
                return await self._run(order)
            case _:
                raise LocalProtocolError(f"{type(order).__name__} came out of turn")

    def _set_up(self, order: Setup) -> Identity:
        sys.path[:] = order.sys_path
        if order.cores is not None:
            # Who writes may use any core: ours is the generator's, who may poll on it.
            link.shared()
            # Threads that are made from here on take after this one.
            os.sched_setaffinity(0, order.cores)
        self._part = order.part
        self._planner = Planner(order.scenario(), order.arms)
        _ = self._planner.first  # plugins are imported and workloads built now
        where = manifest.anchor()
        self._identity = Identity(
            pid=os.getpid(),
            cores=tuple(sorted(os.sched_getaffinity(0))),
            boot_id=where["boot_id"],
            time_namespace=where["time_namespace"],
        )
        return self._identity

    async def _open(self, order: Open, left: AsyncExitStack) -> messages.Opened:
        plan = self._planner.first[order.arm]
        models = self._planner.workshop.models
        # Closed when told to, else at the end.
        opened = await left.enter_async_context(AsyncExitStack())
        target, proof = await opened.enter_async_context(
            boots.driving(plan, models, order.address, order.register)
        )
        self._opened[order.boot] = opened
        self._targets[order.boot] = target
        return messages.Opened(proof, bool(getattr(target, "streams", False)))

    async def _run(self, order: Prepare) -> messages.Ended:
        plan, directory = self._planner.plan(order.job), Path(order.directory)
        policy = plan.cell.scenario.scenario.on_server_loss
        stops = policy == "void" or bool(order.job.calibration)

        def alive() -> bool:
            return boots.answers(self._targets[order.boot])

        conditions = Conditions(
            target=self._targets[order.boot],
            prefix=order.prefix,
            early_ns=order.early_ns,
            stop=self._stop,
            # Else the run decides how long it waits.
            alive=alive if stops else lambda: True,
            part=self._part,
        )
        wanted = plan.cell.scenario.verify
        keeper = None
        if not order.job.calibration:
            budget = self._part.of(verify.BUDGET_BYTES)
            keeper = verify.Reservoir.of(plan.cell.seed, wanted, plan.target, budget)
        self._sign(directory)
        shard = await drive(
            plan,
            directory,
            conditions,
            self._agree,
            keeper=keeper,
            on_tick=lambda watch: self._count(watch, alive=alive()),
        )
        if keeper is not None:
            verify.hand_over(directory, self._part.worker, keeper.kept)
        return messages.Ended(shard)

    def _sign(self, directory: Path) -> None:
        """Write down whose clock the times of this part are on."""
        path = directory / f"worker-{self._part.worker}.json"
        write_json(path, self._identity.signed(self._part))

    async def _agree(self) -> int:
        """Say that everything is open; return the begin that all agree on."""
        self._say(messages.Prepared())
        try:
            order = await self._orders.receive()
        except anyio.EndOfStream:
            raise HostError("the run was over before it began") from None
        if not isinstance(order, Begin):
            raise LocalProtocolError(f"{type(order).__name__} came, not Begin")
        return order.begin_ns

    def _count(self, watch: Watch, *, alive: bool) -> None:
        self._say(
            messages.Count(
                watch.in_flight,
                dict(watch.populations),
                alive,
                dict(watch.started),
                dict(watch.readings),
            )
        )


async def _listen(
    lines: asyncio.StreamReader,
    orders: MemoryObjectSendStream[Order],
    stop: anyio.Event,
    tasks: anyio.CancelScope,
) -> None:
    while line := await lines.readline():
        order = messages.decode_order(line)
        if isinstance(order, messages.Stop):
            stop.set()
        else:
            await orders.send(order)
    stop.set()
    orders.close()
    await anyio.sleep(PATIENCE_S)
    tasks.cancel()


async def _serve(output: int) -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=messages.LONGEST)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer
    )
    pipe, _ = await loop.connect_write_pipe(
        asyncio.BaseProtocol, os.fdopen(output, "wb")
    )
    stop = anyio.Event()
    send, receive = anyio.create_memory_object_stream[Order](16)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_listen, lines, send, stop, tasks.cancel_scope)
        worker = Worker(
            receive, lambda report: pipe.write(messages.encode(report)), stop
        )
        await worker.work()
        tasks.cancel_scope.cancel()


def main() -> None:
    """Be a worker, until the input ends."""
    # Reports have a pipe of their own: what a plugin prints goes to the log.
    output = os.dup(1)
    os.dup2(2, 1)
    anyio.run(_serve, output, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
