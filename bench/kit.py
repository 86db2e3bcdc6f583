"""What all benchmarks share: the machine, medians, tables, results on disk."""

import datetime as dt
import json
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from statistics import median

HERE = Path(__file__).parent
BUILD = HERE / "build"
RESULTS = HERE / "results"
#: Of all cores in use before and after a benchmark: more, and others are at work.
QUIET = 0.1
#: With two cores or more the client has the last one and the server the one before.
_CORES = sorted(os.sched_getaffinity(0))
CLIENT_CORE = _CORES[-1]
SERVER_CORE = _CORES[-2] if len(_CORES) > 1 else _CORES[-1]


def machine() -> dict:
    """Return what the figures depend on."""
    return {
        "cpu": _cpu_model(),
        "cores": len(_CORES),
        "memory_GiB": round(
            os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        ),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {
            name: _version(name)
            for name in ("djinnload", "uvloop", "msgspec", "numpy", "pyarrow")
        },
        "commit": _commit(),
        "busy_before": busy(),
    }


def busy(seconds: float = 1.0) -> float:
    """Return the share of all cores in use, ours not: call it while nothing of ours runs."""
    before = _idle()
    time.sleep(seconds)
    idle, whole = (b - a for a, b in zip(before, _idle(), strict=True))
    return round(1 - idle / whole, 3)


def _idle() -> tuple[int, int]:
    fields = [
        int(each) for each in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    ]
    return fields[3] + fields[4], sum(fields)


def save(what: str, figures: dict, about: dict, *, quick: bool = False) -> Path:
    """Write *figures*, with the machine, as ``results/<what>-<date>.json``.

    Quick runs, which no figure is quoted from, get a name of their own.
    """
    now = dt.datetime.now(dt.UTC)
    about |= {"busy_after": busy()}
    document = {
        "what": what,
        "quick": quick,
        "at": now.isoformat(timespec="seconds"),
        "machine": about,
        # Others at work on the machine: no figure of such a run is to be quoted.
        "quiet": max(about["busy_before"], about["busy_after"]) < QUIET,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{what}{'-quick' * quick}-{now:%Y-%m-%d}.json"
    text = json.dumps({**document, "figures": figures}, indent=1)
    path.write_text(text + "\n")
    print(f"\nwritten to {os.path.relpath(path)}")
    return path


def show(title: str, head: list[str], rows: list[list]) -> None:
    """Print a table: the first column left, the others right."""
    cells = [head, *[[_text(each) for each in row] for row in rows]]
    wide = [max(len(row[i]) for row in cells) for i in range(len(head))]
    print(f"\n{title}")
    for row in cells:
        rest = (f"{text:>{w}}" for text, w in zip(row[1:], wide[1:], strict=True))
        print(f"  {row[0]:<{wide[0]}}  " + "  ".join(rest), flush=True)


def _text(value) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def middle(values) -> float | None:
    """Return the median of what was measured; None if nothing was."""
    known = [each for each in values if each is not None]
    return median(known) if known else None


def rounds(names, count: int):
    """Yield *count* rounds of (number, name), each second one backwards.

    A slow drift of the machine then cancels in the rounds' ratios.
    """
    forth = list(names)
    for number in range(count):
        for name in forth if number % 2 == 0 else forth[::-1]:
            yield number, name


def ratio(ours, theirs) -> float | None:
    """Return the median of the pairs' ratios: drift of the machine cancels."""
    pairs = zip(ours, theirs, strict=True)
    return middle([a / b if a is not None and b else None for a, b in pairs])


def build(source: str) -> Path:
    """Return the program of ``bench/<source>.c``, compiled if it is older."""
    c, program = HERE / f"{source}.c", BUILD / source
    if not program.exists() or program.stat().st_mtime < c.stat().st_mtime:
        BUILD.mkdir(exist_ok=True)
        argv = ["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, c]
        subprocess.run(argv, check=True)
    return program


def missing(tool: str, how: str) -> None:
    """Say that a peer is left out."""
    print(f"{tool} is not here and is left out ({how})", file=sys.stderr)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    argv = ["git", "-C", HERE, "rev-parse", "--short", "HEAD"]
    found = subprocess.run(argv, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
