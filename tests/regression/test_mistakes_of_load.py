"""Mistakes that an evaluation once made, 9 to 15: what it said, what has to be said."""

import ast
import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from blockbuster import BlockingError, blockbuster_ctx

from command_kit import run_command  # tests/, by conftest.py
from djinnload import clock, load, testing
from djinnload.engine import start
from djinnload.errors import UnknownName
from djinnload.health.cell import judge_cell
from djinnload.health.run import no_contention
from djinnload.scenarios.cells import cells
from djinnload.spi import Request
from djinnload.stats import populations as stats
from djinnload.summary.fold import fold_run
from djinnload.testing import Answer
from health_kit import cell, codes, population, probes
from simulated_kit import MS, S, measured

ROOT = Path(__file__).parents[2]
COMPARED = {"baseline": "fcfs", "metrics": ["p95(latency)"], "differs": ["policy"]}


def test_09_a_study_of_policies_in_which_nobody_waited():
    """Old: 0.3 Erlang on 16 slots; both policies bit-identical, reported as equal.

    Required: NO_CONTENTION voids it.
    """
    idle = population(0, rate=30, service_ms=10 / 16)  # of each slot, a sixteenth
    solo = {"solo": {"chat": {"service_ms": 10 / 16}}}
    arms = [cell(idle, arm=name, calibrated=solo) for name in ("fcfs", "qos")]
    old = [np.sort(each.populations["chat"].turns.latency_ns) for each in arms]
    assert np.array_equal(*old)
    (required,) = no_contention(arms, COMPARED)
    assert (required.code, required.void) == ("NO_CONTENTION", True)


def test_10_a_run_that_ended_at_a_cap(tmp_path):
    """Old: "24 h" stopped at 3,200 events, raw logs were cut at 1,000 rows.

    Required: as many rows as were due: 24 h at one a second, all read back.
    """
    schedule = testing.open_loop(testing.constant(1), duration_ns=24 * 3600 * S)
    samples, found = measured(tmp_path, schedule, 5 * MS, grace_ns=1 * S)
    assert len(found.raw) == 86_400
    assert len(samples.turns.due_ns) == 86_400
    assert samples.turns.due_ns[-1] == 86_399 * S
    assert found.engine.tallies[0].dropped == 0


def test_11_work_in_the_event_loop():
    """Old: argmax in the loop took 30 ms a reply, and was reported as latency.

    Required: the lag is measured; it voids, or names the requests that it hit.
    """
    often = cell(population(0), probe=probes(0, stall=(300, 30, 30.0)))
    assert "LOOP_STALL" in codes(judge_cell(often))
    once = judge_cell(cell(population(0), probe=probes(0, stall=(300, 1, 30.0))))
    assert codes(once) == []
    (finding,) = once
    assert finding.code == "loop-stall"
    assert "chat user 0 session" in finding.message


def sent_within_a_loop(request):
    """Send 1,000 requests of sessions that say *request*(), watched by blockbuster."""

    async def main():
        rows, simulated = [], clock.SimulatedClock()
        schedule = testing.open_loop(testing.constant(100), duration_ns=10 * S)
        running = start(
            schedule,
            (testing.population(session=request),),
            clock=simulated,
            target=testing.ScriptedTarget(simulated, 5 * MS),
            record=rows.append,
            begin_ns=0,
            grace_ns=1 * S,
            session_prefix="sim",
        )
        with blockbuster_ctx(["djinnload.engine", "djinnload.session"]):
            simulated.run()
        return rows, running

    return asyncio.run(main())


def test_11_a_request_is_sent_without_a_blocking_call():
    """Required: sending blocks nothing, and a workload that does is caught here."""
    rows, running = sent_within_a_loop(testing.one_request)
    assert (len(rows), running.error) == (1000, None)

    def computes(_):
        time.sleep(0.001)
        _ = yield Request("m", {})

    _, running = sent_within_a_loop(computes)
    assert isinstance(running.error.__cause__, BlockingError)


CLOCKS = {
    "time",
    "time_ns",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
}
CLOCKS |= {"now", "utcnow", "today"}


