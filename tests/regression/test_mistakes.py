"""Mistakes that an evaluation once made, 1 to 8: what it said, what has to be said.

Each test names the old value, reproduced where it can be, and the required one. 9 to 15
are in test_mistakes_of_load.py.
"""

import json
import math

import numpy as np
import pytest

from command_kit import run_command  # tests/, by conftest.py
from djinnload import objective, testing
from djinnload.health.run import unproven
from djinnload.health.work import unequal
from djinnload.recording.recorder import read_samples
from djinnload.spi import Outcome, Reply, Request
from djinnload.stats import populations as stats
from djinnload.summary import numbers as summarize
from djinnload.summary.fold import fold_cell, fold_run
from djinnload.testing import Answer
from health_kit import cell, codes, dialogues, population
from simulated_kit import MS, S, measured

COMPARED = {"baseline": "fcfs", "metrics": ["p95(latency)"], "differs": ["policy"]}


def change(path, **fields):
    document = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(document | fields), "utf-8")


def test_01_numbers_that_were_not_measured(synthetic_run):
    """Old: an arm scaled from another by a constant stood in the tables as measured.

    Required: its provenance says so, and it is compared with nothing.
    """
    old = fold_run(synthetic_run)["comparisons"]
    assert {row["status"] for row in old} == {"ok"}
    scaled = synthetic_run / "cells" / "all" / "qos" / "r00"
    assert set(read_samples(scaled)["provenance"].to_pylist()) == {"measured"}
    change(scaled / "manifest.json", provenance="simulated")
    required = fold_run(synthetic_run)["comparisons"]
    assert {row["status"] for row in required} == {"void"}
    assert all("not measured but simulated" in str(r["reasons"]) for r in required)


def test_02_unequal_work():
    """Old: 32 tokens generated locally against one forward remotely, a 57× speed-up.

    Required: UNEQUAL, with both numbers of requests.
    """
    local, remote = dialogues(32), dialogues(1)
    old = local.turns.latency_ns.mean() / remote.turns.latency_ns.mean()
    assert old > 5
    pair = [cell(local, arm="local"), cell(remote, arm="fcfs")]
    (required,) = unequal(pair, COMPARED)
    assert (required.code, required.void) == ("UNEQUAL", True)
    assert "32 requests against 1" in required.message


def test_03_chunks_and_bytes():
    """Old: one encoding counted as 26 chunks, and 0.0 bytes to the device.

    Required: each chunk is a request at its own due time, its bytes are its reply's.
    `tests/integration/test_target_djinn.py` compares them with what a socket got.
    """

    def stream(_):
        for k in range(26):
            _ = yield Request(
                "m", {}, step="chunk", turn=k, due_offset_ns=5 * S + k * S
            )

    reply = Reply(Outcome.OK, bytes_sent=160_000, bytes_received=512)
    schedule = testing.open_loop(testing.constant(1), duration_ns=1 * S)
    found = testing.simulate(
        (testing.population(session=stream),),
        schedule,
        lambda clock: testing.ScriptedTarget(clock, lambda _: Answer(35 * MS, reply)),
        grace_ns=60 * S,
    )
    assert [row["due_ns"] for row in found.rows] == [5 * S + k * S for k in range(26)]
    assert sum(row["bytes_sent"] for row in found.rows) == 26 * 160_000


def test_04_toggles_that_nothing_read():
    """Old: two arms whose toggles nobody read were two results.

    Required: without proof that the server did otherwise, UNPROVEN; with it, none.
    """

    def arms(**proof):
        return [
            cell(
                population(0),
                arm=name,
                proof={"settings": {"policy": name}}
                | {key: made(name) for key, made in proof.items()},
            )
            for name in ("qos", "fcfs")
        ]

    assert codes(unproven(arms(), COMPARED)) == ["UNPROVEN"] * 2
    echoed = {"echoes": lambda name: [{"n": 9, "value": {"policy": name}}]}
    assert codes(unproven(arms(**echoed), COMPARED)) == []
    same = {"echoes": lambda _: [{"n": 9, "value": {"policy": "fcfs"}}]}
    assert codes(unproven(arms(**same), COMPARED)) == ["UNPROVEN"]


def test_04_arms_that_ran_in_another_class(synthetic_run):
    """Old: "aware" arms asked with `priority: normal`, and ran in the batch class.

    Required: the class that replies tell is compared with the one asked for.
    """
    cell_dir = synthetic_run / "cells" / "all" / "qos" / "r00"
    assert fold_cell(cell_dir)["verdict"]["reasons"] == []
    plans = json.loads((cell_dir / "manifest.json").read_text("utf-8"))["populations"]
    plans["batch"]["qos_class"] = "interactive"
    change(cell_dir / "manifest.json", populations=plans)
    (required,) = fold_cell(cell_dir)["verdict"]["reasons"]
    assert required["code"] == "UNPROVEN"
    assert "asked for class interactive" in required["message"]
    assert "replies say batch" in required["message"]


