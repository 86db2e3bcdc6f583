"""What holds for every arrival process, whatever its options and seed."""

from itertools import islice
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from djinnload import registry

rate = st.floats(0.01, 10_000).map(lambda hz: f"{hz}/s")
time = st.integers(1, 10**6).map(lambda ms: f"{ms}ms")
# A state that changes far more often than sessions come is slow to draw.
fast = st.floats(1, 10_000).map(lambda hz: f"{hz}/s")
slow = st.integers(100, 10**6).map(lambda ms: f"{ms}ms")
sizes = st.tuples(st.integers(1, 50), st.integers(0, 50)).map(lambda t: [t[0], sum(t)])
stage = st.fixed_dictionaries({"rate": rate, "time": time})
pause = st.fixed_dictionaries({"time": time})


def process(name, needed, optional=None):
    options = st.fixed_dictionaries(needed, optional=optional or {})
    return st.tuples(st.just(name), options)


PROCESSES = st.one_of(
    process("constant", {"rate": rate}),
    process("poisson", {"rate": rate}),
    process("gamma", {"rate": rate, "shape": st.floats(0.01, 1000)}),
    process("bursts", {"rate": rate, "probability": st.floats(0, 1), "size": sizes}),
    process("onoff", {"rate": fast, "on": slow, "off": slow}, {"rate_off": rate}),
    process(
        "ramp", {"end": rate, "over": time}, {"start": rate, "random": st.booleans()}
    ),
    process("ramp", {"start": rate, "over": time}, {"random": st.booleans()}),
    process(
        "stages",
        {
            "stages": st.tuples(stage, st.lists(stage | pause)).map(
                lambda t: [t[0], *t[1]]
            )
        },
        {"random": st.booleans()},
    ),
)


def made(declared):
    name, given = declared
    kind = registry.find(registry.ARRIVALS, name, path="$")
    return kind(registry.options(kind, given, "$"))


def first(declared, seed, n):
    return [offset for offset, _ in islice(made(declared).offsets(Random(seed)), n)]


@settings(deadline=None, max_examples=60)
@given(PROCESSES, st.integers(0, 2**64))
def test_offsets_never_fall_and_follow_from_the_seed(declared, seed):
    """And fewer of them are the beginning of more of them."""
    offsets = first(declared, seed, 60)
    assert all(type(offset) is int and offset >= 0 for offset in offsets)
    assert offsets == sorted(offsets)
    assert first(declared, seed, 60) == offsets
    assert first(declared, seed, 25) == offsets[:25]


@settings(deadline=None, max_examples=60)
@given(PROCESSES, st.integers(0, 2**64), st.floats(0.001, 1000), st.floats(1, 10))
def test_expected_and_residuals_are_never_negative(declared, seed, seconds, times):
    arrival = made(declared)
    assert 0 <= arrival.expected(seconds) <= arrival.expected(seconds * times)
    offsets = first(declared, seed, 60)
    found = arrival.residuals(offsets, Random(seed))
    assert len(found) <= len(offsets)
    # Of nearly equal numbers, so rounding may show.
    assert min(found, default=0) > -1e-6
