"""Rows → no regression, regression, undecided or void; what runs may differ in."""

import copy

import numpy as np
import pytest
from msgspec import to_builtins

from djinnload import comparability, regressions
from djinnload.compare import compare, holm
from djinnload.errors import ScenarioError
from djinnload.regressions import decide
from djinnload.stats.populations import PopulationSamples, Requests, Turns
from djinnload.summary.run import Cell
from djinnload.units import MS


def row(metric="p95(latency)", *, ratio=None, ci=None, b=100.0, **other):
    made = {"metric": metric, "status": "ok", "ratio": ratio, "ci95": ci, "a": 1.0, "b": b, "n": 5, "p": 0.001, "p_holm": 0.001, "reasons": ()}  # fmt: skip
    return made | other


REL, NO, BAD, OPEN = 1.0, "no regression", "regression", "undecided"
#: metric, ratio (None: a difference), interval, b → decision at 5 %.
RULES = [
    ("p95(latency)", REL, (1.06, 1.2), 100, BAD),
    ("p95(latency)", REL, (1.04, 1.2), 100, OPEN),
    ("p95(latency)", REL, (0.9, 1.04), 100, NO),
    ("mean(queue)", REL, (0.2, 0.3), 100, NO),
    ("mean(queue)", None, (6.0, 9.0), 100, BAD),
    ("mean(queue)", None, (1.0, 4.0), 100, NO),
    ("mean(queue)", None, (1.0, 4.0), 0.0, BAD),
    ("mean(queue)", None, (0.0, 0.0), 0.0, NO),
    ("in_system", REL, (1.3, 1.4), 4, BAD),
    ("goodput", REL, (0.7, 0.9), 40, BAD),
    ("goodput", REL, (0.9, 0.97), 40, OPEN),
    ("goodput", REL, (0.96, 0.98), 40, NO),
    ("goodput", REL, (1.3, 1.4), 40, NO),
    ("goodput", None, (-40.0, -39.0), 40, BAD),
    # Of shares, points: 2 % may become 7 %, which is 3.5 times as much.
    ("miss_rate", REL, (3.0, 3.4), 0.02, NO),
    ("miss_rate", REL, (3.0, 4.0), 0.02, OPEN),
    ("miss_rate", REL, (1.2, 1.3), 0.5, BAD),
    ("error_rate", None, (0.06, 0.09), 0.0, BAD),
    ("error_rate", None, (0.0, 0.04), 0.0, NO),
]


@pytest.mark.parametrize(("metric", "ratio", "ci", "b", "said"), RULES)
def test_a_row_is_decided_by_its_interval(metric, ratio, ci, b, said):
    assert decide(row(metric, ratio=ratio, ci=ci, b=b), 0.05).decision == said


def test_a_void_row_is_void_whatever_it_shows():
    assert decide(row(ratio=2, ci=(1.9, 2.1), status="void"), 0.05).decision == "void"


def test_many_rows_need_more_evidence():
    found = decide(row(ratio=2, ci=(1.1, 4.0), p_holm=0.2), 0.05)
    assert found.decision == OPEN
    assert "corrected" in found.because


def test_how_many_more_repeats_decide():
    found = decide(row(ratio=1, ci=(0.9, 1.1)), 0.05)
    # Half of the interval is twice the way to the tolerance: four times the repeats.
    assert (found.needs, found.because) == (15, "needs about 15 more repeats a side")
    within = decide(
        row(ratio=1, ci=(0.9, 1.1), n=40, reasons=("within one run",)), 0.05
    )
    assert "4.0 times the duration" in within.because
    near = decide(row(ratio=1.05, ci=(0.9, 1.2)), 0.05)
    assert near.needs is None
    assert "too near" in near.because


@pytest.mark.parametrize(
    ("a", "b", "p", "said"),
    [
        (np.inf, 5.0, 0.01, BAD),
        (5.0, np.inf, 0.01, NO),
        (np.inf, np.inf, 0.01, OPEN),
        (np.inf, 5.0, 0.06, OPEN),
    ],
)
def test_infinite_repeats_are_decided_by_their_order(a, b, p, said):
    assert decide(row(a=a, b=b, p_holm=p), 0.05).decision == said


def test_too_little_to_have_an_interval_is_undecided():
    few = row(status="undecided", p=None, p_holm=None, reasons=("within one run", "x"))
    assert decide(few, 0.05) == regressions.Decision(OPEN, None, "x")


@pytest.mark.parametrize(
    ("count", "asked", "words"),
    [
        (1, {}, "two run directories"),
        (3, {}, "two run directories"),
        (2, {"arms": "a,b"}, "two run directories"),
        (1, {"arms": "a"}, "should be two arms"),
        (1, {"arms": "a,a"}, "should be two arms"),
        (2, {"allow": ["hots"]}, "did you mean 'host'"),
        (2, {"tolerance": "5ms"}, "--tolerance"),
        (2, {"metrics": ["p95(latncy)"]}, "did you mean 'latency'"),
        (2, {"metrics": ["gpu_util"]}, "of a device"),
    ],
)
def test_what_makes_no_sense_is_refused(count, asked, words):
    with pytest.raises(ScenarioError, match=words):
        regressions.ask(count, **asked)


