"""ARRIVALS, NOT_STEADY, LITTLE and saturated: provoked, and left alone."""

from random import Random

import numpy as np
import pytest
from msgspec import structs

from djinnload.clock import SimulatedClock
from djinnload.health import load as health_load
from djinnload.health.cell import judge_cell, not_applicable
from djinnload.probes.host import FLIGHTS_NS, HostProbe
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


def only(code, evidence):
    return [each for each in judge_cell(evidence) if each.code == code]


# Arrivals


def in_ticks(due):
    """A sender that wakes each 10 ms and sends what has fallen due."""
    return np.ceil(due / (10 * MS)) * 10 * MS


def paced(due):
    """A sender that leaves 6 ms between two sends, whatever was asked."""
    sent, last = np.empty(len(due)), -np.inf
    for i, at in enumerate(due):
        last = sent[i] = max(float(at), last + 6 * MS)
    return sent


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sends", [in_ticks, paced])
def test_sends_of_another_burstiness_void(seed, sends):
    (finding,) = only("ARRIVALS", cell(population(seed, rate=100, sends=sends)))
    assert (finding.void, finding.population) == (True, "chat")
    for part in ("Kolmogorov", "CV", "A²*", "lower the rate"):
        assert part in finding.message


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rate", [30, 300, 2000])
def test_what_a_loop_adds_is_no_other_burstiness(seed, rate):
    fair = cell(population(seed, rate=rate, service_ms=0.2))
    assert only("ARRIVALS", fair) == []
    assert "ARRIVALS" not in not_applicable(fair)


def test_sends_of_one_instant_take_turns():
    def together(due, rng):
        return np.sort(rng.choice(due, len(due) // 5).repeat(5))

    def in_turn(due):
        return due + np.arange(len(due)) % 5 * 40 * US

    def resized(columns):
        return population(0, rate=500, sends=in_turn, due_ns=columns)

    bursts = resized(lambda due, rng: due)
    r = bursts.requests
    n = len(r.due_ns) // 5 * 5
    due = together(r.due_ns[:n], np.random.default_rng(0))
    r.due_ns[:n], r.sent_ns[:n] = due, in_turn(due)
    assert only("ARRIVALS", cell(renamed(bursts, kept=slice(n)))) == []


def test_arrivals_that_are_not_random_or_few_are_not_judged():
    assert "ARRIVALS" in not_applicable(cell(population(0), plan={"random": False}))
    assert "ARRIVALS" in not_applicable(cell(population(0, rate=10)))
    assert "ARRIVALS" in not_applicable(cell(renamed(population(0), loop="closed")))
    assert "ARRIVALS" not in not_applicable(cell(population(0)))


def test_sessions_never_sent_are_left_out():
    def lost(sent, rng):
        sent[rng.random(len(sent)) < 0.5] = np.nan
        return sent

    assert only("ARRIVALS", cell(population(0, sent_ns=lost))) == []


def test_anderson_darling_knows_exponential_gaps():
    rng = np.random.default_rng(1)
    values = [
        health_load._anderson_darling(np.sort(rng.exponential(3.0, 300)))
        for _ in range(400)
    ]
    # Stephens: 1.321 is exceeded by 5 % of samples whose mean is estimated.
    assert 0.02 < np.mean(np.array(values) > 1.321) < 0.09
    assert health_load._anderson_darling(np.sort(rng.uniform(0.9, 1.1, 300))) > 50


@pytest.mark.parametrize("seed", SEEDS)
def test_a_bound_of_the_distance_is_no_less_than_the_distance(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(200, 5000, 2)
    a = np.sort(rng.exponential(1.0, n) * rng.integers(0, 2, n))
    b = np.sort(rng.exponential(rng.choice([0.8, 1.0, 1.3]), m))
    alike = float(rng.choice([0.0, 0.05]))
    exact = max(
        np.mean(one <= x) - np.mean(other <= x + alike)
        for one, other in ((a, b), (b, a))
        for x in one
    )
    bound = max(health_load._bound(a, b, alike), health_load._bound(b, a, alike))
    assert bound >= exact - 1e-12
    found = health_load._distance(a, b, alike)
    assert found >= exact - 1e-12
    if found > health_load.ARRIVALS_DISTANCE:
        assert found == pytest.approx(max(exact, 0.0))


# Steadiness


def ramp(factor):
    """Answers that take *factor* times as long at the end as at the beginning."""

    def longer(done, rng):
        at = np.linspace(0, 1, len(done))
        return done + rng.gamma(25, 2 * MS, len(done)) * (1 + (factor - 1) * at)

    return longer


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda seed: population(seed, rate=250), "rose"),
        (lambda seed: population(seed, rate=100, done_ns=ramp(3)), "rose"),
        (lambda seed: population(seed, rate=100, done_ns=ramp(0.25)), "fell"),
    ],
    ids=["overload", "slower", "warming-up"],
)
def test_a_latency_with_a_trend_voids(seed, make, said):
    (finding,) = only("NOT_STEADY", cell(make(seed)))
    assert finding.void
    assert f"latency {said}" in finding.message
    assert "warm up longer" in finding.message


