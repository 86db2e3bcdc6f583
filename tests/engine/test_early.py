"""A session is asked for its first request before its due; nobody can tell by anything."""

from random import Random

from djinnload import testing
from djinnload.spi import Request
from djinnload.testing import ScriptedTarget, population, simulate

MS = 1_000_000


class Keeper:
    """Takes note of the sessions that it is asked about."""

    def __init__(self):
        self.asked = []

    def wants(self, population, user, index):
        self.asked.append(index)
        return False


def run(session, *, until=None, **options):
    """Simulate 5 sessions 100 ms apart, interrupted at *until* ms."""
    targets = []

    def target(clock):
        targets.append(ScriptedTarget(clock, 7 * MS))
        return targets[0]

    def during(clock, running):
        if until is not None:
            clock.at(until * MS, running.interrupt)

    schedule = testing.open_loop(testing.constant(10), duration_ns=500 * MS)
    found = simulate(
        (population(session=session),), schedule, target, during=during, **options
    )
    return found, targets[0]


def test_who_was_asked_and_never_due_leaves_no_trace():
    """No row, no end for the target, no check, no count; its generator is closed."""
    closed = []

    def session(it):
        try:
            yield Request("none", {})
        finally:
            closed.append(it.index)
            if it.index == 2:
                raise RuntimeError("nobody is to hear of it")

    keeper = Keeper()
    found, target = run(session, until=150, keeper=keeper)
    assert closed == [0, 1, 2]
    assert [row["session"] for row in found.rows] == [0, 1]
    assert target.ended == ["sim-chat--1-0", "sim-chat--1-1"]
    assert keeper.asked == [0, 1]
    tally = found.engine.tallies[0]
    assert (tally.started, tally.done, tally.abandoned) == (2, 2, 0)
    assert found.engine.error is None


def broken_third(it):
    if it.index == 2:
        raise RuntimeError("out of luck")
    yield Request("none", {})


def test_who_fails_when_asked_fails_when_due():
    """What comes before its due is as it would have been."""
    found, _ = run(broken_third)
    assert [row["session"] for row in found.rows] == [0, 1]
    assert "out of luck" in str(found.engine.error)
    found, _ = run(broken_third, until=199)
    assert found.engine.error is None


def test_random_numbers_are_those_of_the_session_whenever_they_are_drawn():
    drawn = {}

    def session(it):
        drawn[it.index] = [it.rng.random()]
        yield Request("none", {})
        drawn[it.index].append(it.rng.random())

    run(session)
    for index, numbers in drawn.items():
        rng = Random(f"1/input/chat/-1/{index}")
        assert numbers == [rng.random(), rng.random()]
