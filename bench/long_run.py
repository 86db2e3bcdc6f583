"""Memory of a long run: the command itself, at 2,000/s, its resident memory watched.

Flat means: from the end of the first minute to the end of measure, within ± 10 % of
what it was after that minute. What folding takes afterwards is shown apart.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kit
import psutil

MB = 1e6
#: The null target has no answers to check.
SCENARIO = """
verify = {{ share = 0.0, at_least = 0 }}
[scenario]
name = "long_run"
duration = "{seconds:g}s"
warmup = "0s"
[target]
use = "null"
[[population]]
name = "steady"
deadline = "1s"
arrival = {{ process = "poisson", rate = "{rate:g}/s" }}
workload = {{ use = "echo" }}
"""


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seconds", type=float, default=3600)
    given.add_argument("--rate", type=float, default=2000)
    given.add_argument("--every", type=float, default=60, help="s between readings")
    given.add_argument("--quick", action="store_true", help="6 s")
    asked = given.parse_args()
    if asked.quick:
        asked.seconds, asked.every = 6, 2
    about = kit.machine()
    with tempfile.TemporaryDirectory(prefix="djinnload-long-") as folder:
        seen, ended = _run(Path(folder), asked)
    _report(seen, ended, asked, about)


def _run(folder: Path, asked) -> tuple[list[float], dict]:
    scenario = folder / "long_run.toml"
    scenario.write_text(SCENARIO.format(seconds=asked.seconds, rate=asked.rate))
    argv = [
        sys.executable,
        "-m",
        "djinnload",
        "run",
        scenario,
        "--out",
        folder,
        "--quiet",
    ]
    log = folder / "said.txt"
    with log.open("w") as said, subprocess.Popen(argv, stdout=said, stderr=said) as run:
        process = psutil.Process(run.pid)
        seen = _watch(process, folder, asked)
        measured = sum(path.stat().st_size for path in folder.rglob("*.arrows"))
        # A summary is written when measuring is over: from here on it folds.
        began = time.monotonic()
        peak = _peak(run, process)
    return seen, {
        "said": log.read_text().strip(),
        "exit_code": run.returncode,
        "bytes_on_disk": measured,
        "fold_s": time.monotonic() - began,
        "fold_peak_MB": peak,
    }


def _watch(process: psutil.Process, folder: Path, asked) -> list[float]:
    """Return MB at each reading of measure, which begins with the samples file."""
    while not list(folder.rglob("w0-*.arrows")):
        if process.status() == psutil.STATUS_ZOMBIE:
            return []
        time.sleep(0.02)
    began, seen = time.monotonic(), []
    for number in range(1, int(asked.seconds // asked.every) + 1):
        # The last reading is taken a moment before the end.
        at = min(number * asked.every, asked.seconds - 0.2)
        time.sleep(max(0.0, began + at - time.monotonic()))
        if process.status() == psutil.STATUS_ZOMBIE:
            break
        memory, cpu = process.memory_info().rss / MB, sum(process.cpu_times()[:2])
        seen.append(memory)
        print(f"{at:7.1f} s  RSS {memory:8.2f} MB  CPU {cpu:8.1f} s", flush=True)
    return seen


def _peak(run: subprocess.Popen, process: psutil.Process) -> float:
    peak = 0.0
    while run.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss / MB)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.1)
    return peak


def _report(seen: list[float], ended: dict, asked, about: dict) -> None:
    print(ended["said"])
    if len(seen) < 2:
        sys.exit(f"only {len(seen)} readings: the run ended early, or is too short")
    first, rest = seen[0], seen[1:]
    drift = max(max(rest) / first - 1, 1 - min(rest) / first)
    flat = drift <= 0.1
    whole = len(seen) == int(asked.seconds // asked.every)
    figures = {
        "seconds": asked.seconds,
        "rate_per_s": asked.rate,
        "after_first_reading_MB": first,
        "last_MB": rest[-1],
        "largest_change": drift,
        "flat": flat and whole,
        "every_s": asked.every,
        "rss_MB": [round(each, 2) for each in seen],
        **ended,
    }
    rows = [
        [f"RSS after {asked.every:g} s, MB", first],
        [f"RSS after {asked.seconds:g} s, MB", rest[-1]],
        ["largest change", f"{drift:+.1%}"],
        ["flat within 10 %", "yes" if flat and whole else "NO"],
        ["samples on disk, MB", ended["bytes_on_disk"] / MB],
        ["fold and report, s", ended["fold_s"]],
        ["peak RSS meanwhile, MB", ended["fold_peak_MB"]],
    ]
    kit.show("memory of a long run", ["figure", "value"], rows)
    kit.save("long_run", figures, about, quick=asked.seconds < 3600)
    if not (flat and whole):
        sys.exit(1)


if __name__ == "__main__":
    main()
