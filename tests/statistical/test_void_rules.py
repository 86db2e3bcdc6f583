"""How often the void rules of a cell cry wolf; what they see: test_provocations.py.

``pytest -s`` prints the counts that docs/calibration-of-rules.md quotes; seeds are
fixed, so that they are the same each time.
"""

# ruff: noqa: T201 - the counts are what the document quotes

from collections import Counter

import numpy as np
import pytest

from djinnload.health.cell import judge_cell, not_applicable
from djinnload.units import US
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
    never = {"saturated", "no-queue", "UNPROVEN", "network"}
    assert set(looked) == {"LITTLE"} | never


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
