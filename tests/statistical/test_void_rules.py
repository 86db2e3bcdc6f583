"""How often the void rules of a cell cry wolf, and how often they see what is there.

``pytest -s`` prints the counts that docs/calibration-of-rules.md quotes; seeds are
fixed, so that they are the same each time.
"""

# ruff: noqa: T201 - the counts are what the document quotes

from collections import Counter

import numpy as np
import pytest

from djinnload.health import judge_cell, not_applicable
from djinnload.units import MS, US
from health_kit import (  # tests/, by conftest.py
    SEEDS,
    cell,
    flights,
    population,
    probes,
    renamed,
)

#: Rates of a server that does 200 a second.
HEALTHY_RATES = (40, 80, 120, 140, 160)
HEALTHY = 150
OBJECTIVES = {"objectives": ["p95(latency) <= 10s"]}


def some(column, rng):
    column[::20] = True
    return column


def judged(*populations, seed, **options):
    probe = options.pop("probe", None) or probes(seed, seen=flights(seed, *populations))
    return cell(*populations, probe=probe, plan=OBJECTIVES, **options)


def healthy(seed):
    """Populations of one cell: one, or three of which one is closed."""
    rate = HEALTHY_RATES[seed % len(HEALTHY_RATES)]
    first = population(seed, rate=rate, verified=some)
    if seed % 3:
        return [first]
    second = population(seed + 10_000, rate=20, service_ms=30, name="batch")
    third = population(seed + 20_000, rate=60, service_ms=8)
    return [first, second, renamed(third, "users", "closed")]


def voided(evidence):
    return {each.code for each in judge_cell(evidence) if each.void}


def test_healthy_runs_are_left_alone():
    """At most 2 of 100 runs of 10 s; here 150."""
    found, looked = Counter(), Counter()
    runs = 0
    for seed in range(HEALTHY):
        evidence = judged(*healthy(seed), seed=seed)
        found.update(codes := voided(evidence))
        runs += bool(codes)
        looked.update(list(not_applicable(evidence)))
    print(f"{HEALTHY} healthy runs: {runs} void {dict(found)}")
    print(f"not applicable: {dict(looked)}")
    assert runs <= 2 * HEALTHY / 100
    # Each rule had a say in at least 100 of them, but for LITTLE (1,000 requests).
    assert looked["LITTLE"] <= HEALTHY / 2
    assert set(looked) == {"LITTLE", "saturated", "no-queue"}


def test_queues_that_do_not_grow_are_not_saturated():
    found = sum(
        bool([f for f in judge_cell(each) if f.code == "saturated"])
        for seed in range(HEALTHY)
        if (each := judged(*healthy(seed), seed=seed, overload="expected"))
    )
    print(f"saturated: {found} of {HEALTHY} healthy runs")
    assert found <= 1


@pytest.mark.parametrize(("load", "least", "most"), [
    (0.9, 0, 0.05), (0.95, 0, 0.10), (1.05, 0.5, 1), (1.1, 0.85, 1), (1.25, 1, 1),
])  # fmt: skip
def test_trend_at_and_over_capacity(load, least, most):
    found = sum(
        "NOT_STEADY" in voided(judged(population(seed, rate=200 * load), seed=seed))
        for seed in range(1000, 1100)
    )
    print(f"NOT_STEADY at load {load}: {found} of 100")
    assert least <= found / 100 <= most


def every(count, value):
    def change(column, rng):
        column[rng.choice(len(column), int(count * len(column)), replace=False)] = value
        return column

    return change


def late(sent, rng):
    return sent + 2 * MS * (rng.random(len(sent)) < 0.06)


def in_ticks(due):
    return np.ceil(due / (10 * MS)) * 10 * MS


def half(seed):
    """Every second row of one population is lost."""
    real = population(seed, rate=140)
    other = population(seed + 500, rate=90, name="batch")
    kept = renamed(real, kept=np.arange(len(real.requests.due_ns)) % 2 == 0)
    seen = flights(seed, real, other)
    return judged(kept, other, seed=seed, probe=probes(seed, seen=seen))


PROVOKED = {
    "LATE": lambda s: judged(population(s, sent_ns=late), seed=s),
    "UNDELIVERED": lambda s: judged(
        population(s, outcome=every(0.03, "timeout")), seed=s
    ),
    "DROPPED": lambda s: judged(population(s, outcome=every(0.005, "dropped")), seed=s),
    "LOOP_STALL": lambda s: judged(
        population(s), seed=s, probe=probes(s, stall=(300, 30, 2.0))
    ),
    "CPU": lambda s: judged(population(s), seed=s, probe=probes(s, cpu=0.85)),
    "WRONG": lambda s: judged(population(s, verified=every(0.002, False)), seed=s),
    "ARRIVALS": lambda s: judged(population(s, sends=in_ticks), seed=s),
    "NOT_STEADY": lambda s: judged(population(s, rate=250), seed=s),
    "LITTLE": half,
}


@pytest.mark.parametrize("code", PROVOKED)
def test_each_rule_sees_what_it_is_for(code):
    found = sum(code in voided(PROVOKED[code](seed)) for seed in SEEDS)
    print(f"{code}: {found} of {len(SEEDS)} provoked")
    assert found == len(SEEDS)


def test_a_busy_loop_is_no_false_arrivals():
    """2,000 sends a second, each up to a gap late."""
    for seed in SEEDS:
        busy = population(
            seed,
            rate=2000,
            service_ms=0.1,
            sends=lambda due: (
                due + np.random.default_rng(1).exponential(200 * US, len(due))
            ),
        )
        assert "ARRIVALS" not in voided(judged(busy, seed=seed))
