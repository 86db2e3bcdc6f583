"""A/A: an arm against itself under a load of 0.7 is called different at most 8 in 100.

The nominal level is 5 %. With 400 pairs the standard error of a share of 5 % is 1.1 %,
so a test that is exactly at its level is over 8 % with a probability (the alpha here)
of about 0.4 % a case; the seeds are fixed, so it either always passes or never does.
"""

import numpy as np
import pytest

from djinnload.compare import compare
from djinnload.stats.populations import PopulationSamples, Requests, Turns
from djinnload.units import MS

PAIRS, LEVEL, AT_MOST = 400, 0.05, 0.08
RHO, SERVICE_MS = 0.7, 10.0


def mg1(rng, n, due=None):
    """M/G/1 with gamma service (CV 0.5); Lindley's recursion as a running minimum."""
    if due is None:
        due = np.cumsum(rng.exponential(SERVICE_MS / RHO, n))
    work = rng.gamma(4, SERVICE_MS / 4, n)
    free = np.cumsum(work)
    done = free + np.maximum.accumulate(due - (free - work))
    return due, done


def samples(due_ms, done_ms):
    n = len(due_ms)
    known = {name: np.full(n, np.nan) for name in Turns.__struct_fields__}
    known |= {
        "due_ns": (due_ms * MS).astype(np.int64),
        "done_ns": (done_ms * MS).astype(np.int64),
        "latency_ns": (done_ms - due_ms) * MS,
        "ok": np.ones(n, bool),
    }
    return PopulationSamples(
        name="chat",
        loop="open",
        qos_class="realtime",
        deadline_ns=int(50 * MS),
        window_ns=(0, int(due_ms[-1] * MS) + 1),
        turns=Turns(**known),
        requests=Requests(**dict.fromkeys(Requests.__struct_fields__, np.empty(0))),
    )


def alarms(metric, repeats, n, *, paired, seed, scale=1.0):
    """Share of pairs (a is *scale* × as slow) significant among those decided, of all."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(PAIRS):
        a, b = [], []
        for _ in range(repeats):
            due, done = mg1(rng, n)
            a.append(samples(due, due + scale * (done - due)))
            b.append(samples(*mg1(rng, n, due if paired else None)))
        found.append(compare(metric, a, b, population="chat").p)
    decided = [p for p in found if p is not None]
    return np.mean([p < LEVEL for p in decided]), len(decided) / PAIRS


@pytest.mark.parametrize("paired", [True, False], ids=["same schedule", "independent"])
@pytest.mark.parametrize("metric", ["p95(latency)", "mean(latency)", "miss_rate"])
def test_repeats_raise_few_false_alarms(metric, paired):
    share, decided = alarms(metric, 5, 500, paired=paired, seed=11)
    assert share <= AT_MOST
    assert decided == 1


@pytest.mark.parametrize("paired", [True, False], ids=["same schedule", "independent"])
@pytest.mark.parametrize("metric", ["p95(latency)", "mean(latency)", "miss_rate"])
@pytest.mark.parametrize(("n", "mostly"), [(2000, 0.8), (5000, 0.9)])
def test_blocks_within_one_run_raise_few_false_alarms(metric, paired, n, mostly):
    share, decided = alarms(metric, 1, n, paired=paired, seed=12)
    assert share <= AT_MOST
    assert decided > mostly


@pytest.mark.parametrize(("repeats", "n"), [(5, 4000), (1, 10000)])
def test_a_large_difference_is_found(repeats, n):
    share, decided = alarms(
        "mean(latency)", repeats, n, paired=True, seed=13, scale=1.5
    )
    assert min(share, decided) > 0.9
