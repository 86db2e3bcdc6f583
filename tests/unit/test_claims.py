"""Claims of a plan: their grammar, and that they stand beside what was measured."""

import io
import json
import re

import pytest
from rich.console import Console

import djinnload
from djinnload import claims
from djinnload.errors import ScenarioError
from djinnload.plan import Workshop, plan
from djinnload.report import claims_text
from djinnload.scenarios.cells import cells
from djinnload.summary.fold import fold_run

SCENARIO = """
[scenario]
name = "claimed"
duration = "1s"
experiment = "2.1"
[[population]]
name = "chat"
users = 1
workload = { use = "echo" }
[[claim]]
arm = "default"
metric = "mean(latency)"
value = "3ms"
"""


def planned(**changed):
    text = SCENARIO
    for old, new in changed.values():
        assert old in text
        text = text.replace(old, new)
    scenario = djinnload.scenarios.load.loads(text)
    return plan(cells(scenario)[0], workshop=Workshop())


@pytest.mark.parametrize(
    ("metric", "value", "unit", "number"),
    [
        ("mean(tpot)", "3ms", "time", 3e6),
        ("gpu_util", "99%", "share", 0.99),
        ("throughput", "66/s", "rate", 66.0),
        ("bytes_a_session", "60GB", "size", 60e9),
        ("mean( bytes )", "0.8MB", "size", 8e5),
        ("speed_up(mean(latency))", 57, "factor", 57.0),
        ("overhead(mean(latency))", "-82 %", "percent", -82.0),
        ("ratio(throughput)", 0.18, "factor", 0.18),
    ],
)
def test_quantities_read_values_of_their_unit(metric, value, unit, number):
    quantity = claims.parse(metric)
    assert quantity.unit == unit
    assert quantity.read(value) == pytest.approx(number)


@pytest.mark.parametrize(
    ("changed", "where", "why"),
    [
        (('experiment = "2.1"', 'experiment = "2.7"'), "scenario.experiment", "4.2"),
        (('arm = "default"', 'arm = "full"'), "claim[0].arm", "default"),
        (("mean(latency)", "sped_up(latency)"), "claim[0].metric", "'speed_up'"),
        (("3ms", "3"), "claim[0].value", "10ms"),
        (("mean(latency)", "ratio(goodput)"), "claim[0].value", "like 57"),
        (("mean(latency)", "saved(mean(bytes))"), "claim[0].value", "like 6.7%"),
        (("[[claim]]", '[[claim]]\npoint = "users=2"'), "claim[0].point", "users=2"),
        (("[[claim]]", '[[claim]]\npopulation = "cha"'), "claim[0].population", "chat"),
    ],
)
def test_a_claim_that_is_wrong_says_where_and_what_there_is(changed, where, why):
    with pytest.raises(ScenarioError) as caught:
        planned(one=changed)
    assert caught.value.path.startswith(f"$.{where}")
    assert why in caught.value.reason


def test_a_claim_that_is_right_passes():
    assert planned().cell.arm == "default"


def test_levels_that_set_left_out_take_their_claims_with_them():
    sweep = '[[sweep]]\nname = "n"\npath = "population.chat.users"\nvalues = [1, 8]\n'
    text = SCENARIO.replace("[[claim]]", '[[claim]]\npoint = "n=8"') + sweep
    scenario = djinnload.scenarios.load.loads(text)
    assert plan(cells(scenario)[0], workshop=Workshop()).cell.point == "n=1"
    fewer = scenario.replace({"sweep.n.values": [1]})
    assert [cell.point for cell in cells(fewer)] == ["n=1"]
    assert plan(cells(fewer)[0], workshop=Workshop()).cell.point == "n=1"


def claimed(run, *listed):
    path = run / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["plan"] = {"claim": list(listed)}
    path.write_text(json.dumps(manifest))
    return fold_run(run)


