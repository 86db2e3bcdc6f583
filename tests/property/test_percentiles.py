"""Percentiles are nearest rank at every n, whatever the values."""

import math
from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from djinnload import deciding
from djinnload.objective import parse_measure
from djinnload.stats import populations as stats
from djinnload.summary import numbers as summarize

PERCENTS = ("50", "75", "90", "95", "99", "99.5", "99.9")
values = st.lists(
    st.one_of(st.integers(0, 10**12).map(float), st.just(math.inf)),
    min_size=1,
    max_size=400,
)


def by_definition(several, percent):
    """The smallest value that at least q of all are up to, in exact arithmetic."""
    for each in sorted(several):
        if Fraction(sum(v <= each for v in several), len(several)) >= percent / 100:
            return each
    raise AssertionError(several)


@given(several=values, text=st.sampled_from(PERCENTS))
def test_it_is_the_definition_s(several, text):
    wanted = by_definition(several, Fraction(text))
    found = stats.nearest_rank(np.sort(several), float(Fraction(text) / 100))
    assert found == wanted
    # The objective's percentile goes by its tail, 1 − q: the same rank.
    measure = parse_measure(f"p{text}(latency)")
    assert deciding.point(measure, np.array(several)) == wanted


@given(n=st.integers(1, 10**7), text=st.sampled_from(PERCENTS))
def test_the_rank_at_every_n(n, text):
    """Of 1 … n it is the rank itself: exact where q × n is whole."""
    percent = Fraction(text)
    rank = max(1, math.ceil(percent * n / 100))

    class Ranks:
        """1 … n, without room for them."""

        def __len__(self):
            return n

        def __getitem__(self, i):
            assert 0 <= i < n
            return i + 1

    assert stats.nearest_rank(Ranks(), float(percent / 100)) == rank
    assert stats.nearest_rank(Ranks(), 1 - parse_measure(f"p{text}(ttft)").tail) == rank


def test_59_times_1000_and_one_million():
    """HDR's own percentile rounds the rank and says 1,000."""
    spiked = np.array([1000.0] * 59 + [1e6])
    assert stats.nearest_rank(spiked, 0.99) == 1e6
    assert stats.nearest_rank(spiked, 59 / 60) == 1000
    assert summarize.spread_of(spiked)["p99"] is None


@given(n=st.integers(0, 20_000))
def test_percentiles_without_ten_beyond_are_null(n):
    shown = summarize.spread_of(np.ones(n))
    for name, percent in (("p50", 50), ("p95", 95), ("p99", 99), ("p99.9", 99.9)):
        beyond = n * (100 - Fraction(str(percent))) / 100
        assert (shown[name] is None) == (beyond < 10)
