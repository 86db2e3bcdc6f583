"""The process is what its formula says."""

from itertools import takewhile
from random import Random

import pytest
from scipy import stats

import djinnload
from djinnload.spi import Arrival, Duration, Hz, Share
from djinnload_diurnal import Diurnal, DiurnalOptions

SECOND = 1_000_000_000
#: Of every statistical test here, one false alarm in a million.
ALPHA = 1e-6


def process(mean=50.0, swing=0.8, period=10):
    options = DiurnalOptions(
        mean=Hz(mean), swing=Share(swing), period=Duration(period * SECOND)
    )
    return Diurnal(options)


def offsets(made, seconds, seed=1):
    stream = made.offsets(Random(seed))
    return [ns for ns, _ in takewhile(lambda each: each[0] < seconds * SECOND, stream)]


def test_it_is_an_arrival_process():
    assert isinstance(process(), Arrival)


def test_residuals_are_exponential_of_mean_1():
    made = process()
    found = made.residuals(offsets(made, 100), Random(1))
    assert stats.kstest(found, "expon").pvalue > ALPHA


def test_a_wrong_rate_would_be_noticed():
    found = process(swing=0.0).residuals(offsets(process(), 100), Random(1))
    assert stats.kstest(found, "expon").pvalue < ALPHA


@pytest.mark.parametrize("seconds", [1, 5, 10, 25])
def test_as_many_come_as_expected(seconds):
    made = process(mean=1000.0)
    count = len(offsets(made, seconds))
    mean = made.expected(seconds)
    tail = min(stats.poisson.cdf(count, mean), stats.poisson.sf(count - 1, mean))
    assert tail > ALPHA / 2


def test_the_day_has_more_than_the_night():
    found = offsets(process(swing=1.0), 100)
    day = sum(each % (10 * SECOND) < 5 * SECOND for each in found)
    # 1 + 2/π against 1 − 2/π.
    assert stats.binomtest(day, len(found), 0.5 + 1 / 3.141592653589793).pvalue > ALPHA


def test_the_same_seed_says_the_same():
    made = process()
    assert offsets(made, 10) == offsets(process(), 10)
    assert offsets(made, 10) != offsets(made, 10, seed=2)
    assert offsets(made, 10) == sorted(offsets(made, 10))


def test_a_period_of_nothing_is_refused():
    with pytest.raises(ValueError, match="greater than 0"):
        process(period=0)


SCENARIO = """
[scenario]
name = "days"
duration = "2s"
warmup = "0s"
[target]
use = "null"
[[population]]
name = "visitors"
arrival = { process = "diurnal", mean = "100/s", swing = "90%", period = "1s" }
workload = { use = "echo" }
"""


def test_a_scenario_that_names_it(tmp_path):
    path = tmp_path / "days.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    result = djinnload.run_sync(path, out=tmp_path / "results")
    count = result.samples().num_rows
    tail = min(stats.poisson.cdf(count, 200), stats.poisson.sf(count - 1, 200))
    assert tail > ALPHA / 2
