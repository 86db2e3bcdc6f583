"""Every arrival process is what it says it is: one test on its residuals serves all.

The residuals are unit-exponential and independent (or 1) given what is hidden, which is
drawn again from the same seed; see `djinnload.spi.Arrival`. Seeds are fixed.
"""

from itertools import islice, takewhile
from random import Random

import pytest
from scipy import stats

from djinnload import registry, testing
from djinnload.schedule import Open, Schedule, starts
from djinnload.testing import check_arrival

ALPHA = 1e-6  #: Of each test below.
S = 1_000_000_000
N = 20_000

STAGES = [
    {"rate": "40/s", "time": "200s"},
    {"time": "50s"},
    {"rate": "5/s", "time": "1h"},
]
PROCESSES = {
    "constant": {"process": "constant", "rate": "7/s"},
    "poisson": {"process": "poisson", "rate": "50/s"},
    "gamma-bursty": {"process": "gamma", "rate": "20/s", "shape": 0.5},
    "gamma-even": {"process": "gamma", "rate": "20/s", "shape": 6},
    "bursts": {"process": "bursts", "rate": "9/s", "probability": 0.3, "size": [3, 5]},
    "onoff": {
        "process": "onoff",
        "rate": "60/s",
        "rate_off": "5/s",
        "on": "2s",
        "off": "3s",
    },
    "onoff-silent": {"process": "onoff", "rate": "60/s", "on": "500ms", "off": "1s"},
    "ramp-up": {"process": "ramp", "end": "40/s", "over": "600s"},
    "ramp-down": {"process": "ramp", "start": "90/s", "end": "10/s", "over": "300s"},
    "ramp-even": {
        "process": "ramp",
        "start": "5/s",
        "end": "50/s",
        "over": "90s",
        "random": False,
    },
    "stages": {"process": "stages", "stages": STAGES},
    "stages-even": {"process": "stages", "stages": STAGES, "random": False},
}
BY_NAME = pytest.mark.parametrize("declared", PROCESSES.values(), ids=PROCESSES)


def made(declared):
    given = {key: value for key, value in declared.items() if key != "process"}
    kind = registry.find(registry.ARRIVALS, declared["process"], path="$")
    return kind(registry.options(kind, given, "$"))


def first(arrival, seed, n=N):
    return [offset for offset, _ in islice(arrival.offsets(Random(seed)), n)]


def mooncake(path, *, groups=4_000, seed=3):
    """A trace whose clock ticks every 3 s, with 1 to 9 sessions a tick."""
    rng = Random(seed)
    rows = [
        f'{{"timestamp": {3000 * i}, "input_length": 9, "output_length": 2}}\n'
        for i in range(groups)
        for _ in range(rng.randint(1, 9))
    ]
    path.write_text("".join(rows), encoding="utf-8")
    return {"process": "trace", "path": str(path)}


def assert_lawful(arrival, offsets, seed):
    found = arrival.residuals(offsets, Random(seed))
    if not arrival.random:
        assert found[1:] == pytest.approx([1.0] * (len(offsets) - 1), abs=1e-6)
        return
    assert stats.kstest(found, "expon").pvalue > ALPHA
    assert stats.pearsonr(found[1:], found[:-1]).pvalue > ALPHA


@BY_NAME
def test_every_process_is_what_it_says(declared):
    """Residuals, their lag-1 correlation, counts against `expected`; alpha 1e-6."""
    arrival = made(declared)
    assert len(first(arrival, 5)) > 10_000
    check_arrival(arrival)


@pytest.mark.parametrize(
    "spread", [{}, {"spread": "3s"}, {"spread": "1s", "speed": 2.5}]
)
def test_residuals_of_a_trace(spread, tmp_path):
    arrival = made({**mooncake(tmp_path / "t.jsonl"), **spread})
    assert arrival.random == bool(spread)
    check_arrival(arrival)


@pytest.mark.parametrize(
    ("real", "claimed"),
    [
        ("gamma-bursty", "poisson"),
        ("poisson", "gamma-even"),
        ("ramp-up", "ramp-down"),
        ("onoff", "onoff-silent"),
        ("stages", "poisson"),
    ],
)
def test_the_test_tells_processes_apart(real, claimed):
    offsets = first(made(PROCESSES[real]), 5)
    found = made(PROCESSES[claimed]).residuals(offsets, Random(5))
    assert stats.kstest(found, "expon").pvalue < ALPHA


