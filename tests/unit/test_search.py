"""The search as a state machine, and the knee: simulated answers, no server."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from djinnload.errors import ScenarioError
from djinnload.scenarios import search_range
from djinnload.scenarios.load import loads
from djinnload.search.machine import End, Look, Outcome, Range, Search
from djinnload.stats.knee import knee

MET, MISSED, OPEN = Look(True, "met"), Look(False, "missed"), Look(None, "too few")
LATE = Look(None, generator="LATE: sent late")
GROWS = Look(True, growing="its queue grew")


def searched(asked, answer):
    """Play a search to its end; *answer* is asked with each step."""
    search, steps = Search(asked), []
    while (step := search.step) is not None:
        steps.append(step)
        assert len(steps) <= asked.probes * (asked.looks + 1)
        search.tell(answer(step))
    return search, steps


def limit(at):
    return lambda step: MET if step.load <= at else MISSED


def test_loads_double_then_halve_on_a_logarithmic_scale():
    search, steps = searched(Range(5, 500, resolution=0.2), limit(30))
    assert [step.load for step in steps] == [5, 10, 20, 40, 28.28, 33.63]
    assert (search.passing, search.failing) == (28.28, 33.63)
    assert search.end is End.BRACKET
    assert search.resolved
    assert search.exit_code == 0


def test_high_is_tried_itself_and_may_be_met():
    search, steps = searched(Range(5, 30), limit(1000))
    assert [step.load for step in steps] == [5, 10, 20, 30]
    assert (search.end, search.passing, search.failing) == (End.HIGH, 30, None)
    assert search.exit_code == 0


def test_where_low_fails_nothing_below_is_tried():
    search, steps = searched(Range(5, 500), limit(4.9))
    assert [step.load for step in steps] == [5]
    assert (search.end, search.passing, search.failing) == (End.LOW, None, 5)
    assert search.exit_code == 1


def test_a_probe_is_looked_at_again_with_as_much_as_there_was():
    def answer(step):
        return OPEN if step.cell < 2 else MET

    _, steps = searched(Range(10, 20), answer)
    assert [(s.load, s.probe, s.cell, s.lengths) for s in steps] == [
        (10, 0, 0, 1), (10, 0, 1, 1), (10, 0, 2, 2),
        (20, 1, 0, 1), (20, 1, 1, 1), (20, 1, 2, 2),
    ]  # fmt: skip


def test_what_the_generator_spoils_is_asked_again_and_bounds_the_search_upward():
    search, steps = searched(
        Range(5, 500, resolution=0.5), lambda step: LATE if step.load > 50 else MET
    )
    assert [step.load for step in steps].count(80) == 2
    assert max(step.load for step in steps) == 80
    assert search.end is End.GENERATOR
    assert search.failing is None
    assert search.ceiling == pytest.approx(56.57)
    assert search.passing == 40
    assert search.exit_code == 4


def test_a_server_that_fails_below_what_the_generator_can_is_a_bracket():
    def answer(step):
        return LATE if step.load > 70 else limit(45)(step)

    search, _ = searched(Range(5, 500), answer)
    assert search.end is End.BRACKET
    assert search.passing <= 45 < search.failing < search.ceiling


def test_one_hiccup_of_the_generator_costs_one_cell():
    seen = []

    def answer(step):
        seen.append(step)
        return LATE if len(seen) == 3 else limit(30)(step)

    search, _ = searched(Range(5, 500), answer)
    assert search.end is End.BRACKET
    assert search.probes[2].spoiled == 1
    assert search.passing <= 30 < search.failing


def test_a_generator_that_cannot_offer_low_is_no_failure_of_the_server():
    search, _ = searched(Range(5, 500), lambda _: LATE)
    assert (search.end, search.failing, search.exit_code) == (End.GENERATOR, None, 4)


def test_a_queue_that_grows_once_is_measured_again():
    def answer(step):
        return GROWS if step.cell == 0 and step.load == 10 else MET

    search, _ = searched(Range(5, 20), answer)
    assert search.end is End.HIGH
    assert search.probes[1].unsteady == 1


def test_a_queue_that_grows_twice_is_not_sustained():
    search, _ = searched(Range(5, 500), lambda step: GROWS if step.load > 30 else MET)
    assert search.end is End.BRACKET
    assert search.passing <= 30 < search.failing
    outcomes = {probe.outcome for probe in search.probes if probe.load > 30}
    assert outcomes == {Outcome.UNSUSTAINED}


def test_a_queue_that_grows_where_one_look_is_allowed_is_not_sustained():
    search, _ = searched(
        Range(5, 500, looks=1), lambda step: GROWS if step.load > 30 else MET
    )
    assert search.end is End.BRACKET


def test_what_cannot_be_decided_is_narrowed_from_both_sides():
    def answer(step):
        return OPEN if 28 < step.load < 34 else limit(31)(step)

    search, _ = searched(Range(5, 500, probes=40), answer)
    assert search.end is End.BRACKET
    assert not search.resolved
    assert 28 / 1.06 < search.passing <= 28
    assert 34 <= search.failing < 34 * 1.06
    assert search.undecided
    assert all(28 < load < 34 for load in search.undecided)


def test_an_undecided_low_is_redeemed_by_a_load_above_it():
    search, _ = searched(
        Range(5, 500), lambda step: OPEN if step.load < 9 else limit(30)(step)
    )
    assert search.end is End.BRACKET
    assert search.undecided == []


def test_an_undecided_low_with_nothing_passing_above_stays_undecided():
    search, _ = searched(Range(5, 500), lambda step: OPEN if step.load < 9 else MISSED)
    assert (search.end, search.exit_code) == (End.UNDECIDED, 4)


def test_an_undecided_high_raises_the_floor_and_no_more():
    search, _ = searched(Range(5, 50), lambda step: OPEN if step.load > 45 else MET)
    assert (search.end, search.failing) == (End.UNDECIDED, None)
    assert 45 / 1.06 < search.passing <= 45


def test_wrong_answers_end_the_search_at_once():
    wrong = Look(True, fatal="WRONG: 3 of 20 answers")
    search, steps = searched(
        Range(5, 500), lambda step: wrong if step.load == 20 else MET
    )
    assert len(steps) == 3
    assert (search.end, search.exit_code) == (End.VOID, 4)


def test_the_bound_on_probes_leaves_what_was_found():
    search, steps = searched(Range(5, 500, probes=5), limit(30))
    assert len(steps) == 5
    assert search.end is End.BRACKET
    assert not search.resolved


def test_a_search_that_is_stopped_measures_nothing_more():
    search = Search(Range(5, 500))
    search.tell(MET)
    search.stop("time is over")
    assert search.step is None
    assert (search.end, search.passing) == (End.UNDECIDED, 5)
    with pytest.raises(ValueError, match="over"):
        search.tell(MET)


def test_users_are_whole_and_found_exactly():
    search, steps = searched(Range(1, 64, whole=True), limit(23))
    assert (search.passing, search.failing) == (23, 24)
    assert all(step.load == int(step.load) for step in steps)


@given(
    low=st.floats(0.01, 1e3),
    ratio=st.floats(1.01, 1e4),
    at=st.floats(0, 1),
    resolution=st.floats(0.005, 1),
)
def test_without_noise_the_bracket_holds_the_limit(low, ratio, at, resolution):
    truth = low * ratio ** (1.2 * at - 0.1)
    asked = Range(low, low * ratio, resolution=resolution, probes=40)
    search, _ = searched(asked, limit(truth))
    assert search.end in {End.HIGH, End.BRACKET, End.LOW}
    if search.end is End.BRACKET:
        assert search.passing <= truth < search.failing
        assert search.resolved
    elif search.end is End.HIGH:
        assert truth >= asked.high == search.passing
    else:
        assert truth < asked.low


LOOKS = st.sampled_from(
    [
        MET, MISSED, OPEN, LATE, GROWS,
        Look(None, growing="grows"), Look(None, void="NOT_STEADY: fell"),
        Look(True, fatal="WRONG"),
    ]
)  # fmt: skip


@settings(max_examples=300)
@given(st.data(), st.booleans(), st.integers(2, 20), st.integers(1, 6))
def test_any_answers_end_it_within_its_bounds(data, whole, probes, looks):
    low = data.draw(st.integers(1, 50) if whole else st.floats(0.1, 50))
    asked = Range(low, low * 40, whole=whole, probes=probes, looks=looks)
    search, steps = searched(asked, lambda _: data.draw(LOOKS))
    assert len(search.probes) <= probes
    # A load is never begun twice, and none is outside what was asked.
    loads = [probe.load for probe in search.probes]
    assert len(set(loads)) == len(loads)
    assert all(asked.low <= load <= asked.high for load in loads)
    for probe in search.probes:
        assert probe.outcome is not None
        assert probe.looks <= looks
        total = sum(s.lengths for s in steps if s.load == probe.load)
        assert total <= 2 ** (looks - 1) + 2 * 2 ** (looks - 1)
    # The ends are what was measured there, and in order.
    by_load = {probe.load: probe.outcome for probe in search.probes}
    passing, failing = search.passing, search.failing
    if passing is not None:
        assert by_load[passing] is Outcome.PASS
    if failing is not None:
        assert by_load[failing] in {Outcome.FAIL, Outcome.UNSUSTAINED}
        assert passing is None or passing < failing
    if search.end is End.BRACKET:
        assert search.ceiling is None or failing < search.ceiling
    assert (search.exit_code == 0) == (search.end in {End.HIGH, End.BRACKET})


def test_alpha_is_what_all_tests_of_a_search_share():
    asked = Range(1, 2, confidence=0.95, probes=16, looks=4, objectives=2)
    assert asked.alpha == pytest.approx(0.05 / 128)


# The knee


def test_the_knee_is_where_throughput_stops_to_follow_load():
    loads = [5, 10, 20, 40, 60, 80]
    found = knee((load, min(load, 40)) for load in loads)
    assert found == (40, 40)


def test_a_straight_line_has_no_knee():
    assert knee((load, 0.99 * load) for load in range(5, 100, 5)) is None


@pytest.mark.parametrize("points", [[], [(1, 1)], [(1, 1), (2, 2), (4, 2)]])
def test_too_few_points_have_no_knee(points):
    assert knee(points) is None


def test_a_flat_line_has_no_knee():
    assert knee((load, 7.0) for load in range(6)) is None


@given(st.lists(st.floats(0, 1e6), min_size=4, max_size=20), st.randoms())
def test_a_knee_is_one_of_the_points_whatever_their_order(values, random):
    points = list(enumerate(values))
    found = knee(points)
    assert found is None or found in points
    random.shuffle(points)
    assert knee(points) == found


def test_the_knee_of_a_closed_loop_is_near_the_asymptotes_crossing():
    # R(n) of an M/M/1 with think time Z: service 1, Z = 9, so the asymptotes cross at 10.
    def throughput(users):
        queue = response = rate = 0.0
        for n in range(1, users + 1):
            response = 1 + queue
            rate = n / (9 + response)
            queue = rate * response
        return rate

    users, _ = knee((n, throughput(n)) for n in (1, 2, 4, 6, 8, 10, 12, 16, 24, 32))
    assert 6 <= users <= 16
    assert math.isclose(throughput(1), 0.1)


# [search] in scenario files

SCENARIO = """
[scenario]
name = "s"
duration = "1s"
[search]
path = "population.chat.arrival.rate"
low = "5/s"
high = "500/s"
[[population]]
name = "chat"
arrival = { process = "poisson", rate = "5/s" }
workload = { use = "echo" }
objectives = ["p95(latency) <= 10ms"]
[[population]]
name = "crowd"
users = 3
workload = { use = "echo" }
[[population]]
name = "part"
arrival = { process = "ramp", end = "0.5 of capacity", over = "1s" }
workload = { use = "echo" }
"""
RATE = 'path = "population.chat.arrival.rate"\nlow = "5/s"\nhigh = "500/s"'


def asking(path, low, high, more=""):
    given = f'path = "{path}"\nlow = {low}\nhigh = {high}\n{more}'
    return loads(SCENARIO.replace(RATE, given))


@pytest.mark.parametrize(
    ("path", "given", "numbers", "written", "told"),
    [
        (
            "population.chat.arrival.rate",
            ('"30/min"', '"9Hz"'),
            (0.5, 9),
            "0.5/s",
            "0.5/s",
        ),
        ("population.crowd.users", ("2", "64"), (2, 64), 2, "2 users"),
        ("scenario.load", ("0.5", "2"), (0.5, 2), 0.5, "× 0.5"),
    ],
)
def test_the_path_decides_what_a_load_is(path, given, numbers, written, told):
    scenario = asking(path, *given)
    assert search_range.bounds(scenario.search) == numbers
    first = search_range.value(path, numbers[0])
    assert first == written
    assert search_range.shown(path, numbers[0]) == told
    assert scenario.replace({path: first}).search == scenario.search


@pytest.mark.parametrize(
    ("given", "at", "reason"),
    [
        (("chat.rate", '"5/s"', '"9/s"'), "path", "choose population.NAME.arrival.rate"),
        (("population.chat.deadline", '"5/s"', '"9/s"'), "path", "is no load"),
        (("population.chta.arrival.rate", '"5/s"', '"9/s"'), "path", "mean 'chat'?"),
        (("population.part.arrival.rate", '"5/s"', '"9/s"'), "path", "process 'ramp'"),
        (("population.crowd.arrival.rate", '"5/s"', '"9/s"'), "path", "closed loop"),
        (("population.chat.users", "1", "9"), "path", "no plain number of users"),
        (("population.chat.arrival.rate", "5", '"9/s"'), "low", "no Hz"),
        (("population.chat.arrival.rate", '"5/s"', '"9ms"'), "high", "no Hz"),
        (("population.chat.arrival.rate", '"0.1 of capacity"', '"9/s"'), "low", "plain"),
        (("population.chat.arrival.rate", '"0/s"', '"9/s"'), "low", "greater than 0"),
        (("population.chat.arrival.rate", '"9/s"', '"9/s"'), "high", "greater than low"),
        (("population.crowd.users", "1.5", "9"), "low", "whole number"),
        (("population.crowd.users", "0", "9"), "low", "from 1 on"),
        (("scenario.load", '"1/s"', "2"), "low", "no factor"),
        (("scenario.load", "-1", "2"), "low", "no factor"),
        (("scenario.load", "1", "2", "resolution = 0"), "resolution", "greater than 0"),
        (("scenario.load", "1", "2", 'confidence = "40%"'), "confidence", "from 50%"),
        (("scenario.load", "1", "2", "confidence = 1"), "confidence", "less than 100%"),
        (("scenario.load", "1", "2", 'time = "0s"'), "time", "greater than 0"),
        (("scenario.load", "1", "2", "looks = 0"), "looks", ">= 1"),
        (("scenario.load", "1", "2", "probes = 0"), "probes", ">= 1"),
        (("scenario.load", "1", "2", "prob = 3"), "prob", "mean 'probes'"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value[0]),
)  # fmt: skip
def test_what_is_wrong_with_a_search_is_said(given, at, reason):
    with pytest.raises(ScenarioError) as caught:
        asking(*given)
    assert caught.value.path == f"$.search.{at}"
    assert reason in caught.value.reason


def test_without_objectives_there_is_nothing_to_search_for():
    text = SCENARIO.replace('objectives = ["p95(latency) <= 10ms"]', "")
    with pytest.raises(ScenarioError, match="no population has objectives") as caught:
        loads(text)
    assert caught.value.path == "$.search"
