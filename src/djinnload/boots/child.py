"""Server processes that a run starts: booted, watched, and ended with the run.

Only what was started here is ever stopped. A child that prints its ready line is asked
which port it took; it dies with us, whatever kills us (`server` watches its parent).
"""

import math
import os
import signal
import subprocess
import sys
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, Any

import anyio
import anyio.abc
import msgspec
from msgspec import Struct

from djinnload.boots.network import Link
from djinnload.clock import monotonic_ns
from djinnload.errors import HostError

__all__ = ("EMBEDDED", "PATIENCE_S", "Child", "embedded", "keep_to", "tail")

#: Name of the server that is part of this package.
EMBEDDED = "the reference server"

#: How long a server may take to end after SIGTERM before it is killed.
PATIENCE_S = 5.0
#: Over how long a server's CPU time is looked at, and the share of a core that is idle.
_LOOK_S = 0.1
_IDLE_SHARE = 0.25


class Child(Struct):
    """A server process of ours.

    Attributes:
        address: ``host:port`` that it listens on.
        log: Where its output goes.
        cores: How many it may use.
        name: What messages call it.
        metrics_port: Of its diagnostics; None: it was told none.
        again: Ends what is left of a process, and starts another like it.
        restarted: Whether it was started once more.
    """

    process: anyio.abc.Process
    address: str
    log: Path
    cores: int = 1
    name: str = EMBEDDED
    metrics_port: int | None = None
    again: Callable[[anyio.abc.Process], Awaitable[anyio.abc.Process]] | None = None
    restarted: bool = False

    async def restart(self) -> None:
        """Start it once more, at the same address, with the same settings.

        Raises:
            HostError: It does not start, or was started again before.
        """
        assert self.again is not None  # noqa: S101 - whoever made it says how
        if self.restarted:
            raise HostError(
                f"{self.name} has ended a second time, it is started again once only; "
                f"its log {self.log}:\n{tail(self.log)}"
            )
        self.restarted = True
        self.process = await self.again(self.process)

    @property
    def alive(self) -> bool:
        """Return whether the process is running."""
        return self.process.returncode is None

    @property
    def nice(self) -> int | None:
        """Return how nice it is; None: it has ended."""
        with suppress(ProcessLookupError):
            return os.getpriority(os.PRIO_PROCESS, self.process.pid)
        return None

    async def idle(self, limit_s: float) -> bool:
        """Wait until it uses next to no CPU; return False if it still does at the end.

        A forward keeps a core busy, on a GPU too: its thread polls for the end. What it
        has started counts: a command may only be the wrapper of a server.
        """
        with anyio.move_on_after(limit_s):
            used, since = _cpu_s(self.process.pid), monotonic_ns()
            while used is not None:
                await anyio.sleep(_LOOK_S)
                now, at = _cpu_s(self.process.pid), monotonic_ns()
                if now is not None and now - used < _IDLE_SHARE * (at - since) / 1e9:
                    return True
                used, since = now, at
        return not self.alive


def _cpu_s(pid: int) -> float | None:
    """Return the CPU time of a process and all below it; None: it has ended."""
    import psutil

    try:
        root = psutil.Process(pid)
        every = [root.cpu_times(), *(_times(p) for p in root.children(recursive=True))]
    except psutil.Error:
        return None
    return math.fsum(each.user + each.system for each in every if each is not None)


def _times(process: Any) -> Any:
    import psutil

    with suppress(psutil.Error):  # it has just ended
        return process.cpu_times()
    return None


class _Ready(Struct):
    host: str
    port: int


class _ReadyLine(Struct):
    ready: _Ready


@asynccontextmanager
async def embedded(
    environment: Mapping[str, str],
    log: Path,
    *,
    ready_s: float,
    cores: Collection[int] | None = None,
    link: Link | None = None,
) -> AsyncIterator[Child]:
    """Run the reference server as a child on a free loopback port.

    Args:
        environment: Its settings; added to ours.
        log: Gets its stderr; created, with its folder.
        ready_s: How long it may take until it listens.
        cores: That it has to keep to; None: any.
        link: The network that it lives in; None: loopback.

    Raises:
        HostError: It ended, or said nothing, before it was ready; quotes its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    at = () if link is None else ("--host", link.address)

    async def start(port: int) -> tuple[anyio.abc.Process, _Ready]:
        words = ("serve", "--port", str(port), *at, "--exit-with-parent")
        argv = (sys.executable, "-m", "djinnload", *words)
        argv = argv if link is None else link.entered(argv)
        with log.open("ab") as out:
            process = await _open(argv, environment, out)
        try:
            keep_to(process, cores)
            return process, await _ready(process, log, ready_s)
        except BaseException:
            # It has served nobody, and is not asked to end while it loads a model.
            with suppress(ProcessLookupError):
                process.kill()
            await _ended(process)
            raise

    async def again(old: anyio.abc.Process) -> anyio.abc.Process:
        await _ended(old)
        return (await start(ready.port))[0]

    process, ready = await start(0)
    n = len(cores or os.sched_getaffinity(0))
    metrics = int(environment.get("GENIE_METRICS_PORT", "0")) or None
    address = f"{ready.host}:{ready.port}"
    child = Child(process, address, log, n, EMBEDDED, metrics, again)
    try:
        yield child
    finally:
        await _ended(child.process)


async def _open(
    argv: Sequence[str], environment: Mapping[str, str], out: IO[bytes]
) -> anyio.abc.Process:
    # A group of its own: Ctrl-C at the terminal is ours to handle, not the server's.
    return await anyio.open_process(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=out,
        env={**os.environ, **environment},
        start_new_session=True,
    )


async def _ready(process: anyio.abc.Process, log: Path, ready_s: float) -> _Ready:
    line = b""
    with anyio.move_on_after(ready_s):
        assert process.stdout is not None  # noqa: S101 - we asked for a pipe
        async for chunk in process.stdout:
            line += chunk
            if b"\n" in line:
                return msgspec.json.decode(line.split(b"\n")[0], type=_ReadyLine).ready
        code = await process.wait()
        reason = f"ended with exit code {code} before it was ready"
        raise HostError(f"the reference server {reason}; its log {log}:\n{tail(log)}")
    reason = f"was not ready within {ready_s:g} s"
    raise HostError(f"the reference server {reason}; its log {log}:\n{tail(log)}")


def keep_to(process: anyio.abc.Process, cores: Collection[int] | None) -> None:
    """Keep *process* to *cores*; None: it may use any.

    Before it has made any thread: those take after the first.
    """
    if cores is not None:
        with suppress(ProcessLookupError):
            os.sched_setaffinity(process.pid, cores)


async def _ended(process: anyio.abc.Process) -> None:
    """End it, whatever it is that ends us."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with anyio.move_on_after(PATIENCE_S):
                await process.wait()
        if process.returncode is None:
            process.kill()
        await process.aclose()


def tail(log: Path, lines: int = 12) -> str:
    """Return the last *lines* of a log, indented; empty if there is none."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])