def closed_loop(stall_ns):
    """What a loop saw that sent the next request once the last was answered."""
    at, seen = 0, []
    while at < 10 * S:
        took = max(1 * MS, stall_ns - at) if at < stall_ns else 1 * MS
        seen.append(took)
        at = max(at + took, (at // (100 * MS) + 1) * 100 * MS)
    return seen


def test_05_a_closed_loop_sold_as_poisson(tmp_path):
    """Old: a stall of 1 s at 10/s was one late sample, and 9 that were never sent.

    Required: 10 late samples, and 100 requests in 10 s whatever the server does.
    """
    assert sum(took > 50 * MS for took in closed_loop(1 * S)) == 1
    assert len(closed_loop(1 * S)) == 91
    schedule = testing.open_loop(testing.constant(10), duration_ns=10 * S)
    required, _ = measured(
        tmp_path, schedule, 1 * MS, stalls=((0, 1 * S),), grace_ns=2 * S
    )
    latency = required.turns.latency_ns
    assert (len(latency), int((latency > 50 * MS).sum())) == (100, 10)
    assert [round(each / MS) for each in np.sort(latency)[-10:]] == [
        101 + 100 * k for k in range(10)
    ]


def test_06_time_before_the_timer_and_vanished_refusals(tmp_path):
    """Old: p95 of the 90 % that were served met the objective, refusals were no rows.

    Required: refusals are over any bound, and waiting at the generator is latency.
    """
    calls = 0

    def script(_):
        nonlocal calls
        calls += 1
        if calls % 10 == 0:
            return Answer(0, Reply(Outcome.REFUSED, error="limit exceeded"))
        return Answer(5 * MS)

    schedule = testing.open_loop(testing.constant(100), duration_ns=10 * S)
    samples, _ = measured(tmp_path, schedule, script)
    served = samples.turns.latency_ns[samples.turns.ok]
    wanted = objective.parse("p95(latency) <= 50ms")
    assert stats.nearest_rank(np.sort(served), 0.95) == 5 * MS  # old: met
    required = objective.decide(wanted, [samples])
    assert (required.met, required.n, required.over) == (False, 1000, 100)
    assert required.value == math.inf

    def held(clock, _):
        clock.at(1 * S, lambda: clock.stall(1 * S))

    stuck, _ = measured(tmp_path / "held", schedule, 5 * MS, during=held)
    # Old: the timer started once the client had got its turn: 5 ms each.
    assert stuck.turns.service_ns.max() == 5 * MS
    assert stuck.turns.latency_ns.max() >= 990 * MS


def test_07_one_definition_of_a_percentile():
    """Old: p95 of 64.9 and 51.3 was 52.0; p99 of 50 was a number; nothing was 0.0.

    Required: nearest rank of the sorted values; null; a missing value passes nothing.
    """
    # Old: linear on values as they came, here 64.9 + 0.95 × (51.3 − 64.9).
    assert pytest.approx(52.0, abs=0.05) == 64.9 + 0.95 * (51.3 - 64.9)
    assert stats.nearest_rank(np.sort([64.9, 51.3]), 0.95) == 64.9
    few = population(0, rate=5)
    shown = summarize.spread_of(few.turns.latency_ns[:50])
    assert shown["n"] == 50
    assert shown["p99"] is None
    assert shown["p99.9"] is None
    # Old: 0.0 ms for "not enough" is below every bound, so it passed.
    decided = objective.decide(objective.parse("p99(latency) <= 10s"), [few])
    assert (decided.met, decided.over) == (None, 0)
    nothing = objective.decide(objective.parse("p99(ttft) <= 10s"), [few])
    assert (nothing.met, nothing.value) == (None, None)
    spiked = np.sort(np.append(np.full(59, 1000.0), 1e6))
    assert stats.nearest_rank(spiked, 0.99) == 1e6


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("p95(latency) <= 80", "is a time"),
        ("p95(latency) <= 5%", "is a time"),
        ("miss_rate <= 80ms", "is a share"),
        ("goodput >= 5%", "is a rate"),
    ],
)
def test_08_percent_compared_with_a_ratio(text, why):
    """Old: 5.0 (percent) ≤ 0.05 (ratio) was decided. Required: units are typed."""
    with pytest.raises(ValueError, match=why):
        objective.parse(text)
    assert objective.parse("miss_rate <= 5%").bound == 0.05
    assert objective.parse("miss_rate <= 0.05").bound == 0.05


def test_08_one_percentile_over_all_classes(synthetic_run):
    """Old: one P99 pooled over LLM, vision and CLIP; the file before the verdict.

    Required: objectives are a population's, and the summary holds the verdict.
    """
    summary = fold_run(synthetic_run)
    decided = {
        name: [each["text"] for each in population["objectives"]]
        for name, population in summary["arms"]["qos"]["all"].items()
    }
    assert set(decided) == {"realtime", "chat", "batch"}
    assert decided["realtime"] == ["p95(latency) <= 90ms", "miss_rate <= 10%"]
    assert summary["verdict"]["status"] in {"pass", "fail", "void"}
    assert "latency_ms" not in summary
    written = json.loads((synthetic_run / "summary.json").read_text("utf-8"))
    assert written["verdict"] == summary["verdict"]


def test_08_a_scenario_with_a_unit_that_does_not_fit_runs_nothing(tmp_path):
    """Required: exit code 2 before anything is opened."""
    (tmp_path / "s.toml").write_text(
        '[scenario]\nname = "s"\nduration = "1s"\n[[population]]\nname = "chat"\n'
        'arrival = { process = "constant", rate = "10/s" }\n'
        'workload = { use = "echo" }\nobjectives = ["miss_rate <= 80ms"]\n',
        "utf-8",
    )
    done = run_command("run", "s.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "miss_rate" in done.stderr
    assert not (tmp_path / "results").exists()
