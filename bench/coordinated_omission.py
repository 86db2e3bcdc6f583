"""Coordinated omission: a server that stalls 10 s in 60 s at 100/s, as tools report it.

The truth is known from the schedule alone: a request due in the stall is answered when
the stall ends. Locust and the send-timed loop time from the send; their users wait in
the stall, so most of what was due in it is never sent, and never counted.
"""

import argparse
import csv
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import kit
import null_server
import numpy as np
import peers

from djinnload import testing

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
RATE = 100
#: Locust: each user asks once a second, so that 100 users make 100/s.
USERS = 100
#: A server that is not stalled answers in much less than this.
SERVICE_MS = 0.1


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--quick", action="store_true", help="a stall of 2 s in 12 s")
    asked = given.parse_args()
    scale = 0.2 if asked.quick else 1.0
    about = kit.machine()
    with tempfile.TemporaryDirectory(prefix="djinnload-stall-") as folder:
        # At 100/s they do not disturb each other, each has a server of its own.
        jobs = {
            "djinnload, real time": partial(_djinnload, Path(folder), scale),
            "send-timed loop": partial(_send_timed, scale),
        }
        if peers.there(peers.locust(0, 1)[0]):
            jobs["Locust"] = partial(_locust, Path(folder), scale)
        with ThreadPoolExecutor() as pool:
            begun = {name: pool.submit(job) for name, job in jobs.items()}
        rows = {name: future.result() for name, future in begun.items()}
    rows = {"djinnload, simulated time": _simulated(scale), **rows}
    _report(rows, scale, about, quick=asked.quick)


def truth(due_s: np.ndarray, begin_s: float, end_s: float) -> np.ndarray:
    """Return what each request due at *due_s* took, in ms."""
    inside = (due_s >= begin_s) & (due_s < end_s)
    return np.where(inside, (end_s - due_s) * 1000, 0.0) + SERVICE_MS


def _against(row: dict, true_ms: np.ndarray) -> dict:
    right = {name: _nearest(true_ms, q) for name, q in QUANTILES.items()}
    off = row["p99"] / right["p99"] - 1
    return {
        "true_n": len(true_ms),
        **{f"true_{k}": v for k, v in right.items()},
        "p99_off": off,
    }


def _schedule(scale: float) -> tuple[float, float, float]:
    """Return the run's length, the stall's begin and its end, s."""
    return 60 * scale, 20 * scale, 30 * scale


def _simulated(scale: float) -> dict:
    length, begin, end = (round(each * 1e9) for each in _schedule(scale))

    def target(clock):
        service = round(SERVICE_MS * 1e6)
        return testing.ScriptedTarget(clock, service, stalls=((begin, end),))

    schedule = testing.open_loop(testing.constant(RATE), duration_ns=length)
    found = testing.simulate((testing.population(),), schedule, target, grace_ns=end)
    rows = found.rows
    latency = np.array([row["done_ns"] - row["due_ns"] for row in rows]) / 1e6
    due = np.array([row["due_ns"] for row in rows]) / 1e9
    row = _reported(latency)
    return row | _against(row, truth(due, begin / 1e9, end / 1e9))


def _stall_soon(server, scale: float) -> tuple[int, int, int]:
    """Arrange the stall once requests come; return begin of load and the stall, ns."""
    before = server.count
    assert server.wait(before + 1, 60), "no requests came"
    now = time.monotonic_ns()
    _, begin, end = (round(each * 1e9) for each in _schedule(scale))
    server.stall(now + begin, now + end)
    return now, now + begin, now + end


def _djinnload(folder: Path, scale: float) -> dict:
    with null_server.frame(null_server.opaque_reply()) as server:
        argv = peers.python(
            "generator.py", "frame", folder / "out", "--port", server.port
        )
        argv += [
            "--payload",
            55,
            "--rate",
            RATE,
            "--seconds",
            60 * scale,
            "--deadline",
            "30s",
        ]
        with peers.Client(argv) as client:
            began, begin, end = _stall_soon(server, scale)
            cell = peers.cell_of(client, 120)
    summary = json.loads((cell / "summary.json").read_text())
    shown = summary["populations"]["load"]["latency_ms"]
    # What it prints, not what we could make of its samples; due times are the schedule's.
    due = began / 1e9 + np.arange(shown["n"]) / RATE
    row = {"n": shown["n"], **{name: shown[name] for name in QUANTILES}}
    if any(row[name] is None for name in QUANTILES):
        return row
    return row | _against(row, truth(due, begin / 1e9, end / 1e9))


def _send_timed(scale: float) -> dict:
    with null_server.raw() as server:
        argv = peers.python("send_timed.py", server.port, RATE, 60 * scale)
        with peers.Client(argv) as client:
            began, begin, end = _stall_soon(server, scale)
            code, said = client.wait(90), client.said()
    assert code == 0, said
    latency = np.array([int(each) for each in said.split()]) / 1e6
    due = began / 1e9 + np.arange(round(60 * scale * RATE)) / RATE
    row = _reported(latency)
    return row | _against(row, truth(due, begin / 1e9, end / 1e9))


def _reported(latency_ms: np.ndarray) -> dict:
    found = {name: _nearest(latency_ms, q) for name, q in QUANTILES.items()}
    return {"n": len(latency_ms), **found}


def _nearest(values: np.ndarray, q: float) -> float:
    return float(np.quantile(values, q, method="inverted_cdf"))


def _locust(folder: Path, scale: float) -> dict:
    """Return the percentiles that Locust itself writes."""
    with null_server.http() as server:
        seconds = 60 * scale
        argv, env = peers.locust(
            server.port, USERS, RATE, seconds=seconds, csv=folder / "locust"
        )
        with peers.Client(argv, **env) as client:
            began, begin, end = _stall_soon(server, scale)
            code, said = client.wait(150), client.said()
    assert code in (0, 1), said
    with (folder / "locust_stats.csv").open() as file:
        total = next(row for row in csv.DictReader(file) if row["Name"] == "Aggregated")
    shown = {name: float(total[f"{q:.0%}"]) for name, q in QUANTILES.items()}
    row = {"n": int(total["Request Count"]), **shown}
    due = began / 1e9 + np.arange(round(seconds * RATE)) / RATE
    return row | _against(row, truth(due, begin / 1e9, end / 1e9))


def _report(rows: dict, scale: float, about: dict, *, quick: bool) -> None:
    columns = [
        "n",
        "p50",
        "p90",
        "p99",
        "true_n",
        "true_p50",
        "true_p90",
        "true_p99",
        "p99_off",
    ]
    length, begin, end = _schedule(scale)
    title = f"a stall of {end - begin:g} s in {length:g} s at {RATE}/s: latency in ms, as reported and as it was"
    table = [
        [name, *[row.get(column) for column in columns]] for name, row in rows.items()
    ]
    kit.show(title, ["tool", *columns], table)
    kit.save("coordinated_omission", rows, about, quick=quick)


if __name__ == "__main__":
    main()
