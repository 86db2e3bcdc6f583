"""A server that dies while a cell runs: noticed, perhaps waited for, written down.

What the scenario's ``on_server_loss`` says decides: ``void`` ends the cell; ``wait``
brings our own server back once, and waits for one that is not ours; ``go_on`` only
looks when it is there again. Sessions keep their due times in all of them.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
from msgspec import Struct

from djinnload.boots.servers import Boot, revived
from djinnload.clock import monotonic_ns
from djinnload.errors import DjinnloadError, HostError
from djinnload.plan import CellPlan
from djinnload.reading.files import write_json
from djinnload.spi import Model
from djinnload.targets.exchange import host_and_port

__all__ = ("Gap", "Guard", "ends_run")

Document = dict[str, Any]

#: How often a server is looked at; a gap is known to as much.
LOOK_S = 0.1


class Gap(Struct):
    """When nothing answered, ns on the host's monotonic clock; None: to the end."""

    from_ns: int
    to_ns: int | None = None


class Guard:
    """Watches the server of a cell while that runs.

    Args:
        boot: The server.
        plan: Of the cell.
        models: That it has to know again when it is back.
        stop: Ends a wait once it is set.

    Attributes:
        gaps: In order.
        error: Why it is not waited for any longer.
    """

    def __init__(
        self,
        boot: Boot,
        plan: CellPlan,
        models: tuple[Model, ...],
        stop: anyio.Event | None = None,
    ) -> None:
        self.gaps: list[Gap] = []
        self.error: DjinnloadError | None = None
        self._boot = boot
        self._plan = plan
        self._models = models
        self._policy = _policy(plan)
        self._stop = stop
        self._waiting = False
        self._note: Callable[[], None] = lambda: None

    def alive(self) -> bool:
        """Return False if the cell is to end: its server is lost, for good."""
        if self._policy == "void":
            return self._boot.alive()
        return self.error is None

    async def over(
        self, drive: Callable[[], Awaitable[Document]], directory: Path, made: Document
    ) -> Document:
        """Return what *drive* returns, the manifest; watch until a wait is over.

        Args:
            drive: The whole cell.
            directory: Of the cell; its manifest is written at each loss.
            made: That manifest; gets ``gaps``, and ``error`` of a cell that was lost.
        """

        def note() -> None:
            made["gaps"] = msgspec.to_builtins(self.gaps)
            with suppress(OSError):  # the end of the cell says so
                write_json(directory / "manifest.json", made)

        made |= {"gaps": [], "on_server_loss": self._policy}
        self._note = note
        await self._watching(drive)
        if not self.alive():
            why = self.error or self._boot.ended(self._plan.cell.id)
            made |= {"complete": False, "error": str(why)}
            note()
        return made

    async def _watching(self, drive: Callable[[], Awaitable[Document]]) -> None:
        failed, stop = None, self._stop
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._watch)
            try:
                await drive()
                while self._waiting and not (stop and stop.is_set()):  # noqa: ASYNC110
                    await anyio.sleep(LOOK_S)
            except Exception as error:  # noqa: BLE001 - raised below, not in a group
                failed = error
            if not self._boot.alive() and (not self.gaps or self.gaps[-1].to_ns):
                self._begin()  # it ended the cell before it was looked at
            tasks.cancel_scope.cancel()
        if failed is not None:
            raise failed

    async def _watch(self) -> None:
        while self.error is None:
            if not self._boot.alive():
                await self._lost()
            await anyio.sleep(LOOK_S)

    def _begin(self) -> Gap:
        gap = Gap(self._boot.lost_ns())
        self.gaps.append(gap)
        self._note()
        return gap

    async def _lost(self) -> None:
        gap = self._begin()
        if self._policy == "void":
            await anyio.sleep_forever()
        if self._policy == "wait":
            await self._wait()
        else:
            while not await self._reachable():  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(LOOK_S)
        if self.error is None:
            gap.to_ns = monotonic_ns()
        self._note()
        self._waiting = False
        # A target knows that it is back by its next answer only.
        while not self._boot.alive() and await self._reachable():  # noqa: ASYNC110
            await anyio.sleep(LOOK_S)

    async def _wait(self) -> None:
        self._waiting = True
        try:
            await revived(self._boot, self._plan, self._models)
        except DjinnloadError as error:
            reason = f"{error}; what was measured until then is kept"
            self.error = HostError(
                f"the server was lost and did not come back: {reason}"
            )

    async def _reachable(self) -> bool:
        parts = host_and_port(self._boot.address)
        if parts is None:
            return self._boot.alive()
        try:
            async with await anyio.connect_tcp(*parts):
                return True
        except OSError:
            return False


def _policy(plan: CellPlan) -> str:
    """Return what the scenario says; a phase of calibration never outlives a loss."""
    if plan.cell.id.startswith("calibration/"):
        return "void"
    return plan.cell.scenario.scenario.on_server_loss


def ends_run(boot: Boot, plan: CellPlan, *, more: bool) -> bool:
    """Return whether a server that is gone after a cell ends the run.

    Args:
        boot: Of the cell.
        plan: Of the cell.
        more: Whether any cell is left.
    """
    if boot.alive():
        return False
    # A server elsewhere may come back; ours does if it is waited for.
    gone = boot.child is not None and more
    return _policy(plan) == "void" or (_policy(plan) == "go_on" and gone)