def test_a_trend_too_small_to_matter_is_left_alone():
    def slowly(done, rng):
        return done + 100 * MS + np.linspace(0, 12, len(done)) * MS

    assert only("NOT_STEADY", cell(population(0, done_ns=slowly))) == []


def test_steadiness_is_not_judged_of_few_turns_or_where_overload_is_expected():
    assert "NOT_STEADY" in not_applicable(cell(population(0, rate=8)))
    over = cell(population(0, rate=260), overload="expected")
    assert {"NOT_STEADY", "LITTLE"} <= set(not_applicable(over))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_load_that_is_planned_to_grow_is_not_judged(seed):
    def ever_more(due):
        return BEGIN + (END - BEGIN) * np.sqrt((due - BEGIN) / (END - BEGIN))

    grows = population(seed, rate=110, reshape=ever_more)
    assert "changing rate" in not_applicable(cell(grows))["NOT_STEADY"]
    assert only("NOT_STEADY", cell(grows)) == []


def test_users_who_are_planned_to_change_are_not_judged():
    def slower(done, rng):
        return done + np.linspace(0, 900, len(done)) * MS

    crowd = renamed(population(0, done_ns=slower), loop="closed")
    assert only("NOT_STEADY", cell(crowd)) != []
    planned = cell(crowd, plan={"varies": True})
    assert not_applicable(planned)["NOT_STEADY"] == (
        "the scenario changes the users of chat"
    )
    assert only("NOT_STEADY", planned) == []


def test_a_partly_open_population_is_judged_as_an_open_one():
    """Its users come whatever the server does: ARRIVALS and UNDELIVERED apply."""
    partly = renamed(population(0), loop="partly-open")
    told, other = (not_applicable(cell(each)) for each in (partly, population(0)))
    assert told == other
    assert "ARRIVALS" not in told


# Saturation


def small_queue(seed):
    """A queue that grows steadily, to about 2 turns."""
    grown = population(seed, rate=20, service_ms=5)
    at = (grown.requests.due_ns - BEGIN) / (END - BEGIN)
    grown.turns.done_ns[:] = grown.turns.due_ns + (at * 110 * MS).astype(np.int64)
    return grown


@pytest.mark.parametrize("seed", SEEDS)
def test_a_queue_of_two_turns_is_not_saturated(seed):
    expected = {"overload": "expected"}
    assert only("saturated", cell(small_queue(seed), **expected)) == []
    over = population(seed, rate=250)
    assert len(only("saturated", cell(over, **expected))) == 1


def test_a_queue_is_measured_by_what_arrives(monkeypatch):
    # 10 turns are a queue at 20 a second, and 0.07 s of work at 150 a second.
    def grown(rate, queue):
        made = population(3, rate=rate, service_ms=1)
        at = (made.requests.due_ns - BEGIN) / (END - BEGIN)
        span = at * queue / rate * SECOND
        made.turns.done_ns[:] = made.turns.due_ns + span.astype(np.int64)
        return only("saturated", cell(made, overload="expected"))

    assert len(grown(20, 12)) == 1
    assert grown(150, 12) == []
    assert len(grown(150, 60)) == 1


# Little's law


