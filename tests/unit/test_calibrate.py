"""Capacity from samples, and rates from capacity."""

import pyarrow as pa
import pytest

from djinnload import calibrate
from djinnload.errors import ScenarioError, TargetError
from djinnload.scenarios.cells import cells
from djinnload.scenarios.load import load, loads
from djinnload.schedule import Schedule

MS, SECOND = 1_000_000, 1_000_000_000

BASE = """
[scenario]
name = "s"
duration = "1s"
load = 1.5

[calibrate]
arm = "b"
users = 4

[[population]]
name = "one"
arrival = { process = "poisson", rate = "0.2 of capacity" }
workload = { use = "echo" }

[[population]]
name = "fixed"
arrival = { process = "poisson", rate = "7/s" }
workload = { use = "echo" }

[[population]]
name = "streams"
users = 4
arrival = { process = "constant", rate = "0.1 of capacity", per = "user" }
workload = { use = "echo" }

[[population]]
name = "closed"
users = 2
workload = { use = "echo" }

[[arm]]
name = "a"
[[arm]]
name = "b"
[[arm]]
name = "c"
"""
SCHEDULE = Schedule(9, (), SECOND, 10 * SECOND)


def test_who_needs_it():
    assert calibrate.needed(loads(BASE))
    assert not calibrate.needed(loads(BASE).replace({"calibrate.capacity": "60/s"}))
    plain = {f"population.{n}.arrival.rate": "1/s" for n in ("one", "streams")}
    assert not calibrate.needed(loads(BASE).replace(plain))


def test_rates_are_made_plain():
    found = calibrate.with_capacity(loads(BASE), 40.0)
    rates = [
        float(str((p.arrival or {}).get("rate", "0/s"))[:-2]) for p in found.populations
    ]
    assert rates == [pytest.approx(12.0), 7.0, pytest.approx(6.0), 0.0]
    assert found.populations[2].arrival["per"] == "user"
    assert set(found.changes) == {
        "population.one.arrival",
        "population.streams.arrival",
    }
    assert not calibrate.needed(found)
    assert calibrate.with_capacity(found, 99.0) is found


@pytest.mark.parametrize("per_s", [1e-7, 1 / 3, 12345.678, 1e9])
def test_rates_keep_every_digit(per_s):
    found = calibrate.with_capacity(loads(BASE), per_s)
    assert float(found.populations[0].arrival["rate"][:-2]) == 0.2 * (1.5 * per_s)


def test_nested_rates_are_made_plain_too():
    stages = [{"rate": "0.5 of capacity", "time": "1s"}, {"rate": "1/s"}]
    changed = loads(BASE).replace(
        {"population.one.arrival": {"process": "stages", "stages": stages}}
    )
    found = calibrate.with_capacity(changed, 10.0).populations[0].arrival["stages"]
    assert found == [{"rate": "7.5/s", "time": "1s"}, {"rate": "1/s"}]


def test_a_pinned_capacity_wins():
    pinned = loads(BASE).replace({"calibrate.capacity": "60/s"})
    found = calibrate.with_capacity(pinned, calibrate.NOMINAL)
    assert float(found.populations[0].arrival["rate"][:-2]) == pytest.approx(18.0)
    capacity = calibrate.pinned(pinned)
    assert capacity is not None
    assert (capacity.per_s, capacity.pinned) == (60.0, True)
    assert calibrate.pinned(loads(BASE)) is None


@pytest.mark.parametrize("per_s", [0.0, -1.0, float("nan"), float("inf")])
def test_no_capacity(per_s):
    with pytest.raises(ScenarioError) as caught:
        calibrate.with_capacity(loads(BASE), per_s)
    assert caught.value.path == "$.calibrate.capacity"


def test_the_arm_that_is_calibrated():
    loaded = loads(BASE)
    assert calibrate.arm(loaded, cells(loaded)) == "b"
    assert calibrate.arm(loaded, cells(loaded, ["c", "a"])) == "a"
    order = cells(loads(BASE).replace({"calibrate": {}}))
    assert calibrate.arm(loads(BASE).replace({"calibrate": {}}), order) == "a"


def test_the_mix():
    mix = calibrate.weights(loads(BASE))
    assert mix == ((0, 0.2), (2, pytest.approx(0.4)))
    made = calibrate.mixed(SCHEDULE, mix, users=4, time_ns=5 * SECOND)
    assert (made.sources[0].users, made.sources[0].mix) == (4, mix)
    assert (made.warmup_ns, made.duration_ns) == (SECOND, 5 * SECOND)
    alone = calibrate.solo(SCHEDULE, mix, time_ns=2 * SECOND)
    assert (alone.sources[0].users, alone.sources[0].mix) == (1, ((0, 1.0), (2, 1.0)))
    again = calibrate.mixed(SCHEDULE, mix, users=4, time_ns=5 * SECOND, when="end")
    assert len({9, made.seed, alone.seed, again.seed}) == 4


def test_no_mix():
    plain = {f"population.{n}.arrival.rate": "1/s" for n in ("one", "streams")}
    with pytest.raises(ScenarioError, match="nothing to calibrate"):
        calibrate.weights(loads(BASE).replace(plain))


