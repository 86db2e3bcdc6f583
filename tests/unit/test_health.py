"""Each rule is provoked, each leaves a healthy cell alone."""

import numpy as np
import pyarrow as pa
import pytest
from msgspec import structs

from djinnload.health import generator as health_generator
from djinnload.health.cell import (
    RULES,
    CellEvidence,
    calibration,
    judge_cell,
    judge_run,
    no_contention,
    not_applicable,
    undecided,
    unproven,
)
from djinnload.objective import Judged, decide, parse
from djinnload.stats.populations import Turns
from djinnload.units import MS, SECOND, US
from health_kit import (  # tests/, by conftest.py
    BEGIN,
    END,
    SEEDS,
    cell,
    codes,
    flights,
    population,
    probes,
    renamed,
)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rate", [40.0, 140.0])
def test_a_healthy_cell_is_left_alone(seed, rate):
    def some(column, rng):
        column[::20] = True
        return column

    healthy = population(seed, rate=rate, verified=some)
    evidence = cell(
        healthy,
        probe=probes(seed, seen=flights(seed, healthy)),
        plan={"objectives": ["p95(latency) <= 1s"]},
    )
    found = judge_cell(evidence)
    assert codes(found) == []
    assert codes(found, void=False) == ["verified"]
    unfit = {"saturated", "no-queue", "UNPROVEN", "network"}
    few = {"LITTLE"} if rate < 100 else set()
    assert set(not_applicable(evidence)) == unfit | few


def share_late(share, by_us):
    def late(sent, rng):
        n = len(sent)
        picked = rng.choice(n, int(np.ceil(share * n)), replace=False)
        sent[picked] += by_us * US
        return sent

    return late


@pytest.mark.parametrize("seed", SEEDS)
def test_late_requests_void(seed):
    # Half of p95's tail: 2.5 %; what counts as late: 5 % of a median of about 5 ms.
    plan = {"objectives": ["p95(latency) <= 1s", "miss_rate <= 50%"]}
    late = cell(population(seed, sent_ns=share_late(0.035, 2000)), plan=plan)
    (finding,) = judge_cell(late)
    assert (finding.code, finding.void, finding.population) == ("LATE", True, "chat")
    assert "lower rate" in finding.message
    fair = cell(population(seed, sent_ns=share_late(0.015, 2000)), plan=plan)
    assert codes(judge_cell(fair)) == []
    assert codes(judge_cell(cell(fair.populations["chat"]))) == ["LATE"]  # 1 %