def two(seed):
    return [
        population(seed, rate=120),
        population(seed + 1000, rate=20, service_ms=30, name="batch"),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_that_are_lost_void(seed):
    real = population(seed, rate=140)
    lost = renamed(real, kept=np.arange(len(real.requests.due_ns)) % 2 == 0)
    busy = population(seed + 500, rate=90, name="batch")
    seen = flights(seed, real, busy)
    (finding,) = only("LITTLE", cell(lost, busy, probe=probes(seed, seen=seen)))
    assert finding.void
    assert finding.value > 0
    assert "do not quote" in finding.message


@pytest.mark.parametrize("seed", SEEDS)
def test_a_counter_that_forgets_requests_voids(seed):
    at, count = flights(seed, *two(seed))
    leaks = count + (at - BEGIN) / (END - BEGIN) * 5
    found = only("LITTLE", cell(*two(seed), probe=probes(seed, seen=(at, leaks))))
    assert [each.void for each in found] == [True]


def test_rows_that_say_what_was_sampled_stand():
    for seed in SEEDS:
        fair = cell(*two(seed), probe=probes(seed, seen=flights(seed, *two(seed))))
        assert only("LITTLE", fair) == []
        assert "LITTLE" not in not_applicable(fair)


def test_instants_that_a_busy_host_delays_stand():
    """Each waits for the next answer, if one is near."""
    shares = []
    for seed in SEEDS:
        real = population(seed, rate=120)
        at, _ = flights(seed, real)
        done = np.sort(real.requests.done_ns)
        near = np.minimum(np.searchsorted(done, at), len(done) - 1)
        at = np.sort(np.where(done[near] - at < 4 * MS, done[near] + 1, at))
        at = np.ceil(at[at < END])
        sent = np.sort(real.requests.sent_ns)
        count = np.searchsorted(sent, at) - np.searchsorted(done, at)
        fair = cell(real, probe=probes(seed, seen=(at, count)))
        shares.append(np.mean(count) / health_load.in_flight(fair)[3])
        assert only("LITTLE", fair) == []
    assert np.mean(shares) < 0.95


def test_flights_of_the_warm_up_count_too():
    measured = population(0, rate=140)
    sent = np.linspace(BEGIN - SECOND, BEGIN, 50)
    done = np.full(50, float(BEGIN + 4 * SECOND))
    at, count = flights(0, measured)
    seen = (at, count + 50 * (at < BEGIN + 4 * SECOND))
    short = cell(measured, probe=probes(seen=seen))
    assert len(only("LITTLE", short)) == 1
    whole = structs.replace(short, other_flights=(sent, done, 0 * sent))
    assert only("LITTLE", whole) == []


def test_an_interrupted_cell_is_judged_up_to_its_end():
    cut = BEGIN + 7 * SECOND
    whole = population(0, rate=200, service_ms=4)
    kept = renamed(whole, kept=whole.requests.due_ns < cut)
    at, count = flights(0, whole)
    seen = (at[at < cut], count[at < cut])
    window = {"begin_ns": BEGIN, "end_ns": END, "finished_ns": cut}
    evidence = cell(kept, probe=probes(seen=seen), interrupted=True, window=window)
    assert "LITTLE" not in not_applicable(evidence)
    assert only("LITTLE", evidence) == []


def test_little_needs_samples_and_requests():
    assert "LITTLE" in not_applicable(cell(population(0, rate=140)))
    few = population(0, rate=50)
    assert "LITTLE" in not_applicable(cell(few, probe=probes(seen=flights(0, few))))


# The probe


def instants(seed, end_ns=100 * SECOND):
    clock, rows = SimulatedClock(), []
    clock.polled_ns = 0
    probe = HostProbe(clock, rows.append, in_flight=lambda: 3, seed=seed)
    with probe.over(clock.now(), end_ns):
        clock.run(end_ns + SECOND)
    return [row[0] for row in rows if row[1:] == ("engine", "", "in_flight", 3.0)]


def test_flights_are_counted_at_random_instants_that_a_seed_repeats():
    at = instants(7)
    gaps = np.diff(at)
    assert at == instants(7) != instants(8)
    assert max(at) < 100 * SECOND
    assert len(at) == pytest.approx(100 * SECOND / FLIGHTS_NS, rel=0.06)
    assert np.std(gaps) / np.mean(gaps) == pytest.approx(1, abs=0.06)
    first = Random("7/probes/in_flight").expovariate(1 / FLIGHTS_NS)
    assert at[0] == int(first)


def test_findings_are_void_only_as_named():
    over = cell(population(0, rate=260))
    assert codes(judge_cell(over, accepted=["NOT_STEADY"])) == []