def reads_time(path):
    """Whether a module asks time or datetime what time it is."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in CLOCKS
        and ast.unparse(node.value) in {"time", "datetime", "datetime.datetime"}
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
    )


def test_12_wall_clock_differences():
    """Old: time.time() before and after: an NTP step of −1 s gave negative latencies.

    Required: one module reads time, its clock is monotonic, and ruff keeps it so.
    """
    source = ROOT / "src" / "djinnload"
    readers = [each.name for each in source.rglob("*.py") if reads_time(each)]
    assert readers == ["clock.py"]
    found = [clock.monotonic_ns() for _ in range(1000)]
    assert found == sorted(found)
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select=TID251", "--output-format=concise",
         "--stdin-filename", source / "engine.py", "-"],
        input="import time\n\nlatency = time.time() - 1\n",
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "`time` is banned: only clock.py reads time" in done.stdout


ARMS = """
[scenario]
name = "arms"
repeats = 3
warmup = "500ms"
duration = "1s"
[[population]]
name = "chat"
arrival = { process = "poisson", rate = "40/s" }
workload = { use = "echo" }
[[arm]]
name = "qos"
[[arm]]
name = "fcfs"
set = { "target.server.policy" = "fcfs" }
"""


@pytest.fixture
def arms(tmp_path):
    (tmp_path / "arms.toml").write_text(ARMS, "utf-8")
    return tmp_path / "arms.toml"


def test_13_no_warm_up_a_fixed_order_one_repeat(arms, tmp_path):
    """Old: qos, then fcfs, once, the first requests included.

    Required: each cell warms up, arms take turns, repeats differ, arms share a seed.
    """
    made = cells(load(arms))
    assert [f"{each.arm}{each.repeat}" for each in made] == [
        "qos0", "fcfs0", "fcfs1", "qos1", "fcfs2", "qos2",
    ]  # fmt: skip
    assert {each.scenario.scenario.warmup for each in made} == {500 * MS}
    assert Counter(each.seed for each in made).most_common() == [
        (each.seed, 2) for each in made[::2]
    ]
    first = iter([Answer(900 * MS)])
    script = lambda _: next(first, Answer(5 * MS))  # noqa: E731
    schedule = testing.open_loop(
        testing.constant(10), duration_ns=2 * S, warmup_ns=1 * S
    )
    samples, found = measured(tmp_path / "cell", schedule, script, grace_ns=1 * S)
    phases = Counter(row["phase"] for row in found.rows)
    assert phases == {"warmup": 10, "measure": 20}
    # The first request, cold, took 900 ms: it is in the file, and in no metric.
    assert max(row["done_ns"] - row["due_ns"] for row in found.rows) == 900 * MS
    assert samples.turns.latency_ns.max() == 5 * MS


def test_14_a_missing_arm_drawn_as_zero(arms, synthetic_run):
    """Old: figures read the wrong folder and drew zeros.

    Required: an arm that is not there is an error; one whose cells are gone, void.
    """
    with pytest.raises(UnknownName, match="fcsf"):
        cells(load(arms), ["fcsf"])
    done = run_command("run", arms, "--arm", "fcsf", cwd=arms.parent)
    assert done.returncode == 2
    assert "did you mean 'fcfs'" in done.stderr
    for repeat in (synthetic_run / "cells" / "all" / "fcfs").iterdir():
        (repeat / "manifest.json").unlink()
    summary = fold_run(synthetic_run)
    assert "INCOMPLETE" in {r["code"] for r in summary["verdict"]["reasons"]}
    assert summary["exit_code"] == 4
    assert set(summary["arms"]) == {"qos"}
    assert summary["comparisons"] == []


def test_15_concurrency_of_the_population(tmp_path):
    """Old: 80 agents, so "80 concurrent".

    Required: the time-weighted number in the system, about 4 to 13, as Little has it.
    """

    def agent(_):
        _ = yield Request("m", {}, step="reason", turn=0)
        _ = yield Request("m", {}, step="reflect", turn=1, think_ns=10 * S)

    schedule = testing.closed(
        80, duration_ns=600 * S, warmup_ns=60 * S, think=lambda rng: 10 * S
    )
    samples, _ = measured(
        tmp_path, schedule, 1 * S, session=agent, loop="closed", grace_ns=30 * S
    )
    required, most = stats.in_system(samples)
    # 1 s of 11 in the system, 80 times.
    assert required == pytest.approx(80 / 11, rel=0.05)
    assert 4 < required < 13
    rate = len(samples.turns.due_ns) / 600
    assert required == pytest.approx(rate * 1.0, rel=0.02)
    assert most <= 80
