"""How often a search's bracket misses the limit, on systems whose limit is known."""

import math

import numpy as np
from scipy import stats as distributions

from djinnload.objective import decide, parse
from djinnload.search.machine import End, Look, Range, Search
from djinnload.stats.populations import (
    PopulationSamples,
    Requests,
    Turns,
    clopper_pearson_lower,
    clopper_pearson_upper,
)
from djinnload.units import MS, SECOND

#: That a right search fails a test here.
ALPHA = 1e-6
BOUND_MS = 10.0
PER_S = 1000.0
TAIL = 0.05
#: M/M/1: the time in system is exponential of rate µ − λ, so p95 meets its bound up to
#: this load.
LIMIT = PER_S - math.log(1 / TAIL) / (BOUND_MS / 1e3)
WARMUP_S, SECONDS = 4.0, 20.0


def played(asked, see):
    search, cells = Search(asked), {}
    while (step := search.step) is not None:
        counted = cells.setdefault(step.load, [])
        counted.append(see(step))
        search.tell(Look(decided(asked, counted)))
    return search


def decided(asked, counted):
    if isinstance(counted[0], PopulationSamples):
        wanted = parse(f"p95(latency) <= {BOUND_MS}ms")
        return decide(wanted, counted, confidence=1 - asked.alpha).met
    over, n = (sum(column) for column in zip(*counted, strict=True))
    if clopper_pearson_upper(over, n, 1 - asked.alpha) <= TAIL:
        return True
    low = clopper_pearson_lower(over, n, 1 - asked.alpha)
    return False if low > TAIL else None


def queue(rng, rate, seconds):
    """Turns of an M/M/1 that has been running for a while."""
    n = rng.poisson(rate * (WARMUP_S + seconds))
    due = np.sort(rng.uniform(-WARMUP_S, seconds, n))
    work = rng.exponential(1 / PER_S, n)
    busy = np.cumsum(work)
    # D_i = max over k ≤ i of A_k + S_k + … + S_i
    done = busy + np.maximum.accumulate(due - busy + work)
    kept = due >= 0
    return due[kept] * SECOND, done[kept] * SECOND


def samples(rng, rate, seconds):
    due, done = queue(rng, rate, seconds)
    empty = {name: np.full(len(due), np.nan) for name in Turns.__struct_fields__}
    known = {
        "due_ns": due.astype(np.int64),
        "done_ns": done.astype(np.int64),
        "latency_ns": done - due,
        "ok": np.ones(len(due), bool),
    }
    return PopulationSamples(
        name="chat",
        loop="open",
        qos_class="realtime",
        deadline_ns=None,
        window_ns=(0, int(seconds * SECOND)),
        turns=Turns(**(empty | known)),
        requests=Requests(**dict.fromkeys(Requests.__struct_fields__, np.empty(0))),
    )


def misses(searches, limit):
    """Searches whose bracket does not hold *limit*."""
    return [
        (each.passing, each.failing)
        for each in searches
        if not (each.passing or 0) <= limit < (each.failing or math.inf)
    ]


def test_independent_turns_miss_the_limit_less_often_than_is_written():
    rng = np.random.default_rng(1)
    limit = 30.0

    def see(step):
        # The share over the bound rises through 5 % at the limit.
        share = min(1.0, TAIL * (step.load / limit) ** 4)
        n = int(step.load * 20 * step.lengths)
        return int(rng.binomial(n, share)), n

    # As many looks as are allowed: without the split of alpha 66 % of these miss.
    asked = Range(5, 500, confidence=0.8, looks=8, resolution=0.02)
    count = 1000
    found = [played(asked, see) for _ in range(count)]
    allowed = distributions.binom.isf(ALPHA, count, 1 - asked.confidence)
    assert len(misses(found, limit)) <= allowed
    # It finds something, too: every search a bracket, the median one a narrow one.
    assert {each.end for each in found} == {End.BRACKET}
    widths = [each.failing / each.passing for each in found]
    assert np.median(widths) < 1.25
    assert max(len(each.probes) for each in found) <= asked.probes


def test_a_queue_misses_the_limit_less_often_than_is_written():
    rng = np.random.default_rng(2)
    asked = Range(100, 1600, resolution=0.1, confidence=0.9, probes=10, looks=3)

    def see(step):
        return samples(rng, step.load, SECONDS * step.lengths)

    count = 60
    found = [played(asked, see) for _ in range(count)]
    allowed = distributions.binom.isf(ALPHA, count, 1 - asked.confidence)
    assert len(misses(found, LIMIT)) <= allowed
    assert {each.end for each in found} == {End.BRACKET}
    assert np.median([each.failing / each.passing for each in found]) < 1.35


def test_noise_that_says_anything_still_ends_in_order():
    rng = np.random.default_rng(3)
    for _ in range(300):
        asked = Range(1, 1000, probes=12, looks=3)
        search = Search(asked)
        while search.step is not None:
            search.tell(Look([True, False, None][rng.integers(3)]))
        if search.passing and search.failing:
            assert search.passing < search.failing
        assert len(search.probes) <= asked.probes


def test_the_limit_of_the_queue_is_the_formula_s():
    rng = np.random.default_rng(4)
    due, done = queue(rng, LIMIT, 1000.0)
    over = float((done - due > BOUND_MS * MS).mean())
    assert abs(over - TAIL) < 0.005
