"""Servers that a scenario's own command starts: ready once *they* own the port.

The command runs in a session of its own, so that what it started is known: only that is
ever signalled, never a process by its name.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

import anyio
import anyio.abc
from msgspec import Struct

from djinnload.boots.child import PATIENCE_S, Child, keep_to, tail
from djinnload.boots.network import Link
from djinnload.errors import HostError, ScenarioError

__all__ = ("HOST", "Command", "free_port", "launched", "missing")

HOST = "127.0.0.1"
_LOOK_S = 0.05
#: Becomes the command, once the kernel knows to end it with us, whatever ends us.
_BOUND = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != int(sys.argv[1]):
    sys.exit("djinnload has ended")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Command(Struct, frozen=True):
    """What is started, every placeholder filled in.

    Attributes:
        env: Added to ours.
        cwd: None: ours.
        port: That it has to listen on.
        metrics_port: Of its diagnostics, if it was told one.
        ready_s: Until it must listen.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None
    port: int
    metrics_port: int | None
    ready_s: float


def free_port() -> int:
    """Return a port on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def launched(
    command: Command,
    log: Path,
    *,
    cores: Collection[int] | None = None,
    link: Link | None = None,
) -> AsyncIterator[Child]:
    """Run *command* until it listens; end it, and all that it started, at the end.

    Args:
        command: Stays in the foreground.
        log: Gets its output; created, with its folder.
        cores: That it has to keep to; None: any.
        link: The network that it lives in; None: it listens on loopback.

    Raises:
        ScenarioError: There is no such command or directory.
        HostError: It cannot be started, it ended, or did not listen in time, or another
            process has the port; quotes its log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)

    async def start() -> anyio.abc.Process:
        with log.open("ab") as out:
            process = await _open(command, out, link)
        try:
            keep_to(process, cores)
            await _listening(process, command, log, link)
        except BaseException:
            await _ended(process)
            raise
        return process

    async def again(old: anyio.abc.Process) -> anyio.abc.Process:
        await _ended(old)
        return await start()

    n = len(cores or os.sched_getaffinity(0))
    address = f"{HOST if link is None else link.address}:{command.port}"
    name, metrics = "the launched server", command.metrics_port
    child = Child(await start(), address, log, n, name, metrics, again)
    try:
        yield child
    finally:
        await _ended(child.process)


def missing(word: str, env: Mapping[str, str], cwd: str | None) -> str:
    """Return what is missing to start *word*, with its place; empty: nothing is."""
    if cwd is not None and not Path(cwd).is_dir():
        return f"target.launch.cwd: there is no directory {cwd!r}"
    # A path is looked up from where the server will run.
    there = str(Path(cwd or ".") / word) if "/" in word else word
    if shutil.which(there, path=env.get("PATH")) is None:
        return f"target.launch.command: there is no command {word!r}"
    return ""


async def _open(
    command: Command, out: IO[bytes], link: Link | None
) -> anyio.abc.Process:
    if reason := missing(command.argv[0], command.env, command.cwd):
        place, _, what = reason.partition(": ")
        hint = "give a path, a command on PATH, or {python}"
        raise ScenarioError(f"$.{place}", f"{what}; {hint}")
    argv = command.argv if link is None else link.entered(command.argv)
    if sys.platform == "linux":
        argv = (sys.executable, "-I", "-c", _BOUND, str(os.getpid()), *argv)
    try:
        return await anyio.open_process(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **command.env},
            cwd=command.cwd,
            start_new_session=True,
        )
    except OSError as error:
        reason = f"cannot start {command.argv[0]!r}: {error.strerror or error}"
        raise HostError(reason) from error