def test_every_process_that_ships_is_tested():
    """With residuals and `expected`, which this file judges."""
    shipped = {
        entry.name
        for entry in registry.entries(registry.ARRIVALS)
        if entry.value.startswith("djinnload.")
    }
    assert shipped == {each["process"] for each in PROCESSES.values()} | {"trace"}


@BY_NAME
def test_a_user_has_a_stream_of_the_same_law(declared):
    """``per = "user"``: the second user's passes the same test as one stream alone.

    Streams differ where anything is drawn, and together are as many as expected.
    """
    arrival = made(declared)
    schedule = Schedule(5, (Open(0, arrival, 3, "p"),), 0, 400 * S)
    found = list(starts(schedule))
    assert found == sorted(found, key=lambda start: start.offset_ns)
    by_user = [[s.offset_ns for s in found if s.user == user] for user in range(3)]
    assert (by_user[0] == by_user[1]) is not arrival.random
    # Residuals are given the numbers that the stream was drawn from.
    assert_lawful(arrival, by_user[1], "5/arrivals/p/1")
    assert [s.session for s in found if s.user == 2] == list(range(len(by_user[2])))


class Wrong:
    """A Poisson process of 5/s that breaks one promise."""

    random = True

    def __init__(self, **broken):
        self._of = testing.poisson(5)
        self.__dict__.update(broken)

    def offsets(self, rng):
        return self._of.offsets(rng)

    def expected(self, seconds):
        return 5 * seconds

    def residuals(self, offsets, rng):
        return self._of.residuals(offsets, rng)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({}, None),
        ({"offsets": lambda rng: iter([(0, {})])}, "fewer than 2"),
        ({"offsets": lambda rng: iter([(0.5, {}), (1.5, {})])}, "ints from 0 on"),
        ({"offsets": lambda rng: iter([(5, {}), (3, {})])}, "never fall"),
        ({"offsets": lambda rng: testing.poisson(5).offsets(Random())}, "follow from"),
        ({"random": False}, "random is False"),
        ({"offsets": testing.constant(5).offsets}, "random is True"),
        ({"expected": lambda seconds: 6 * seconds}, "counted were"),
        ({"expected": lambda seconds: -seconds}, "must not fall"),
        ({"residuals": lambda o, r: testing.poisson(4).residuals(o, r)}, "not exponen"),
        ({"residuals": lambda o, r: sorted(testing.poisson(5).residuals(o, r))}, "depends on"),
    ],
)  # fmt: skip
def test_a_process_that_breaks_a_promise_is_told_which(broken, reason):
    if reason is None:
        check_arrival(Wrong())
        return
    with pytest.raises(AssertionError, match=reason):
        check_arrival(Wrong(**broken))


def test_a_gamma_process_is_stationary_from_the_start():
    """Counts of the first 50 ms over 40,000 streams: as many as later on.

    A process whose first gap is drawn as the others are has a third too many here.
    """
    arrival = made({"process": "gamma", "rate": "10/s", "shape": 0.3})
    counts = [
        sum(
            1
            for _ in takewhile(
                lambda each: each[0] < S // 20, arrival.offsets(Random(s))
            )
        )
        for s in range(40_000)
    ]
    assert stats.ttest_1samp(counts, arrival.expected(0.05)).pvalue > ALPHA


def test_bursts_start_at_one_instant_in_sizes_as_told():
    """Chi-square over the sizes 1, 3, 4, 5 of 20,000 events."""
    arrival = made(PROCESSES["bursts"])
    sizes, last = [], None
    for offset, _ in islice(arrival.offsets(Random(2)), 40_000):
        if offset == last:
            sizes[-1] += 1
        else:
            sizes.append(1)
        last = offset
    counts = [sizes[:-1].count(n) for n in (1, 3, 4, 5)]
    total = len(sizes) - 1
    assert sum(counts) == total
    shares = [0.7, 0.1, 0.1, 0.1]
    assert stats.chisquare(counts, [share * total for share in shares]).pvalue > ALPHA


def test_onoff_begins_in_its_stationary_law():
    """On in 2 of 5 streams: binomial over 4,000 seeds."""
    arrival = made({**PROCESSES["onoff"], "on": "2h", "off": "3h"})
    began = sum(
        arrival._curve(Random(seed)).__next__().low == 60 for seed in range(4_000)
    )
    assert stats.binomtest(began, 4_000, 0.4).pvalue > ALPHA