def test_late_depends_on_the_service_time():
    late = share_late(0.1, 400)
    assert codes(judge_cell(cell(population(1, service_ms=1, sent_ns=late)))) == [
        "LATE"
    ]
    slow = population(1, rate=4, service_ms=100, sent_ns=late)
    assert codes(judge_cell(cell(slow))) == []


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("outcome", ["timeout", "dropped", "cancelled"])
def test_undelivered_requests_void(seed, outcome):
    def lost(column, rng):
        column[rng.choice(len(column), len(column) // 30, replace=False)] = outcome
        return column

    hurt = population(seed, outcome=lost)
    if outcome == "cancelled":
        hurt.requests.sent_ns[hurt.requests.outcome == outcome] = np.nan
    assert "UNDELIVERED" in codes(judge_cell(cell(hurt)))


def test_what_an_interrupt_cancelled_was_not_lost():
    def cut(column, rng):
        column[-50:] = "cancelled"
        return column

    def never(column, rng):
        column[-50:] = np.nan
        return column

    cut_off = population(0, outcome=cut, sent_ns=never)
    assert codes(judge_cell(cell(cut_off))) == ["UNDELIVERED"]
    assert codes(judge_cell(cell(cut_off, interrupted=True))) == []


def test_refused_requests_were_delivered():
    def refused(column, rng):
        column[::2] = "refused"
        return column

    assert codes(judge_cell(cell(population(0, outcome=refused)))) == []


def test_only_first_requests_are_asked_for():
    def sessions_of_two(column, rng):
        return column // 2

    def second_lost(column, rng):
        column[1::2] = "timeout"
        return column

    two = population(0, session=sessions_of_two, outcome=second_lost)
    assert codes(judge_cell(cell(two))) == []


def test_a_cap_that_drops_voids():
    def one(column, rng):
        column[5] = "dropped"
        return column

    assert codes(judge_cell(cell(population(0, outcome=one)))) == ["DROPPED"]
    (finding,) = judge_cell(cell(population(0), dropped=3))
    assert finding.code == "DROPPED"
    assert "3 requests" in finding.message


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stalling_loop_voids(seed):
    stalled = cell(population(0), probe=probes(seed, stall=(300, 30, 2.0)))
    assert codes(judge_cell(stalled)) == ["LOOP_STALL"]
    brief = cell(population(0), probe=probes(seed, stall=(300, 15, 2.0)))
    assert judge_cell(brief) == ()


@pytest.mark.parametrize(("late", "void"), [(1, False), (2, False), (3, True)])
def test_a_late_tick_of_a_short_cell_says_nothing(late, void):
    """Of 60 ticks in 300 ms, one is 1.7 % already."""
    window = {"begin_ns": BEGIN + 2 * SECOND, "end_ns": BEGIN + 2 * SECOND + 300 * MS}
    probe = probes(0, stall=(410, late, 2.0))
    short = cell(population(0), probe=probe, window=window)
    found = {each.code for each in health_generator.loop_stall(short)}
    assert found == ({"LOOP_STALL"} if void else set())


def test_one_long_stall_voids_though_its_ticks_are_merged():
    once = judge_cell(cell(population(0), probe=probes(0, stall=(300, 1, 150.0))))
    assert codes(once) == ["LOOP_STALL"]
    assert codes(once, void=False) == ["loop-stall"]


def test_a_long_lag_names_the_requests_it_hit():
    hit = population(0, rate=100)
    found = judge_cell(cell(hit, probe=probes(0, stall=(300, 1, 40.0))))
    assert codes(found) == []
    (finding,) = found
    assert finding.code == "loop-stall"
    assert finding.value == 40 * MS
    until = BEGIN + 300 * 5 * MS + 40 * MS
    ready = hit.requests.ready_ns
    first = np.flatnonzero((ready >= until - 40 * MS) & (ready <= until))[0]
    assert f"session {first} turn 0 decode" in finding.message


@pytest.mark.parametrize("seed", SEEDS[:5])
def test_many_stalls_count_each_request_they_hit_once_and_name_few(seed):
    rng = np.random.default_rng(seed)
    ends = rng.uniform(BEGIN, END, 60).astype(np.int64)
    lags = rng.uniform(25, 120, len(ends)) * MS
    rows = {"source": "generator", "device": "", "name": "loop_lag_ns"}
    stalls = [
        rows | {"t_ns": int(t), "value": v} for t, v in zip(ends, lags, strict=True)
    ]
    hit = population(seed, rate=100)
    r = hit.requests
    r.ready_ns[7] = np.nan
    expected = sum(
        any(
            end - lag <= at <= end
            for end, lag in zip(ends, lags, strict=True)
            for at in moments
        )
        for moments in zip(r.ready_ns, r.done_ns, strict=True)
    )
    found = judge_cell(cell(hit, probe=pa.Table.from_pylist(stalls)))
    (finding,) = [each for each in found if each.code == "loop-stall"]
    assert f"({expected:,} in all)" in finding.message
    assert finding.message.count(" session ") == health_generator.NAMED


def test_a_long_collection_is_a_finding():
    (finding,) = judge_cell(cell(population(0), probe=probes(gc_ms=30)))
    assert (finding.code, finding.void) == ("gc-pause", False)


def test_a_busy_generator_voids():
    (finding,) = judge_cell(cell(population(0), probe=probes(cpu=0.85)))
    assert (finding.code, finding.void) == ("CPU", True)
    assert "85%" in finding.message
    assert judge_cell(cell(population(0), probe=probes(cpu=0.75))) == ()


def test_polling_on_purpose_is_not_work():
    assert judge_cell(cell(population(0), probe=probes(cpu=0.4, polled=0.59))) == ()


def closed(seed=0):
    return renamed(population(seed), loop="closed")


def test_a_busy_closed_loop_is_labelled_and_voids_comparisons():
    busy = cell(closed(), probe=probes(cpu=0.95))
    found = judge_cell(busy)
    assert codes(found) == []
    assert codes(found, void=False) == ["generator-limited"]
    comparison = {"baseline": "fcfs", "differs": []}
    assert codes(judge_run([busy], comparison, found)) == ["CPU"]
    assert judge_run([busy], None, found) == ()
    assert judge_run([busy], comparison, ()) == ()


def test_rules_that_do_not_apply_are_listed():
    # As of a directory that was written before servers and clocks were watched.
    known = {k: v for k, v in cell(closed()).manifest.items() if k != "gaps"}
    window = {k: known["window"][k] for k in ("begin_ns", "end_ns")}
    nothing = CellEvidence({"chat": closed()}, None, known | {"window": window}, None)
    rest = {rule.code for rule in RULES} - {"NOT_STEADY", "NO_ANSWERS"}
    assert set(not_applicable(nothing)) == rest
    assert judge_cell(nothing) == ()
    thinking = cell(closed(), plan={"think": True})
    assert "LATE" not in not_applicable(thinking)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_queue_that_grows_is_saturated_only_where_expected(seed):
    over = population(seed, rate=260)
    (finding,) = judge_cell(cell(over, overload="expected", probe=probes(seed)))
    assert (finding.code, finding.void) == ("saturated", False)
    assert finding.value == pytest.approx(60, rel=0.35)
    assert codes(judge_cell(cell(over))) == ["NOT_STEADY"]


def test_a_queue_that_does_not_grow_is_not_saturated():
    found = [
        judge_cell(cell(population(seed, rate=100), overload="expected"))
        for seed in SEEDS
    ]
    assert sum(map(bool, found)) <= 1


def test_accepted_codes_void_nothing():
    busy = cell(population(0), probe=probes(cpu=0.85))
    (finding,) = judge_cell(busy, accepted=["CPU"])
    assert (finding.void, finding.accepted) == (False, True)


def test_messages_say_what_to_do():
    assert all(rule.advice for rule in RULES)
    assert len({rule.code for rule in RULES}) == len(RULES)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        (None, []),
        ({"spread": 0.08, "end": {"drift": 0.03}}, []),
        ({"spread": 0.26, "end": None}, ["CALIBRATION"]),
        ({"spread": 0.08, "end": {"drift": -0.3}}, ["CALIBRATION"]),
        ({"spread": 0.5, "pinned": True}, []),
    ],
)
def test_capacity_has_to_hold_still(document, found):
    assert codes(calibration(document)) == found


