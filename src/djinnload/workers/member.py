"""One worker of a run, as the run sees it: a process that is told, and heard."""

import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from djinnload.errors import HostError, LocalProtocolError
from djinnload.shard import Part
from djinnload.workers import messages
from djinnload.workers.messages import Count, Failed, Identity

__all__ = ("PATIENCE_S", "Member", "started")

#: How long a worker may take to end after its input has.
PATIENCE_S: Final = 3.0

T = TypeVar("T", bound=messages.Report)


class Member:
    """One worker.

    Attributes:
        identity: What it said of itself once it was set up.
        count: The newest.
    """

    def __init__(self, part: Part, process: anyio.abc.Process, log: Path) -> None:
        assert process.stdin is not None  # noqa: S101 - piped by default
        assert process.stdout is not None  # noqa: S101 - piped by default
        self.part = part
        self.name = f"worker {part.worker}"
        self.process = process
        self.identity: Identity
        self.count = Count(0, {}, alive=True)
        self._log = log
        self._told = process.stdin
        self._heard = BufferedByteReceiveStream(process.stdout)

    async def tell(self, order: messages.Order) -> None:
        """Send an order; one that is dead is noticed when it is heard."""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._told.send(messages.encode(order))

    async def hear(self) -> messages.Report:
        """Return what it says next.

        Raises:
            DjinnloadError: It failed.
            HostError: It is dead.
        """
        try:
            line = await self._heard.receive_until(b"\n", messages.LONGEST)
        except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
            raise await self._dead() from None
        report = messages.decode_report(line)
        if isinstance(report, Failed):
            raise report.fault.error()
        return report

    async def ask(self, order: messages.Order, kind: type[T]) -> T:
        """Send an order and return the answer; until then it may count."""
        await self.tell(order)
        while isinstance(report := await self.hear(), Count):
            self.count = report
        if not isinstance(report, kind):
            said = type(report).__name__
            raise LocalProtocolError(f"{self.name} said {said}, not {kind.__name__}")
        return report

    async def _dead(self) -> HostError:
        code = await self.process.wait()
        how = f"ended with exit code {code}"
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        log = f"; its log: {self._log}" if self._said_something() else ""
        return HostError(
            f"{self.name} (process {self.process.pid}) {how}, so its part of the load "
            f"is missing; what was measured is kept{log}"
        )

    def _said_something(self) -> bool:
        return self._log.exists() and self._log.stat().st_size > 0

    async def end(self) -> None:
        """Have it end: at once by itself, else it is killed."""
        with anyio.CancelScope(shield=True):
            await self._end()

    async def _end(self) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._told.aclose()
        with anyio.move_on_after(PATIENCE_S):
            await self.process.wait()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.aclose()
        if not self._said_something():
            self._log.unlink(missing_ok=True)


async def started(part: Part, log: Path) -> Member:
    """Start a worker; what it and its plugins print goes to *log*."""
    with log.open("ab") as said:
        # A group of its own: Ctrl-C at the terminal is ours to handle.
        process = await anyio.open_process(
            [sys.executable, "-m", "djinnload.workers.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,
        )
    return Member(part, process, log)
