"""What it costs the requests to be watched: an open loop, in-process null target.

The command as anyone runs it, four ways: quiet; with its live view drawn into a
terminal of its own; with lines of JSON; with metrics that are scraped every second.
Lateness and CPU are the generator's own, by the summary that it leaves, so what the
viewer's process takes from the same cores is in the lateness.
"""

import argparse
import os
import pty
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import kit

from djinnload.reading.files import read_json

SCENARIO = """
target = {{ use = "null" }}

[scenario]
name = "watched"
warmup = "1s"
duration = "{seconds}s"

[[population]]
name = "clients"
arrival = {{ process = "constant", rate = "{rate}/s" }}
workload = {{ use = "echo" }}
"""
QUIET, VIEW, JSON, METRICS = "quiet", "live view", "JSON lines", "metrics, scraped"
NAMES = (QUIET, VIEW, JSON, METRICS)
COLUMNS = {
    "late_p50_us": "late p50 µs",
    "late_p99_us": "p99 µs",
    "lag_p99_us": "loop lag p99 µs",
    "cpu": "CPU, cores",
}
SCRAPE_S = 1.0


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--quick", action="store_true")
    given.add_argument("--rounds", type=int, default=7)
    given.add_argument("--seconds", type=int, default=5)
    given.add_argument("--rate", type=int, default=10_000)
    asked = given.parse_args()
    if asked.quick:
        asked.rounds, asked.seconds = 1, 1
    about = kit.machine()
    seen = {name: [] for name in NAMES}
    with tempfile.TemporaryDirectory(prefix="djinnload-view-") as folder:
        scenario = Path(folder, "watched.toml")
        scenario.write_text(SCENARIO.format(seconds=asked.seconds, rate=asked.rate))
        for number, name in kit.rounds(NAMES, asked.rounds):
            out = Path(folder, f"{NAMES.index(name)}-{number}")
            seen[name].append(_measure(name, scenario, out))
    figures = {name: _figures(found, seen[QUIET]) for name, found in seen.items()}
    title = f"watched, {asked.rate:,}/s for {asked.seconds} s, medians of {asked.rounds} rounds; ÷ quiet: of the rounds' ratios"
    head = ["", *COLUMNS.values(), *(f"{each} ÷ quiet" for each in COLUMNS.values())]
    rows = [
        [
            name,
            *(each[key] for key in COLUMNS),
            *(each["ratios"][key] for key in COLUMNS),
        ]
        for name, each in figures.items()
    ]
    kit.show(title, head, rows)
    kit.save("live_view", figures, about, quick=asked.quick)


def _figures(found: list[dict], quiet: list[dict]) -> dict:
    columns = {key: [each[key] for each in found] for key in COLUMNS}
    ratios = {
        key: kit.ratio(values, [each[key] for each in quiet])
        for key, values in columns.items()
    }
    medians = {key: kit.middle(values) for key, values in columns.items()}
    return {**medians, "ratios": ratios, "rounds": found}


def _measure(name: str, scenario: Path, out: Path) -> dict:
    with _watching(name) as (words, stderr):
        argv = [sys.executable, "-m", "djinnload", "run", scenario, "--out", out]
        # Whatever its verdict: what a busy machine does is for the figures to say.
        subprocess.run(
            [*argv, *words],
            env=os.environ | {"TERM": "xterm"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            check=False,
        )
    (cell,) = out.glob("*/*/cells/*/*/*/summary.json")
    generator = read_json(cell)["generator"]
    return {
        "late_p50_us": generator["lateness_us"]["p50"],
        "late_p99_us": generator["lateness_us"]["p99"],
        "lag_p99_us": generator["loop_lag_us"]["p99"],
        "cpu": generator["cpu"],
    }


@contextmanager
def _watching(name: str) -> Iterator[tuple[list[str], int]]:
    """Yield the options of one way, and where its stderr goes, which is read."""
    if name == METRICS:
        with _scraped() as port:
            yield ["--quiet", "--metrics", str(port)], subprocess.DEVNULL
        return
    words = {QUIET: ["--quiet"], JSON: ["--progress", "json"]}.get(name, [])
    ours, theirs = pty.openpty() if name == VIEW else os.pipe()
    reader = threading.Thread(target=_drain, args=(ours,))
    reader.start()
    try:
        yield words, theirs
    finally:
        os.close(theirs)
        reader.join()


def _drain(source: int) -> None:
    with suppress(OSError):  # the other end of a terminal is closed
        while os.read(source, 65536):
            pass
    os.close(source)


@contextmanager
def _scraped() -> Iterator[int]:
    """Yield a free port, which is asked for metrics every second from then on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    over = threading.Event()
    scrapes = 0

    def scrape() -> None:
        nonlocal scrapes
        while not over.wait(SCRAPE_S):
            with suppress(OSError):
                url = f"http://127.0.0.1:{port}/metrics"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    scrapes += bool(answer.read())

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield port
    finally:
        over.set()
        thread.join()
    assert scrapes, "nothing was scraped"


if __name__ == "__main__":
    main()
