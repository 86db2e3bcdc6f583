"""Real stalls of known length: a server, and a generator, stopped by a signal."""

import os
import signal
import time

import numpy as np
import psutil
import pytest

from command_kit import (  # tests/, by conftest.py
    ACCEPT_NOISE,
    document,
    results,
    started,
    until,
)
from djinnload.clock import monotonic_ns
from djinnload.recording.recorder import read_samples
from djinnload.stats import populations as stats
from djinnload.units import MS, SECOND

SCENARIO = """
[scenario]
name = "stalls"
warmup = "500ms"
duration = "{seconds}s"
grace = "10s"

[target]
use = "{target}"

[[population]]
name = "chat"
arrival = {{ process = "constant", rate = "{rate}/s" }}
workload = {{ use = "echo" }}
objectives = ["p50(latency) <= 10s"]
"""


#: All that is due in the stall is admitted.
ROOM = """
[target.server]
admission_limit = 4096
"""


def server_of(pid: int) -> int:
    (server,) = [
        each.pid for each in psutil.Process(pid).children() if "serve" in each.cmdline()
    ]
    return server


def stop(pid: int, seconds: float) -> tuple[int, int]:
    """Stop a process for *seconds*; return from when to when, monotonic ns."""
    os.kill(pid, signal.SIGSTOP)
    begin = monotonic_ns()
    try:
        time.sleep(seconds)
    finally:
        end = monotonic_ns()
        os.kill(pid, signal.SIGCONT)
    return begin, end


def under_way(out):
    """Whether a cell has rows on disk: they come from the first second on."""
    return any(each.stat().st_size for each in out.glob("*/*/cells/*/*/*/samples/*"))


@pytest.mark.wallclock
def test_p99_over_a_stalled_server_is_the_schedule_s(tmp_path):
    """2 s of 12 at 100/s; what is due at t in the stall waits until its end."""
    text = SCENARIO.format(seconds=12, target="djinn", rate=100) + ROOM
    (tmp_path / "s.toml").write_text(text, "utf-8")
    out = tmp_path / "out"
    words = ("run", "s.toml", "--out", out, *ACCEPT_NOISE, "--quiet")
    with started(*words, cwd=tmp_path) as process:
        until(lambda: under_way(out))
        time.sleep(2)
        begin, end = stop(server_of(process.pid), 2)
        process.wait(60)
    (cell,) = (results(out) / "cells").glob("*/*/r00")
    rows = read_samples(cell)
    measured = np.array(rows["phase"].to_pylist()) == "measure"
    due = rows["due_ns"].to_numpy()[measured]
    latency = rows["done_ns"].to_numpy()[measured] - due
    hit = (due >= begin) & (due < end)
    assert (len(due), int(hit.sum())) == (1200, pytest.approx(200, abs=3))
    service = np.median(latency[~hit])
    truth = np.where(hit, end - due, 0) + service
    wanted = stats.nearest_rank(np.sort(truth), 0.99)
    told = document(cell / "summary.json")["populations"]["chat"]["latency_ms"]["p99"]
    assert told * MS == pytest.approx(wanted, rel=0.02)
    assert wanted > 1.8 * SECOND


@pytest.mark.wallclock
def test_a_stall_of_the_generator_names_the_requests_it_hit(tmp_path):
    """50 ms of the loop: a finding, as 1 % of 8 s is more."""
    text = SCENARIO.format(seconds=8, target="null", rate=200)
    (tmp_path / "s.toml").write_text(text, "utf-8")
    out = tmp_path / "out"
    with started(
        "run", "s.toml", "--out", out, *ACCEPT_NOISE, "--quiet", cwd=tmp_path
    ) as process:
        until(lambda: under_way(out))
        time.sleep(2)
        stop(process.pid, 0.05)
        process.wait(60)
    (cell,) = (results(out) / "cells").glob("*/*/r00")
    findings = document(cell / "summary.json")["verdict"]["findings"]
    (stall,) = [each for each in findings if each["code"] == "loop-stall"]
    assert stall["value"] >= 45 * MS
    assert "hit chat user -1 session" in stall["message"]
    assert not stall["void"]