def row(session, done_ms, service_ms=8.0, **changes):
    made = {
        "population": "rt",
        "user": 0,
        "session": session,
        "turn": 0,
        "session_end": True,
        "phase": "measure",
        "sent_ns": int((done_ms - service_ms) * MS),
        "done_ns": int(done_ms * MS),
        "outcome": "ok",
        "server_exec_ns": 5.0 * MS,
    }
    return made | changes


def table(rows):
    return pa.Table.from_pylist(rows)


def read(rows, alone=None, **window):
    window = {"begin_ns": SECOND, "duration_ns": 5 * SECOND} | window
    return calibrate.read(
        table(rows), None if alone is None else table(alone), **window
    )


def evenly(per_block, start_ms=1000):
    """Return rows of sessions done evenly in blocks of a second, some n in each."""
    return [
        row(1000 * block + i, start_ms + 1000 * block + (i + 0.5) * 1000 / n)
        for block, n in enumerate(per_block)
        for i in range(n)
    ]


def test_capacity_is_the_median_block():
    found = read(evenly([60, 50, 61, 40, 62]))
    assert found.per_s == 60
    assert found.blocks_per_s == (60, 50, 61, 40, 62)
    assert found.spread == pytest.approx(22 / 60)
    assert not found.pinned
    assert (found.solo, found.median_service_ms) == ({}, None)


def test_only_what_ends_in_the_window_counts():
    early = [{**r, "user": 1} for r in evenly([10] * 5, -4000)]
    late = [{**r, "user": 2} for r in evenly([10] * 5, 6000)]
    assert read([*early, *evenly([20] * 5), *late]).blocks_per_s == (20,) * 5


def test_the_edges_of_blocks():
    edges = [row(i, 1000.0 + 1000 * i) for i in range(6)]
    found = read([*edges, *(row(10 + r["session"], r["done_ns"] / MS) for r in edges)])
    assert found.blocks_per_s == (2,) * 5


def test_only_sessions_that_were_ok_throughout_count():
    rows = evenly([10] * 5)
    failed = [
        row(s, 1500, outcome=o)
        for s, o in enumerate(("error", "timeout", "wrong"), 9000)
    ]
    half = [row(9100, 1400, session_end=False, outcome="error"), row(9100, 1500)]
    unfinished = [row(9200, 1500, session_end=False)]
    unsent = [row(9300, 1500, outcome="timeout", sent_ns=None)]
    found = read([*rows, *failed, *half, *unfinished, *unsent])
    assert found.blocks_per_s == (10,) * 5


def test_sessions_of_several_rows_count_once():
    rows = [
        each
        for r in evenly([10] * 5)
        for each in ({**r, "session_end": False}, {**r, "turn": 1})
    ]
    assert read(rows).per_s == 10


def test_users_and_populations_are_told_apart():
    rows = evenly([10] * 5)
    rows += [{**r, "user": 1} for r in evenly([10] * 5)]
    rows += [{**r, "population": "b"} for r in evenly([10] * 5)]
    assert read(rows).per_s == 30


def test_a_server_that_answers_nothing():
    with pytest.raises(TargetError, match="0 sessions were ok in 5 s"):
        read([row(1, 1500, outcome="error")])


def test_one_user_alone():
    alone = [row(i, 100 + 10 * i, 8 + i % 3) for i in range(9)]
    alone += [
        row(i, 500 + 10 * i, 20.0, population="b", server_exec_ns=None)
        for i in range(2)
    ]
    alone += [row(90, 900, 500.0, phase="warmup"), row(91, 910, 500.0, outcome="error")]
    found = read(evenly([60] * 5), alone)
    assert found.solo["rt"] == calibrate.Solo(service_ms=9.0, exec_ms=5.0, n=9)
    assert found.solo["b"] == calibrate.Solo(service_ms=20.0, exec_ms=None, n=2)
    assert found.median_service_ms == 9.0


def test_a_turn_is_all_its_requests():
    alone = [row(1, 100, 8.0, session_end=False), row(1, 120, 4.0)]
    assert read(evenly([1] * 5), alone).solo["rt"].service_ms == 12.0
    alone[1]["outcome"] = "error"
    assert read(evenly([1] * 5), alone).solo == {}


def test_drift_and_document():
    start, end = read(evenly([60] * 5)), read(evenly([45] * 5))
    assert calibrate.drift(start, end) == -0.25
    alone = read(evenly([60] * 5), [row(1, 100, 8.0)])
    found = calibrate.document(alone, arm="b", scenario=loads(BASE), end=end)
    assert found["solo"] == {"rt": {"service_ms": 8.0, "exec_ms": 5.0, "n": 1}}
    assert found["end"] == {
        "capacity_per_s": 45.0,
        "blocks_per_s": [45.0] * 5,
        "drift": -0.25,
    }
    assert (found["capacity_per_s"], found["pinned"], found["users"]) == (
        60.0,
        False,
        4,
    )
    assert (found["arm"], found["arm_named"], found["spread"]) == ("b", "b", 0.0)


def test_the_document_of_a_pinned_capacity():
    found = calibrate.document(
        calibrate.Capacity(60.0), arm="a", scenario=load("quick")
    )
    assert (found["pinned"], found["spread"], found["end"]) == (True, None, None)
