"""A network of given rate, delay and loss between a run and a server of its own.

The server lives in a network namespace that is made for it, at the other end of a pair
of virtual interfaces; the kernel's queueing disciplines do what is asked, each way.
What this machine may not, or cannot do is refused: nothing here ever sleeps instead.
"""

import itertools
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
from msgspec import Struct

from djinnload.clock import monotonic_ns
from djinnload.errors import HostError, ScenarioError
from djinnload.scenarios.load import Scenario
from djinnload.scenarios.network import Network, said

__all__ = ("Link", "linked", "measured", "refusal", "refusals", "refuse", "swept")

_TOOLS = ("ip", "tc", "nsenter")
#: Bits of /proc/self/status CapEff: to set interfaces up, and to enter namespaces.
_CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}
_NAMESPACES = Path("/run/netns")
_NAME = re.compile(r"djinnload-(\d+)-(\d+)-(\d+|probe)")
#: The addresses set aside for benchmarks (RFC 2544), four for each link.
_FIRST = 198 << 24 | 18 << 16
_LINKS = 2**15
#: What a pure rate lets through at once: a timer may be so late.
_BURST_S = 0.000_2
_LEAST_BURST = 4096
#: More than TCP has under way: nothing is lost that was not asked to be.
_QUEUE_BYTES = 256 * 2**20
_QUEUE_PACKETS = 100_000
_EXCHANGES = 21
_PATIENCE_S = 10.0
_RESET = struct.pack("ii", 1, 0)
_NUMBERS = itertools.count()


class Link(Struct, frozen=True):
    """A namespace, and the way to it.

    Attributes:
        namespace: Its name for ``ip netns``.
        device: Our end.
        host: Our address.
        address: The server's.
    """

    namespace: str
    device: str
    host: str
    address: str

    def entered(self, argv: Sequence[str]) -> tuple[str, ...]:
        """Return *argv* as it runs in the namespace, as the same process."""
        return ("nsenter", f"--net={_NAMESPACES / self.namespace}", "--", *argv)


def refuse(scenarios: Iterable[Scenario]) -> None:
    """Raise ScenarioError if one of *scenarios* wants a network that cannot be had."""
    for reason in refusals(scenarios):
        raise ScenarioError("$.target.network", reason)


def refusals(scenarios: Iterable[Scenario]) -> list[str]:
    """Return why the networks of *scenarios* cannot be had; empty: all can."""
    wanted = [each.target.network for each in scenarios if each.target.network]
    return list(filter(None, map(refusal, dict.fromkeys(wanted))))


def refusal(network: Network) -> str:
    """Return why *network* cannot be had here, and what to do; empty: it can.

    Sets it up in a namespace of its own, which is gone when this returns.
    """
    if sys.platform != "linux":
        return "needs Linux's network namespaces; leave it out here"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        listed = ", ".join(missing)
        return f"needs {listed} on PATH; install iproute2 and util-linux"
    if lacking := _lacking():
        return f"needs {lacking}; run as root, or leave it out"
    try:
        with _namespace(_own("probe")) as name:
            _shape(network, "lo", namespace=name)
    except HostError as error:
        return f"{error}; {_advice(network)}"
    return ""


def _lacking() -> str:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return " and ".join(
        name for bit, name in _CAPABILITIES.items() if not effective >> bit & 1
    )


def _advice(network: Network) -> str:
    if network.delay is None and network.loss is None:
        return "use a kernel with sch_tbf, or leave network out"
    rest = "leave delay and loss out (a rate alone needs sch_tbf), or network"
    return f"delay and loss need a kernel with sch_netem: modprobe sch_netem, or {rest}"


@asynccontextmanager
async def linked(network: Network) -> AsyncIterator[Link]:
    """Make a namespace with *network* between it and us; remove both at the end.

    What a killed run has left of its own is removed too.

    Raises:
        HostError: The kernel refuses; says what.
    """
    making = _linked(network)
    link = await anyio.to_thread.run_sync(making.__enter__)
    try:
        yield link
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(making.__exit__, None, None, None)


@contextmanager
def _linked(network: Network) -> Iterator[Link]:
    swept()
    number = next(_NUMBERS)
    device = f"djl{os.getpid()}x{number}"
    host, address = _addresses(number)
    with _namespace(_own(str(number))) as name:
        link = Link(name, device, host, address)
        try:
            _joined(link, network)
            yield link
        finally:
            with suppress(HostError):  # it goes with the namespace otherwise
                _call("ip", "link", "delete", device)


def _joined(link: Link, network: Network) -> None:
    name, inside = link.namespace, "server"
    peer = ("type", "veth", "peer", "name", inside, "netns", name)
    _call("ip", "link", "add", link.device, *peer)
    ends = (("", link.device, link.host), (name, inside, link.address))
    for namespace, device, address in ends:
        at = ("-n", namespace) if namespace else ()
        _call("ip", *at, "address", "add", f"{address}/30", "dev", device)
        if network.loss is not None:
            # Else 64 KiB at once would be lost, or not, together.
            _call("ip", *at, "link", "set", device, "gso_max_segs", "1")
        _call("ip", *at, "link", "set", device, "up")
        _shape(network, device, namespace=namespace)