MANIFEST = {
    "plan": {
        "scenario": {"name": "x", "repeats": 5, "duration": "10s"},
        "target": {"server": {"policy": "qos"}},
        "population": [
            {
                "name": "chat",
                "deadline": "50ms",
                "workload": {"use": "llm", "model": "tiny"},
                "objectives": ["goodput >= 3/s"],
            }
        ],
    },
    "seed": 1,
    "versions": {"djinnload": "1", "numpy": "2"},
    "host": {"name": "here", "cores": 2, "load1": 0.1},
    "devices": None,
    "environment": {"GENIE_X": "1"},
}
CELL = {
    "populations": {"chat": {"offered_per_s": 40.0}},
    "proof": {
        "kind": "djinn",
        "address": "127.0.0.1:1",
        "settings": {"slots": 2},
        "evidence": {"weights_sha256": {"how": "echoed", "value": "ab"}},
    },
}


def side(change=None, value=None, document="manifest"):
    made = copy.deepcopy({"manifest": MANIFEST, "cell": CELL})
    if change:
        *path, last = change
        at = made[document]
        for key in path:
            at = at[key]
        at[last] = value
    return made["manifest"], [Cell({"id": "all/qos/r00"}, "done", made["cell"])]


@pytest.mark.parametrize(
    ("key", "change", "value", "document"),
    [
        ("host", ["host", "cores"], 4, "manifest"),
        ("devices", ["devices"], [{"name": "H100"}], "manifest"),
        ("environment", ["environment", "GENIE_X"], "2", "manifest"),
        ("djinnload", ["versions", "djinnload"], "2", "manifest"),
        ("versions", ["versions", "numpy"], "3", "manifest"),
        ("seed", ["seed"], 2, "manifest"),
        ("scenario", ["plan", "scenario", "duration"], "5s", "manifest"),
        ("scenario", ["plan", "population", 0, "deadline"], "5s", "manifest"),
        ("workload", ["plan", "population", 0, "workload", "model"], "b", "manifest"),
        ("target", ["plan", "target", "server", "policy"], "fcfs", "manifest"),
        ("target", ["proof", "settings", "slots"], 3, "cell"),
        ("target", ["proof", "kind"], "null", "cell"),
        ("model", ["proof", "evidence", "weights_sha256", "value"], "cd", "cell"),
        ("load", ["populations", "chat", "offered_per_s"], 41.0, "cell"),
    ],
)
def test_a_difference_is_named_by_its_key(key, change, value, document):
    (found,) = comparability.differences(side(change, value, document), side())
    assert found.key == key
    assert repr(value)[:8] in found.what


@pytest.mark.parametrize(
    ("change", "value", "document"),
    [
        (["host", "load1"], 3.0, "manifest"),
        (["plan", "scenario", "name"], "y", "manifest"),
        (["plan", "scenario", "repeats"], 9, "manifest"),
        (["plan", "population", 0, "objectives"], [], "manifest"),
        (["proof", "address"], "127.0.0.1:2", "cell"),
        (["populations", "chat", "offered_per_s"], 40.01, "cell"),
    ],
)
def test_what_changes_no_measurement_may_differ(change, value, document):
    assert comparability.differences(side(change, value, document), side()) == ()


def repeats(first, scale=1.0):
    return [_samples(np.random.default_rng((first, i)), scale) for i in range(5)]


def _samples(rng, scale):
    # Each repeat has a level of its own, as a server has on each day.
    latency = rng.gamma(4, 2.5, 120) * rng.lognormal(0, 0.1) * scale * MS
    n = len(latency)
    due = (np.arange(n) * 10 * MS).astype(np.int64)
    known = {name: np.full(n, np.nan) for name in Turns.__struct_fields__}
    known |= {"due_ns": due, "done_ns": due + latency.astype(np.int64)}
    known |= {"latency_ns": latency, "ok": np.ones(n, bool)}
    return PopulationSamples(
        name="chat",
        loop="open",
        qos_class="realtime",
        deadline_ns=20 * MS,
        window_ns=(0, n * 10 * MS),
        turns=Turns(**known),
        requests=Requests(**dict.fromkeys(Requests.__struct_fields__, np.empty(0))),
    )


def said(trial, scale=1.0):
    """Decisions of two populations × four metrics, without any tolerance."""
    sides = [
        (repeats(4 * trial + i, scale), repeats(4 * trial + i + 1)) for i in (0, 2)
    ]
    rows = [
        to_builtins(compare(metric, a, b, population="chat"))
        for a, b in sides
        for metric in regressions.DEFAULT_METRICS
    ]
    for each, p in zip(rows, holm([each["p"] for each in rows]), strict=True):
        each["p_holm"] = p
    return {decide(each, 0.0).decision for each in rows}


def test_the_same_is_called_a_regression_no_more_often_than_alpha():
    trials = 200
    false = sum(BAD in said(trial) for trial in range(trials))
    # Fixed seeds: 1 of 200; a level 1.6 times as high is found in 96 of 100.
    assert false <= regressions.ALPHA * trials
    assert all(BAD in said(trial, scale=2.0) for trial in range(20))
