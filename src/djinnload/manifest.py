"""What must be known to repeat a run: versions, host, devices, environment, time.

Absent hardware is None, never zero. Of the environment only names on `WHITELIST` are
written down: nothing secret reaches a results directory.
"""

import os
import platform
import secrets
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from djinnload.clock import boottime_ns, monotonic_ns, wall_ns
from djinnload.errors import HostError

__all__ = ("anchor", "devices", "directory", "environment", "host", "versions")

WHITELIST = (
    "CUDA_VISIBLE_DEVICES",
    "DJINNLOAD_CACHE",
    "HF_HUB_OFFLINE",
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "PYTHONHASHSEED",
)
PREFIXES = ("DJINNLOAD_", "GENIE_")
PACKAGES = (
    "djinnload",
    "anyio",
    "hdrhistogram",
    "msgspec",
    "numpy",
    "pyarrow",
    "scipy",
    "torch",
    "transformers",
    "uvloop",
)
SYSTEM = "/sys/devices/system"
GROUPS = ("djinnload.workloads", "djinnload.targets", "djinnload.arrivals")


def versions() -> dict[str, str]:
    """Return versions of Python, djinnload, what it stands on, and every plugin."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    for group in GROUPS:
        for entry in metadata.entry_points(group=group):
            if entry.dist is not None:
                found[entry.dist.name] = entry.dist.version
    return found


def host() -> dict[str, Any]:
    """Return what the machine is."""
    import psutil

    return {
        "name": platform.node(),
        "system": platform.platform(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "clock_source": _read(
            "/sys/devices/system/clocksource/clocksource0/current_clocksource"
        ),
        "governor": _read(f"{SYSTEM}/cpu/cpu0/cpufreq/scaling_governor"),
        "load1": os.getloadavg()[0],
    }


def devices() -> list[dict[str, Any]] | None:
    """Return the NVIDIA GPUs, or None where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        handles = map(
            pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount())
        )
        return [
            {
                "name": pynvml.nvmlDeviceGetName(handle),
                "memory_bytes": pynvml.nvmlDeviceGetMemoryInfo(handle).total,
                "driver": pynvml.nvmlSystemGetDriverVersion(),
            }
            for handle in handles
        ]
    finally:
        pynvml.nvmlShutdown()


def environment() -> dict[str, str]:
    """Return the environment variables that can change a result."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name in WHITELIST or name.startswith(PREFIXES)
    }


def anchor() -> dict[str, Any]:
    """Return one instant on every clock, and which boot it was in."""
    return {
        "wall_ns": wall_ns(),
        "monotonic_ns": monotonic_ns(),
        "boottime_ns": boottime_ns(),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        "time_namespace": _link("/proc/self/ns/time"),
    }


def _cpu_model() -> str | None:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _link(path: str) -> str | None:
    try:
        return str(Path(path).readlink())
    except OSError:
        return None


def directory(out: Path | None, name: str) -> Path:
    """Make and return a fresh results directory, ``OUT/NAME/<UTC>-<4 hex>``.

    Raises:
        HostError: It cannot be written to.
    """
    stamp = datetime.fromtimestamp(wall_ns() // 10**9, UTC).strftime("%Y%m%dT%H%M%SZ")
    above = (out or Path("results")) / name
    found = above / f"{stamp}-{secrets.token_hex(2)}"
    try:
        found.mkdir(parents=True)
        # Asked for now: a run must not learn at its end that it has no room.
        (found / ".probe").write_bytes(bytes(4096))
        (found / ".probe").unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise HostError(
            f"cannot write results to {found}: {reason}; choose another --out"
        ) from error
    return found