async def _listening(
    process: anyio.abc.Process, command: Command, log: Path, link: Link | None
) -> None:
    """Return once a process of ours listens on the port."""
    port = command.port
    with anyio.move_on_after(command.ready_s):
        while process.returncode is None:
            # In a namespace of our own whatever listens there is ours.
            if link is not None and await _answers(link.address, port):
                return
            if link is None and await _owned(process, port, log):
                return
            await anyio.sleep(_LOOK_S)
        raise _failed(f"ended with exit code {process.returncode}", log)
    if link is None:
        elsewhere = await anyio.to_thread.run_sync(_ports_of, process.pid)
        where, on = f"port {port}", ", ".join(map(str, elsewhere))
        hint = f"it listens on {on}" if on else ""
    else:
        where = f"{link.address}:{port}"
        hint = "in a network it has to listen on {host}, or on 0.0.0.0"
    reason = f"does not listen on {where} within {command.ready_s:g} s"
    raise _failed("; ".join(filter(None, (reason, hint))), log)


async def _owned(process: anyio.abc.Process, port: int, log: Path) -> bool:
    """Return whether *process*, or what it started, listens on the port.

    Raises:
        HostError: Another process does.
    """
    holders = await anyio.to_thread.run_sync(_holders, port)
    if holders == {None}:
        # Processes are looked through before sockets: one that began to listen in
        # between is nobody's, the first time.
        holders = await anyio.to_thread.run_sync(_holders, port)
    if any(pid and _started_by(process.pid, pid) for pid in holders):
        return True
    if holders:
        who = ", ".join(sorted({_named(pid) for pid in holders}))
        reason = f"does not own port {port}, {who} does"
        raise _failed(f"{reason}; it was free a moment ago: run again", log)
    return False


async def _answers(host: str, port: int) -> bool:
    """Return whether anything listens there; in a namespace of ours that is ours."""
    try:
        async with await anyio.connect_tcp(host, port):
            return True
    except OSError:
        return False


def _failed(reason: str, log: Path) -> HostError:
    text = tail(log)
    said = f"; its log {log}:\n{text}" if text else f"; its log {log} is empty"
    return HostError(f"the launched server {reason}{said}")


def _holders(port: int) -> set[int | None]:
    """Return the processes that listen on *port*; None: one that we may not see."""
    return {pid for pid, on in _listeners() if on == port}


def _ports_of(root: int) -> list[int]:
    """Return the ports on which *root*, or what it started, listens."""
    return sorted({on for pid, on in _listeners() if pid and _started_by(root, pid)})


def _listeners() -> list[tuple[int | None, int]]:
    """Return process and port of each listening TCP socket of this host."""
    import psutil

    return [
        (each.pid, each.laddr[1])
        for each in psutil.net_connections(kind="tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr
    ]


def _started_by(root: int, pid: int) -> bool:
    """Return whether *pid* is of the session that *root* leads, or below it."""
    import psutil

    with suppress(OSError):
        if os.getsid(pid) == root:
            return True
    with suppress(psutil.Error):
        return any(above.pid == root for above in psutil.Process(pid).parents())
    return False


def _named(pid: int | None) -> str:
    import psutil

    if pid is None:
        return "a process of another user"
    with suppress(psutil.Error):
        return f"{psutil.Process(pid).name()} (process {pid})"
    return f"process {pid}"


async def _ended(process: anyio.abc.Process) -> None:
    """End the whole group, whatever ends us: SIGTERM, then SIGKILL to what is left."""
    with anyio.CancelScope(shield=True):
        await _end(process)


async def _end(process: anyio.abc.Process) -> None:
    _signal(process.pid, signal.SIGTERM)
    with anyio.move_on_after(PATIENCE_S):
        # The leader first: until it is waited for, the group is there.
        await process.wait()
        while _signal(process.pid, 0):  # noqa: ASYNC110 - nobody tells
            await anyio.sleep(_LOOK_S)
    if _signal(process.pid, signal.SIGKILL):
        await process.wait()
    await process.aclose()


def _signal(group: int, number: int) -> bool:
    """Signal a group; return whether there was any."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True
