"""Arrival processes do what they say; alpha is written at each test."""

import hashlib
import math
import subprocess
import sys
from itertools import islice, pairwise
from random import Random

import pytest
from scipy import stats

from djinnload import testing
from djinnload.scenarios.population import Exponential, Lognormal, Uniform
from djinnload.scenarios.thinking import pause
from djinnload.scenarios.users import FOREVER
from djinnload.schedule import Closed, Open, Schedule, following, starts

ALPHA = 1e-6
S = 1_000_000_000


def test_poisson_gaps_are_exponential_and_independent():
    """Kolmogorov-Smirnov on 20,000 gaps, and their lag-1 correlation."""
    offsets = [
        0,
        *(o for o, _ in islice(testing.poisson(50).offsets(Random(5)), 20_000)),
    ]
    gaps = [b - a for a, b in pairwise(offsets)]
    assert stats.kstest(gaps, "expon", args=(0, S / 50)).pvalue > ALPHA
    assert stats.pearsonr(gaps[1:], gaps[:-1]).pvalue > ALPHA


def test_poisson_counts_are_poisson():
    """Dispersion of 2,000 one-second counts, two-sided."""
    offsets = islice(testing.poisson(20).offsets(Random(6)), 45_000)
    counts = [0] * 2_000
    for offset, _ in offsets:
        if offset < 2_000 * S:
            counts[offset // S] += 1
    mean = sum(counts) / len(counts)
    dispersion = sum((c - mean) ** 2 for c in counts) / mean
    p = stats.chi2.cdf(dispersion, len(counts) - 1)
    assert ALPHA / 2 < p < 1 - ALPHA / 2


def test_a_constant_pace_does_not_drift():
    """The millionth of 3 a second is exact, for its offset is computed from k."""
    offset, _ = next(islice(testing.constant(3).offsets(Random(1)), 1_000_000, None))
    assert offset == round(1_000_000 * S / 3)


def test_users_have_streams_of_their_own():
    """Ten users at 5/s each: all differ, the union has ten times the rate."""
    schedule = Schedule(1, (Open(0, testing.poisson(5), users=10),), 0, 100 * S)
    found = list(starts(schedule))
    assert found == sorted(found, key=lambda start: start.offset_ns)
    by_user = {u: [s.offset_ns for s in found if s.user == u] for u in range(10)}
    assert len({tuple(v[:3]) for v in by_user.values()}) == 10
    # 5,000 ± 4.9 standard deviations: alpha 1e-6.
    assert abs(len(found) - 5_000) < 347
    for user in range(10):
        assert [s.session for s in found if s.user == user] == list(
            range(len(by_user[user]))
        )


def test_shards_are_a_partition():
    """The union over shards is the whole stream."""
    schedule = Schedule(
        2, (Open(0, testing.poisson(30)), Open(1, testing.constant(7))), S, 20 * S
    )
    whole = list(starts(schedule))
    parts = [list(starts(schedule, shard=(i, 3))) for i in range(3)]
    assert sorted(whole) == sorted(start for part in parts for start in part)
    assert min(len(part) for part in parts) > len(whole) / 3 - 2


@pytest.mark.parametrize(
    ("think", "law"),
    [
        (Exponential(mean=S), stats.expon(0, S)),
        (Uniform(low=S, high=3 * S), stats.uniform(S, 2 * S)),
        # The logarithm's mean is ln(mean) − sigma² ÷ 2.
        (Lognormal(mean=S, sigma=0.7), stats.lognorm(0.7, 0, S * math.exp(-0.245))),
    ],
    ids=["exponential", "uniform", "lognormal"],
)
def test_pauses_of_users_follow_their_law_and_are_independent(think, law):
    """20,000 of 200 users: Kolmogorov-Smirnov; correlation along and across users."""
    source = Closed(200, ((0, 1.0),), pause(think), "p")
    schedule = Schedule(4, (source,), 0, FOREVER)
    drawn = [
        [following(schedule, 0, u, k, done_ns=0).offset_ns for k in range(100)]
        for u in range(200)
    ]
    flat = [each for user in drawn for each in user]
    assert stats.kstest(flat, law.cdf).pvalue > ALPHA
    assert stats.pearsonr(flat[1:], flat[:-1]).pvalue > ALPHA
    across = [user[k] for k in range(100) for user in drawn]
    assert stats.pearsonr(across[1:], across[:-1]).pvalue > ALPHA


PRINT = """
import hashlib
from djinnload import testing
from djinnload.schedule import Open, Schedule, starts
s = Schedule(9, (Open(0, testing.poisson(40)), Open(1, testing.poisson(3), 4)), 10**9, 10**10)
print(hashlib.sha256(repr([tuple(x) for x in starts(s)]).encode()).hexdigest())
"""


def test_the_schedule_is_the_same_in_every_process():
    """A pure function of the seed; the hash is pinned."""
    done = subprocess.run(
        [sys.executable, "-c", PRINT], capture_output=True, check=True, timeout=60
    )
    assert done.stdout.strip() == PINNED.encode()
    assert len(PINNED) == len(hashlib.sha256().hexdigest())


PINNED = "0101d2797842095375b5ea6747eb5a3f20157317d9f1413eaeda4769a190d053"
