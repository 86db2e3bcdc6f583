"""Arms that do other work than their baseline are not compared."""

import json

import numpy as np
import pytest

from djinnload.health.cell import judge_run
from djinnload.health.work import common, is_total, shortest, unequal
from djinnload.summary.fold import fold_run
from health_kit import cell, codes, dialogues, population  # tests/, by conftest.py

COMPARED = {"baseline": "fcfs", "metrics": ["p95(latency)"], "differs": []}
PREFIX = COMPARED | {"equal_work": "prefix"}
MS = 1_000_000


def found(a, b, comparison=COMPARED, **manifest):
    pair = [cell(a, arm="qos", **manifest), cell(b, arm="fcfs", **manifest)]
    return list(unequal(pair, comparison))


def test_the_same_work_is_left_alone():
    assert found(dialogues(4), dialogues(4)) == []
    for seed in range(40):
        assert found(population(seed), population(seed, service_ms=9)) == []


def test_mistake_of_other_token_counts_is_seen():
    (finding,) = found(dialogues(32), dialogues(1))
    assert (finding.code, finding.void, finding.value) == ("UNEQUAL", True, 1.0)
    assert "all/qos/r00 chat: 50 of 50 sessions" in finding.message
    assert "32 requests against 1" in finding.message
    assert "prefix" in finding.message
    assert found(dialogues(32), dialogues(1), PREFIX) == []


def last(value):
    def change(column):
        column[-1] = value
        return column

    return change


@pytest.mark.parametrize("comparison", [COMPARED, PREFIX], ids=["exact", "prefix"])
@pytest.mark.parametrize(
    ("field", "value"), [("step", "prefill"), ("units", 2.0), ("turn", 1)]
)
def test_one_request_of_other_work_is_enough(field, value, comparison):
    other = dialogues(4, **{field: last(value)})
    (finding,) = found(other, dialogues(4), comparison)
    assert finding.value == 1 / 50
    assert "1 of 50 sessions" in finding.message
    assert "session 49 of user 0: 4 requests against 4 in other" in finding.message


def test_sessions_that_failed_or_did_not_end_are_a_result():
    failed = dialogues(4, units=last(2.0), outcome=last("error"))
    assert found(failed, dialogues(4)) == []
    cut = dialogues(4, units=last(2.0), session_end=last(False))
    assert found(cut, dialogues(4)) == []


def test_another_schedule_is_seen():
    (finding,) = found(dialogues(4, shift=1), dialogues(4))
    assert "50 of 50 sessions were not due" in finding.message
    (finding,) = found(dialogues(4), dialogues(4, sessions=49))
    assert (finding.value, "1 of 50" in finding.message) == (1 / 50, True)
    # Who interrupted a run cut its schedule, and no one else's.
    assert found(dialogues(4), dialogues(4, sessions=49), interrupted=True) == []


def test_a_population_on_one_side_only_is_seen():
    two = cell(dialogues(4), dialogues(4, name="batch"), arm="qos")
    (finding,) = unequal([two, cell(dialogues(4), arm="fcfs")], COMPARED)
    assert (finding.population, finding.value) == ("batch", 1.0)


def test_repeats_and_points_are_paired():
    def one(arm, repeat, tokens, point="all"):
        made = cell(dialogues(tokens), arm=arm)
        made.manifest.update(repeat=repeat, point=point)
        return made

    cells = [one("fcfs", 0, 2), one("fcfs", 1, 3), one("qos", 0, 2), one("qos", 1, 3)]
    assert list(unequal(cells, COMPARED)) == []
    crossed = [one("fcfs", 0, 2), one("qos", 0, 3, "b"), one("fcfs", 0, 3, "b")]
    assert list(unequal(crossed, COMPARED)) == []
    wrong = [*cells, one("full", 1, 2)]
    assert ["all/full/r01" in f.message for f in unequal(wrong, COMPARED)] == [True]


def test_it_is_a_rule_of_runs_that_compare():
    cells = [cell(dialogues(4), arm="qos"), cell(dialogues(3), arm="fcfs")]
    assert codes(judge_run(cells, COMPARED)) == ["UNEQUAL"]
    assert codes(judge_run(cells, PREFIX)) == []
    assert codes(judge_run(cells, None)) == []
    assert codes(judge_run(cells, COMPARED, accepted=["UNEQUAL"])) == []


def test_prefix_compares_equal_positions_alone():
    long, short = cell(dialogues(8)), cell(dialogues(3))
    left, right = shortest(long, short, "chat")
    assert len(left.requests.due_ns) == len(right.requests.due_ns) == 150
    np.testing.assert_array_equal(left.requests.due_ns, right.requests.due_ns)
    assert (left.turns.units == 3).all()
    # Position k takes k ms: without cutting, the longer one would look slower.
    latency = left.requests.done_ns - left.requests.due_ns
    assert latency.mean() == 2 * MS


def in_turns(tokens, turns):
    """Dialogues of so many turns of *tokens* requests."""
    number = np.tile(np.repeat(np.arange(turns), tokens), 50)
    return cell(dialogues(tokens * turns, turn=lambda _: number))


@pytest.mark.parametrize(
    ("short", "whole"), [(in_turns(3, 1), True), (cell(dialogues(4)), False)]
)
def test_what_a_turn_takes_is_compared_where_none_is_cut_short(short, whole):
    left, right, found = common([(in_turns(3, 2), short)], "chat")
    assert found is whole
    assert len(left[0].requests.due_ns) == len(right[0].requests.due_ns)
    assert is_total("p95(latency)", whole=found) is not whole
    assert is_total("mean(session)", whole=True)
    assert is_total("miss_rate", whole=True)
    assert not is_total("mean(ttft)", whole=False)


def edited(run, change):
    path = run / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    change(manifest["comparison"])
    path.write_text(json.dumps(manifest), "utf-8")
    return fold_run(run)


def test_a_run_compares_no_totals_under_prefix(synthetic_run):
    def prefix(comparison):
        comparison["equal_work"] = "prefix"
        comparison["metrics"] = ["goodput", "mean(request_latency)", "p95(latency)"]

    rows = edited(synthetic_run, prefix)["comparisons"]
    said = {(r["metric"], r["status"]) for r in rows if r["population"] == "chat"}
    assert said == {
        ("goodput", "void"),
        ("mean(request_latency)", "ok"),
        ("p95(latency)", "ok"),
    }
    (total,) = {tuple(r["reasons"]) for r in rows if r["status"] == "void"}
    assert total == ("equal_work = prefix: totals are not compared",)