COMPARED = {"baseline": "fcfs", "metrics": ["p95(latency)"], "differs": ["policy"]}


def proof(how="launched", value="qos", wanted="qos", echoes=()):
    return {
        "evidence": {"policy": {"how": how, "value": value}},
        "settings": {"policy": wanted},
        "echoes": [{"n": 9, "value": echo} for echo in echoes],
    }


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (proof(), []),
        (proof("declared"), []),
        (proof("echoed", echoes=[{"policy": "qos"}]), []),
        (proof(echoes=[{"model": "x"}]), []),
        (proof("none"), ["UNPROVEN"]),
        (proof("none", value=None, echoes=[{"policy": "qos"}]), []),
        (proof("none", value=None, echoes=[{"policy": "qos"}, {}]), ["UNPROVEN"]),
        (proof(value="fcfs"), ["UNPROVEN"]),
        (proof(echoes=[{"policy": "qos"}, {"policy": "fcfs"}]), ["UNPROVEN"]),
        ({}, ["UNPROVEN"]),
        (None, ["UNPROVEN"]),
    ],
)
def test_what_differs_has_to_be_proven(given, found):
    cells = [cell(population(0), proof=given) for _ in range(3)]
    assert codes(unproven(cells, COMPARED)) == found


def test_what_a_server_denies_voids_an_arm_alone_too():
    for given, found in (
        (proof(), []),
        (proof("none"), []),
        (proof(value="fcfs"), ["UNPROVEN"]),
    ):
        for comparison in (None, COMPARED | {"differs": []}):
            cells = [cell(population(0), proof=given) for _ in range(3)]
            assert codes(unproven(cells, comparison)) == found


