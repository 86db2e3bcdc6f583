"""What a preflight has to know of this machine; looked up once, judged in `doctor`.

What cannot be known is None, never zero.
"""

import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from msgspec import Struct

from djinnload import manifest

__all__ = ("Folder", "Gpu", "HostFacts", "gathered")

_NET = Path("/proc/sys/net/ipv4")
_TIME_WAIT = re.compile(r"^TCP: .*\btw (\d+)", re.MULTILINE)
_PRESSURE = re.compile(r"^some avg10=([\d.]+)", re.MULTILINE)
_REQUIRED = re.compile(r"^([\w.-]+)[^;]*(?:;(.*))?$")


class Folder(Struct, frozen=True):
    """A directory, or the nearest above it that exists.

    Attributes:
        error: Why nothing can be written; empty: it can.
        free: Bytes.
    """

    path: str
    error: str
    free: int


class Gpu(Struct, frozen=True):
    """An NVIDIA GPU; *free* and *total* are bytes of its memory."""

    name: str
    free: int
    total: int


class HostFacts(Struct, frozen=True, kw_only=True):
    """This machine, now.

    Attributes:
        python: Version.
        missing: Packages of djinnload's own requirements that are not installed.
        torch: Version; None: it, or transformers, is not installed.
        linux: Whether timers can be absolute.
        cores: That this process may use.
        load1: Mean number of processes that ran or wanted to, over a minute.
        pressure: Share (0 to 1) of the last 10 s in which some process had no core.
        governor: Of the CPU's frequency.
        clock_source: Of the kernel.
        memory_free: Bytes.
        gpus: None: there is no driver, or no device.
        nofile: Files and sockets that a process may have open.
        ports: Local ports that connections get theirs from.
        time_wait: Sockets that wait for the end of their minute.
        reuse: Whether the kernel uses such ports again, on loopback at least.
        out: For results.
        cache: For weights.
        environment: Variables that change a run.
    """

    python: tuple[int, int]
    missing: tuple[str, ...]
    torch: str | None
    linux: bool
    cores: int
    load1: float
    pressure: float | None
    governor: str | None
    clock_source: str | None
    memory_free: int
    gpus: tuple[Gpu, ...] | None
    nofile: int
    ports: int | None
    time_wait: int | None
    reuse: bool | None
    out: Folder
    cache: Folder
    environment: Mapping[str, str]


def gathered(out: Path, cache: Path) -> HostFacts:
    """Look at this machine.

    Args:
        out: Where results shall go; need not exist.
        cache: Where weights are kept; need not exist.
    """
    import psutil

    about = manifest.host()
    return HostFacts(
        python=sys.version_info[:2],
        missing=_missing(),
        torch=_version("torch") if _version("transformers") else None,
        linux=platform.system() == "Linux",
        cores=about["cores"],
        load1=about["load1"],
        pressure=_pressure(),
        governor=about["governor"],
        clock_source=about["clock_source"],
        memory_free=psutil.virtual_memory().available,
        gpus=_gpus(),
        nofile=_nofile(),
        ports=_ports(),
        time_wait=_first(_TIME_WAIT, "/proc/net/sockstat"),
        reuse=_reuse(),
        out=_folder(out),
        cache=_folder(cache),
        environment=manifest.environment(),
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _missing() -> tuple[str, ...]:
    found = (_REQUIRED.match(line) for line in metadata.requires("djinnload") or ())
    names = (each[1] for each in found if each and "extra" not in (each[2] or ""))
    return tuple(name for name in names if _version(name) is None)


def _pressure() -> float | None:
    found = _first(_PRESSURE, "/proc/pressure/cpu", float)
    return None if found is None else found / 100


def _first(pattern: re.Pattern[str], path: str, kind: Any = int) -> Any:
    try:
        found = pattern.search(Path(path).read_text(encoding="utf-8"))
    except OSError:
        return None
    return kind(found[1]) if found else None


def _gpus() -> tuple[Gpu, ...] | None:
    from djinnload.probes.nvml import driver

    nvml = driver()
    if nvml is None:
        return None
    try:
        made = []
        for i in range(nvml.nvmlDeviceGetCount()):
            handle = nvml.nvmlDeviceGetHandleByIndex(i)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            name = nvml.nvmlDeviceGetName(handle)
            made.append(Gpu(name, memory.free, memory.total))
        return tuple(made)
    finally:
        nvml.nvmlShutdown()


def _nofile() -> int:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


def _ports() -> int | None:
    try:
        low, high = (_NET / "ip_local_port_range").read_text("ascii").split()
    except OSError:
        return None
    return int(high) - int(low) + 1


def _reuse() -> bool | None:
    try:
        return (_NET / "tcp_tw_reuse").read_text("ascii").strip() != "0"
    except OSError:
        return None


def _folder(path: Path) -> Folder:
    """Try it out: permissions alone say little of a full or read-only disk."""
    there = path.absolute()
    while not there.exists():
        there = there.parent
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".djinnload-") as file:
            file.write(bytes(4096))
        error = ""
    except OSError as failed:
        error = failed.strerror or str(failed)
    return Folder(str(path), error, shutil.disk_usage(there).free)
