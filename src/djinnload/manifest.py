"""What must be known to repeat a run: versions, host, devices, environment, time.

Absent hardware is None, never zero. Of the environment only names on `WHITELIST` are
written down: nothing secret reaches a results directory.
"""

import os
import platform
import secrets
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from djinnload.clock import boottime_ns, monotonic_ns, wall_ns
from djinnload.errors import HostError

__all__ = (
    "anchor",
    "devices",
    "directory",
    "environment",
    "host",
    "installed",
    "origins",
    "requirements",
    "source",
    "versions",
)

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


def installed() -> dict[str, str]:
    """Return every package of this environment with its version, by name."""
    found = {
        str(each.name).lower().replace("_", "-"): each.version
        for each in metadata.distributions()
        if each.name
    }
    return dict(sorted(found.items()))


def origins() -> dict[str, str]:
    """Return where packages came from that no index has, by name (PEP 610)."""
    found: dict[str, str] = {}
    for each in metadata.distributions():
        with suppress(ValueError, KeyError, TypeError):
            told = msgspec.json.decode(each.read_text("direct_url.json") or "{}")
            vcs = told.get("vcs_info")
            at = f"@{vcs['commit_id']}" if vcs else ""
            prefix = f"{vcs['vcs']}+" if vcs else ""
            name = str(each.name).lower().replace("_", "-")
            # A file that was at hand is most often one that an index has too.
            if "archive_info" not in told or not told["url"].startswith("file:"):
                found[name] = f"{prefix}{told['url']}{at}"
    return dict(sorted(found.items()))


def requirements(manifest: Mapping[str, Any]) -> str:
    """Return the packages of a run as a pip requirements file, versions exact.

    A package that was installed from a folder is a comment: nobody else has it there.

    Args:
        manifest: A root manifest; of one that lists no packages, its versions.
    """
    listed = manifest.get("installed") or manifest.get("versions") or {}
    came = manifest.get("origins") or {}
    commit = (manifest.get("source") or {}).get("commit")
    lines = []
    for name, version in listed.items():
        url = came.get(name, "")
        if name == "python":
            lines.append(f"# Python {version}")
        elif name == "djinnload" and "+" not in url:
            of = f", commit {commit}" if commit else ""
            lines.append(f"# djinnload {version}{of}: install it from its repository")
        elif url and not url.startswith("file:"):
            lines.append(f"{name} @ {url}")
        elif url:
            lines.append(f"# {name} {version}: was installed from {url}")
        else:
            lines.append(f"{name}=={version}")
    return "".join(f"{line}\n" for line in lines)


def source() -> dict[str, Any]:
    """Return the commit that this djinnload is, and whether files differ from it.

    Both are None where that is not known, as of a package without its repository.
    """
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / ".git").exists():
        commit = _git(checkout, "rev-parse", "HEAD")
        changed = _git(checkout, "status", "--porcelain", "--untracked-files=no")
        modified = None if changed is None else bool(changed)
        return {"commit": commit, "modified": modified}
    with suppress(metadata.PackageNotFoundError, ValueError, KeyError, TypeError):
        text = metadata.distribution("djinnload").read_text("direct_url.json")
        of_url = msgspec.json.decode(text or "{}")
        return {"commit": of_url["vcs_info"]["commit_id"], "modified": False}
    return {"commit": None, "modified": None}


def _git(checkout: Path, *words: str) -> str | None:
    """Return what git says, taking no lock; None: it cannot be asked."""
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            ["git", "-C", str(checkout), *words],  # noqa: S607 - as whoever runs us has
            env=environment,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return done.stdout.strip()
    return None


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
