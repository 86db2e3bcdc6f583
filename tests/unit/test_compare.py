"""Differences by repeats, else by blocks; Holm's correction."""

import math

import numpy as np
import pytest

from djinnload.compare import WITHIN, compare, holm
from djinnload.stats.populations import PopulationSamples, Requests, Turns
from djinnload.units import MS


def samples(latency_ms, *, ok=None, deadline_ms=None, gap_ms=10.0, **turns):
    latency = np.asarray(latency_ms, float) * MS
    n = len(latency)
    due = (np.arange(n) * gap_ms * MS).astype(np.int64)
    known = {name: np.full(n, np.nan) for name in Turns.__struct_fields__}
    known |= {
        "due_ns": due,
        "done_ns": due + latency.astype(np.int64),
        "latency_ns": latency,
        "service_ns": latency / 2,
        "ok": np.ones(n, bool) if ok is None else ok,
    }
    return PopulationSamples(
        name="chat",
        loop="open",
        qos_class="realtime",
        deadline_ns=None if deadline_ms is None else int(deadline_ms * MS),
        window_ns=(0, int(max(1, n) * gap_ms * MS)),
        turns=Turns(**(known | turns)),
        requests=Requests(**dict.fromkeys(Requests.__struct_fields__, np.empty(0))),
    )


def repeats(count, *, scale=1.0, n=400, first=0, **kwargs):
    return [
        samples(np.random.default_rng(first + i).gamma(4, 2.5, n) * scale, **kwargs)
        for i in range(count)
    ]


def differ(metric, a, b, **kwargs):
    return compare(metric, a, b, population="chat", **kwargs)


@pytest.mark.parametrize(
    "metric", ["p95(latency)", "mean(service)", "mean(latency)", "in_system"]
)
def test_a_ratio_is_found_over_repeats(metric):
    found = differ(metric, repeats(5, scale=0.5, first=50), repeats(5))
    assert (found.status, found.n, found.reasons) == ("ok", 5, ())
    assert found.ratio == pytest.approx(0.5, rel=0.1)
    assert found.ratio == pytest.approx(found.a / found.b)
    low, high = found.ci95
    assert low < 0.5 < high < 1
    assert found.p < 0.001
    assert found.effect < -2


def test_pairs_take_out_what_repeats_share():
    drift = [1.0, 2.0, 4.0, 8.0, 16.0]
    b = [repeats(1, scale=s, first=i)[0] for i, s in enumerate(drift)]
    a = [repeats(1, scale=1.3 * s, first=i)[0] for i, s in enumerate(drift)]
    found = differ("p95(latency)", a, b)
    assert found.ratio == pytest.approx(1.3)
    assert found.p < 1e-6


def test_the_same_is_no_difference():
    found = differ("p95(latency)", repeats(5), repeats(5))
    assert (found.ratio, found.ci95, found.p, found.effect) == (1, (1, 1), 1, None)


def test_a_value_of_zero_gives_a_difference():
    late = [
        samples(np.tile([10.0] * 9 + [99.0 + i], 40 + i), deadline_ms=50)
        for i in range(5)
    ]
    never = repeats(5, scale=0.1, deadline_ms=50)
    found = differ("miss_rate", late, never)
    assert (found.status, found.ratio, found.b) == ("ok", None, 0)
    assert found.a == pytest.approx(0.1)
    assert found.ci95 == pytest.approx((0.1, 0.1))


def test_a_difference_of_shares_is_cut_to_what_one_can_be():
    missed = [
        samples([200.0] * n + [1.0] * 3, deadline_ms=50) for n in (9, 60, 400, 30, 200)
    ]
    kept = [samples([1.0] * 100, deadline_ms=50) for _ in range(5)]
    low, high = differ("miss_rate", missed, kept).ci95
    assert 0.5 < low < high == 1.0
    low, high = differ("miss_rate", kept, missed).ci95
    assert -1.0 == low < high < -0.5


def test_goodput_is_compared():
    found = differ("goodput", repeats(5, gap_ms=5), repeats(5, gap_ms=10))
    assert found.ratio == pytest.approx(2)


def test_infinite_prints_inf_and_is_not_void():
    none = np.zeros(400, bool)
    found = differ("p95(latency)", repeats(8, ok=none), repeats(8))
    assert (found.a, found.ratio, found.ci95) == (math.inf, None, None)
    assert found.status == "ok"
    assert found.p == pytest.approx(2 / 2**8)
    assert "infinite in 8 and 0 repeats" in found.reasons[0]
    both = differ("p95(latency)", repeats(5, ok=none), repeats(5, ok=none))
    assert (both.p, both.a, both.b) == (1, math.inf, math.inf)
    few = differ("p95(latency)", repeats(2, ok=none), repeats(2))
    assert (few.status, few.a) == ("undecided", math.inf)


def test_few_repeats_are_compared_within_one_run():
    found = differ(
        "p95(latency)", repeats(1, scale=0.5, n=4000, first=9), repeats(1, n=4000)
    )
    assert found.reasons == (WITHIN,)
    assert found.n >= 20
    assert found.ratio == pytest.approx(0.5, rel=0.05)
    assert found.p < 0.001


def test_too_few_turns_are_undecided():
    found = differ("p99(latency)", repeats(2, scale=3), repeats(2))
    assert (found.status, found.ci95, found.p) == ("undecided", None, None)
    assert "measure longer" in found.reasons[1]
    assert found.a > found.b


def test_dependent_blocks_are_undecided():
    walk = 500 + np.cumsum(np.random.default_rng(1).normal(0, 5, 4000))
    found = differ("mean(latency)", [samples(walk)], repeats(1, n=4000))
    assert found.status == "undecided"


def test_nothing_to_compare_is_void():
    for a, b in [([], repeats(5)), ([samples([])], repeats(1))]:
        found = differ("p95(latency)", a, b)
        assert (found.status, found.a, found.n) == ("void", None, 0)


def test_a_void_side_shows_its_numbers():
    found = differ("p95(latency)", repeats(5), repeats(5), void=["LATE in r03"])
    assert (found.status, found.reasons) == ("void", ("LATE in r03",))
    assert found.ratio == 1


def test_left_over_repeats_are_named():
    found = differ("p95(latency)", repeats(6, first=60), repeats(5))
    assert (found.n, found.status) == (5, "ok")
    assert "6 repeats against 5" in found.reasons[0]


def test_no_measure_is_an_error():
    with pytest.raises(ValueError, match="did you mean 'latency'"):
        differ("p95(latncy)", repeats(5), repeats(5))


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, None, 0.6]) == [1.0, None, 1.0]
    assert holm([]) == []