def test_claims_stand_beside_the_mean_over_repeats_and_decide_nothing(synthetic_run):
    before = fold_run(synthetic_run)
    summary = claimed(
        synthetic_run,
        {"arm": "qos", "population": "chat", "metric": "mean(latency)", "value": "3ms"},
        # Some of its turns are not ok: no mean hides that.
        {"arm": "qos", "population": "batch", "metric": "mean(latency)", "value": "1s"},
    )
    first, failing = summary["claims"]
    assert [first[key] for key in ("arm", "point", "population", "claimed")] == [
        *("qos", "all", "chat"),
        3e6,
    ]
    shown = before["arms"]["qos"]["all"]["chat"]["latency_ms"]
    assert first["measured"] == pytest.approx(shown["mean"] * 1e6, rel=0.02)
    assert first["ci95"] == pytest.approx([end * 1e6 for end in shown["ci95"]["mean"]])
    assert (first["n"], first["interval"]) == (shown["n"], "t over 5 repeats")
    assert (failing["measured"], failing["ci95"]) == ("inf", None)
    assert summary["verdict"] == before["verdict"]


def test_an_infeasible_claim_is_marked_in_each_population(synthetic_run):
    reason = "queues have variance"
    wanted = {"arm": "fcfs", "metric": "miss_rate", "value": "0%", "infeasible": reason}
    found = claimed(synthetic_run, wanted)["claims"]
    assert [each["population"] for each in found] == ["realtime", "chat", "batch"]
    assert {(each["feasible"], each["infeasible"]) for each in found} == {
        (False, reason)
    }


def test_a_ratio_is_that_of_the_comparison(synthetic_run):
    wanted = {"arm": "qos", "metric": "ratio(p95(latency))", "value": 0.5}
    summary = claimed(synthetic_run, wanted)
    ratios = {each["population"]: each for each in summary["claims"]}
    compared = [
        each for each in summary["comparisons"] if each["metric"] == "p95(latency)"
    ]
    assert compared
    for each in compared:
        assert ratios[each["population"]]["measured"] == each["ratio"]
        assert ratios[each["population"]]["n"] == each["n"]


def test_what_nobody_measured_is_null_and_never_zero(synthetic_run):
    found = claimed(
        synthetic_run,
        {"arm": "qos", "metric": "gpu_util", "value": "99%", "population": "chat"},
        {"arm": "gone", "metric": "mean(latency)", "value": "1ms"},
    )["claims"]
    assert [(each["measured"], each["n"]) for each in found] == [(None, 0)] * 2


def test_bytes_of_a_session_are_those_of_its_requests(synthetic_run):
    wanted = {"arm": "qos", "population": "chat", "value": "1B"}
    session, turn = claimed(
        synthetic_run,
        {**wanted, "metric": "bytes_a_session"},
        {**wanted, "metric": "bytes_a_turn"},
    )["claims"]
    # A session of chat has two turns.
    assert session["measured"] == pytest.approx(2 * turn["measured"], rel=0.05)
    assert turn["n"] == 5


def test_claims_stand_in_the_terminal_marked_as_such(synthetic_run):
    reason = "queues have [variance]"
    summary = claimed(
        synthetic_run,
        {"arm": "qos", "population": "chat", "metric": "mean(latency)", "value": "3ms"},
        {"arm": "qos", "population": "chat", "metric": "gpu_util", "value": "99%"},
        {"arm": "fcfs", "metric": "miss_rate", "value": "0%", "infeasible": reason},
    )
    console = Console(file=io.StringIO(), width=200)
    claims_text.render(summary["claims"], console)
    lines = console.file.getvalue().splitlines()
    assert "nobody measured" in lines[1]
    first = next(line for line in lines if "mean(latency) of chat" in line)
    assert re.search(r"qos +mean\(latency\) of chat +3 ms +5\d\.\d ms \[", first)
    assert "not measured" in next(line for line in lines if "gpu_util" in line)
    assert sum(reason in line for line in lines) == 3
    claims_text.render([], console)
    assert console.file.getvalue().splitlines() == lines