def test_behaviours_are_found_in_echoes():
    given = {
        "evidence": {"weights": {"how": "echoed", "value": "per_call"}},
        "settings": {"weights": "per_call"},
        "echoes": [{"n": 1, "value": {"behaviours": {"weights": "resident"}}}],
    }
    found = unproven([cell(population(0), proof=given)], {"differs": ["weights"]})
    assert codes(found) == ["UNPROVEN"]


SOLO = {"solo": {"chat": {"service_ms": 5.0}, "batch": {"service_ms": 5.0}}}


def baseline(*populations, calibrated=SOLO):
    return [cell(*populations, arm="fcfs", calibrated=calibrated), cell(population(0))]


@pytest.mark.parametrize("seed", SEEDS)
def test_without_waiting_policies_are_not_compared(seed):
    # Enough requests that chance in their own (exponential) work is no waiting.
    alone = {"solo": {"chat": {"service_ms": 0.5}}}
    idle = baseline(population(seed, service_ms=0.5), calibrated=alone)
    (finding,) = no_contention(idle, COMPARED)
    assert (finding.code, finding.void) == ("NO_CONTENTION", True)
    assert "raise the load" in finding.message
    assert list(no_contention(idle, COMPARED | {"differs": ["weights"]})) == []
    assert list(no_contention(baseline(population(seed, rate=140)), COMPARED)) == []


@pytest.mark.parametrize(
    ("queue_ms", "rate", "policy", "found"),
    [
        (0.5, 140, "fcfs", ["NO_CONTENTION"]),  # its word, whatever service says
        (2.0, 5, "fcfs", []),
        (2.0, 5, "qos", []),
        (2.0, 5, "none", ["NO_CONTENTION"]),  # no queue: by service
        (0.0, 140, "fcfs", []),  # Djinn without QoS says 0 whatever waits
    ],
)
def test_a_queue_that_the_server_tells_of_decides(queue_ms, rate, policy, found):
    busy = population(0, rate=rate)
    n = len(busy.turns.ok)
    known = {f: getattr(busy.turns, f) for f in Turns.__struct_fields__}
    told = {"queue_ns": np.full(n, queue_ms * MS), "exec_ns": np.full(n, 5.0 * MS)}
    turns = Turns(**(known | told))
    cells = [
        cell(
            structs.replace(busy, turns=turns),
            arm="fcfs",
            calibrated=SOLO,
            proof=proof(value=policy, wanted=policy),
        )
    ]
    assert codes(no_contention(cells, COMPARED)) == found


def test_one_contended_class_is_enough():
    busy, idle = population(0, rate=140), renamed(population(1, rate=5), "batch")
    (finding,) = no_contention(baseline(busy, idle), COMPARED)
    assert (finding.code, finding.void) == ("uncontended", False)
    assert finding.population == "batch"


def test_contention_is_unknown_without_calibration():
    (finding,) = no_contention(baseline(population(0), calibrated=None), COMPARED)
    assert (finding.code, finding.void) == ("contention-unknown", False)


def test_run_rules_are_judged_together():
    cells = [
        cell(population(0, rate=5), arm="fcfs", calibrated=SOLO | {"spread": 0.4}),
        cell(population(0, rate=5), arm="qos", calibrated=SOLO | {"spread": 0.4}),
    ]
    found = judge_run(cells, COMPARED, accepted=["CALIBRATION"])
    assert codes(found) == ["UNPROVEN", "UNPROVEN", "NO_CONTENTION"]
    assert codes(found, void=False) == ["CALIBRATION"]


def test_what_repeats_cannot_decide_voids():
    few = population(0, rate=3)
    decision = decide(parse("p99(latency) <= 1s"), [few])
    assert codes(undecided([Judged(decision, "chat", "all/qos")])) == ["UNDECIDED"]
    assert undecided([Judged(decision, "chat", "all/fcfs", judged=False)]) == ()
    many = decide(parse("p50(latency) <= 1s"), [few] * 5)
    assert undecided([Judged(many, "chat", "all/qos")]) == ()
