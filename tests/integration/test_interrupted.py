"""Runs that are told to end, by everyone who tells them and whenever: what they leave."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from command_kit import DJINNLOAD, ECHO, document, environment, results, until

LOCAL = """
[scenario]
name = "alone"
warmup = { sessions = 1, at = "boot" }
duration = { sessions = 100000 }
grace = "5s"

[[population]]
name = "chat"
users = 1
workload = { use = "llm", model = "gpt2-tiny", prompt_tokens = 4, new_tokens = 4 }
objectives = ["max(latency) <= 20s"]

[verify]
at_least = 2

[target]
use = "local"
"""
ONE = ECHO.replace('duration = "1s"', 'duration = "60s"')


def started(cwd, text, *words):
    """A run in a process group of its own, as `timeout` and job systems start one."""
    (cwd / "s.toml").write_text(text)
    with (cwd / "said").open("wb") as said:
        return subprocess.Popen(
            [*DJINNLOAD, "run", "s.toml", "--out", "out", *words],
            cwd=cwd, env=environment(), stdout=said, stderr=said, process_group=0,
        )  # fmt: skip


def ended(process, cwd):
    """Its summary, after a signal to all that it started, and to itself once more."""
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGTERM)
    os.killpg(process.pid, signal.SIGTERM)
    try:
        assert process.wait(40) == 130, (cwd / "said").read_text()
    finally:
        process.kill()
        process.wait()
    assert not psutil.wait_procs(children, timeout=10)[1]
    run = results(cwd / "out")
    assert (run / "report.html").stat().st_size
    assert "Traceback" not in (cwd / "said").read_text()
    summary = document(run / "summary.json")
    assert (summary["exit_code"], summary["interrupted"]) == (130, True)
    assert summary["error"] is None
    return summary


def serving(process):
    """Whether it has started its server."""
    children = psutil.Process(process.pid).children()
    return any("serve" in each.cmdline() for each in children)


def phase(cwd, wanted):
    """Whether `--progress json` has said that it is in that phase."""
    return f'"phase":"{wanted}"' in (cwd / "said").read_text()


@pytest.mark.wallclock
def test_while_its_server_starts_it_ends_with_a_report_of_nothing(tmp_path):
    process = started(tmp_path, ONE, "--progress", "none")
    until(lambda: serving(process))
    summary = ended(process, tmp_path)
    assert [cell["status"] for cell in summary["cells"]] == ["missing"]


@pytest.mark.wallclock
@pytest.mark.models
def test_a_measure_of_so_many_sessions_keeps_those_it_had(tmp_path):
    process = started(tmp_path, LOCAL, "--progress", "json")
    until(lambda: phase(tmp_path, "measure"), 60)
    time.sleep(1.5)  # some sessions
    summary = ended(process, tmp_path)
    (cell,) = summary["cells"]
    assert cell["status"] in {"done", "void"}  # by how few there are
    assert summary["arms"]["default"]["all"]["chat"]["outcomes"]["ok"] >= 1


STUCK = """
import sys, time
from djinnload.cli.stopping import stoppable
async def work(stop):
    print("at work", flush=True)
    await stop.wait()
    print("asked", flush=True)
    time.sleep(60)  # nothing that can be cancelled
stoppable(work)
"""


def test_a_second_signal_ends_at_once_what_does_not_end(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout.readline() == "at work\n"
        for _ in range(2):  # so soon one after the other, they are one
            child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "asked\n"
        time.sleep(1.2)
        assert child.poll() is None
        child.send_signal(signal.SIGINT)
        try:
            assert child.wait(20) == 130
        finally:
            child.kill()


SAYING = """
import asyncio, time
from djinnload.cli.stopping import patient, stoppable
async def work(stop):
    return "measured"
found = stoppable(work)
with patient():
    print("saying", flush=True)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        time.sleep(0.05)
print(found, flush=True)
with patient():
    time.sleep(60)
"""


def test_a_report_that_is_being_written_is_written_unless_asked_again():
    child = subprocess.Popen(
        [sys.executable, "-c", SAYING],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with child:
        assert child.stdout.readline() == "saying\n"
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "measured\n"
        time.sleep(0.1)
        child.send_signal(signal.SIGTERM)
        try:
            assert child.wait(20)
        finally:
            child.kill()
        assert "KeyboardInterrupt" in child.stderr.read()