def _shape(network: Network, device: str, *, namespace: str) -> None:
    at = ("-n", namespace) if namespace else ()
    words = _discipline(network)
    _call("tc", *at, "qdisc", "add", "dev", device, "root", *words)


def _discipline(network: Network) -> tuple[str, ...]:
    """Return *network*, one way, in the words of tc."""
    rate: tuple[str, ...] = ()
    if network.rate is not None:
        rate = ("rate", f"{round(network.rate * 8)}bit")
    if network.delay is None and network.loss is None:
        burst = max(_LEAST_BURST, round((network.rate or 0) * _BURST_S))
        return ("tbf", *rate, "burst", str(burst), "limit", str(_QUEUE_BYTES))
    delay = () if network.delay is None else ("delay", f"{network.delay / 1e3:.3f}us")
    loss = () if network.loss is None else ("loss", f"{100 * network.loss:.6f}%")
    return ("netem", "limit", str(_QUEUE_PACKETS), *delay, *loss, *rate)


@contextmanager
def _namespace(name: str) -> Iterator[str]:
    _call("ip", "netns", "add", name)
    try:
        _call("ip", "-n", name, "link", "set", "lo", "up")
        yield name
    finally:
        with suppress(HostError):
            _call("ip", "netns", "delete", name)


def _own(what: str) -> str:
    """Return the name of a namespace of this process: which one it is, and *what*."""
    return f"djinnload-{os.getpid()}-{_started(os.getpid())}-{what}"


def _started(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; empty: there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def swept() -> list[str]:
    """Remove what runs that were killed have left; return the namespaces."""
    found = []
    for path in sorted(_NAMESPACES.glob("djinnload-*")):
        name = re.fullmatch(_NAME, path.name)
        if name is None or _started(int(name[1])) == name[2]:
            continue
        for words in (
            ("link", "delete", f"djl{name[1]}x{name[3]}"),
            ("netns", "delete", path.name),
        ):
            with suppress(HostError):  # another run may have been faster
                _call("ip", *words)
        found.append(path.name)
    return found


def _addresses(number: int) -> tuple[str, str]:
    """Return our address and the server's: of a network that nobody here is in."""
    taken = _call("ip", "-4", "-o", "address")
    first = os.getpid() * 8 + number
    for i in range(_LINKS):
        base = _FIRST + (first + i) % _LINKS * 4
        host, server = (socket.inet_ntoa((base + k).to_bytes(4, "big")) for k in (1, 2))
        if f" {host}/" not in taken and f" {server}/" not in taken:
            return host, server
    raise HostError("every network of 198.18.0.0/15 is in use here")


def _call(*argv: str) -> str:
    """Run a command of iproute2; return what it prints.

    Raises:
        HostError: It failed; says what it said.
    """
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostError(f"{argv[0]} failed: {error}") from error
    if done.returncode:
        said = " ".join(done.stderr.split()).rstrip(".") or f"exit {done.returncode}"
        raise HostError(f"this kernel refuses {' '.join(argv)!r}: {said}")
    return done.stdout


async def measured(link: Link, network: Network, port: int) -> dict[str, Any]:
    """Return what was set and what it came to, for a manifest.

    ``rtt_us`` is of tiny exchanges with the server: connections made one after the
    other, which take one round trip each; ``qdisc`` what the kernel says of each end.

    Args:
        link: As it was made.
        network: What was asked for.
        port: That the server listens on.

    Raises:
        HostError: The server cannot be reached.
    """
    return await anyio.to_thread.run_sync(_measured, link, network, port)


def _measured(link: Link, network: Network, port: int) -> dict[str, Any]:
    took = sorted(_connect_ns(link.address, port) for _ in range(_EXCHANGES))
    inside = ("-n", link.namespace, "qdisc", "show", "dev", "server")
    return {
        "said": said(network),
        "rate_bytes_per_s": network.rate,
        "delay_ns": network.delay,
        "loss": network.loss,
        "namespace": link.namespace,
        "address": link.address,
        "qdisc": {
            "sent": _call("tc", "qdisc", "show", "dev", link.device).strip(),
            "received": _call("tc", *inside).strip(),
        },
        "rtt_us": {
            "n": len(took),
            "min": took[0] / 1e3,
            "median": statistics.median(took) / 1e3,
            "max": took[-1] / 1e3,
        },
    }


def _connect_ns(address: str, port: int) -> int:
    began = monotonic_ns()
    try:
        with socket.create_connection((address, port), _PATIENCE_S) as made:
            took = monotonic_ns() - began
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    except OSError as error:
        reason = f"{address}:{port} cannot be reached over its network: {error}"
        raise HostError(reason) from error
    return took
