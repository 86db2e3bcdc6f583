"""Conservation over random plans: one row for each request that fell due."""

from collections import Counter
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from djinnload import testing
from djinnload.scenarios.users import Level, most
from djinnload.schedule import Closed, Open, Schedule, starts
from djinnload.spi import Outcome, Reply, Request
from djinnload.testing import Answer, ScriptedTarget, population, simulate

MS = 1_000_000

answers = st.lists(
    st.one_of(
        st.just(Answer(0, reply=None)),
        st.builds(Answer, st.integers(0, 80 * MS), late=st.booleans()),
        st.just(Answer(MS, Reply(Outcome.REFUSED))),
    ),
    min_size=1,
    max_size=7,
)
requests = st.lists(
    st.one_of(
        st.builds(lambda ns: {"think_ns": ns}, st.integers(0, 30 * MS)),
        st.builds(lambda ns: {"due_offset_ns": ns}, st.integers(0, 90 * MS)),
    ),
    min_size=0,
    max_size=4,
)
sources = st.lists(
    st.one_of(
        st.builds(lambda r: ("constant", r), st.integers(1, 120)),
        st.builds(lambda r: ("poisson", r), st.integers(1, 120)),
        st.builds(lambda n: ("closed", n), st.integers(1, 4)),
        st.builds(
            lambda counts: ("crowd", counts),
            st.lists(
                st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=3
            ).filter(lambda counts: any(map(any, counts))),
        ),
        st.builds(lambda p: ("partly", p), st.floats(0.1, 0.9)),
    ),
    min_size=1,
    max_size=3,
)


stalls = st.none() | st.tuples(st.integers(0, 250 * MS), st.integers(1, 150 * MS))


def spans(stall):
    return () if stall is None else ((stall[0], stall[0] + stall[1]),)


def think(rng):
    return rng.randrange(20 * MS)


def made(index, source):
    kind, number = source
    mix = ((index, 1.0),)
    if kind == "closed":
        return Closed(number, mix, think)
    if kind == "crowd":
        levels = tuple(
            Level(70 * i * MS, 70 * (i + 1) * MS, low, high)
            for i, (low, high) in enumerate(number)
        )
        return Closed(most(levels), mix, think, levels=levels, stagger_ns=30 * MS)
    if kind == "partly":
        return Open(index, testing.poisson(40), returning=number, think=think)
    return Open(index, getattr(testing, kind)(number))


@given(
    sources=sources,
    plan=requests,
    script=answers,
    warmup=st.integers(0, 50 * MS),
    grace=st.integers(0, 200 * MS),
    cap=st.integers(1, 20),
    interrupt=st.none() | st.integers(0, 300 * MS),
    servers=st.integers(0, 2),
    stall=stalls,
    lag=stalls,
)
def test_every_due_request_has_one_row(  # noqa: C901, PLR0917
    sources, plan, script, warmup, grace, cap, interrupt, servers, stall, lag
):
    """Whatever the target does, whoever stalls, and whenever the run is interrupted.

    *stall* is of the server, *lag* of the generator's own loop: (start, length) in ns.
    """
    yielded, told, begun, calls = Counter(), Counter(), Counter(), 0

    def said(population, described):
        key = population, described.user, described.index
        begun[key] += 1
        for fields in plan:
            yielded[key] += 1
            _ = yield Request("m", {}, **fields)
            told[key] += 1

    def answer(_):
        nonlocal calls
        calls += 1
        return script[calls % len(script)]

    populations = tuple(
        population(f"p{i}", partial(said, i), timeout_ns=60 * MS)
        for i in range(len(sources))
    )
    schedule = Schedule(
        3, tuple(made(i, s) for i, s in enumerate(sources)), warmup, 200 * MS
    )
    ends = []

    def during(clock, engine):
        if interrupt is not None:
            clock.at(interrupt, engine.interrupt)
        if lag is not None:
            clock.at(lag[0], lambda: clock.stall(lag[1]))

    found = simulate(
        populations,
        schedule,
        lambda clock: ScriptedTarget(
            clock, answer, servers=servers, stalls=spans(stall)
        ),
        grace_ns=grace,
        during=during,
        max_in_flight=cap,
        on_end=lambda: ends.append(found_end(ends)),
    )
    rows = found.rows
    assert found.engine.error is None
    assert ends == [1]
    # Each reply that was sent into a session is one row; no more, no fewer.
    assert len(rows) == sum(told.values()) <= sum(yielded.values())
    assert len({row["seq"] for row in rows}) == len(rows)
    # Each session that the schedule has begins, if nobody interrupts.
    if interrupt is None:
        due = Counter(start.population for start in starts(schedule))
        for i, (kind, _) in enumerate(sources):
            if kind in {"constant", "poisson"}:
                assert sum(n for key, n in begun.items() if key[0] == i) == due[i]
    # No two sessions have the same number, whoever comes back.
    assert set(begun.values()) <= {1}
    assert found.engine.in_flight == 0
    for row in rows:
        assert row["done_ns"] >= row["due_ns"] or row["outcome"] == "cancelled"
        if row["sent_ns"] is not None:
            assert row["sent_ns"] >= row["ready_ns"] >= row["due_ns"]
            assert row["done_ns"] >= row["sent_ns"]
    for tally in found.engine.tallies:
        assert tally.started == tally.done + tally.abandoned


def test_what_is_cancelled_on_its_due_was_not_sent():
    """Found by the test above: it had the time at which the one before was sent."""

    def twice(_):
        _ = yield Request("m", {})
        _ = yield Request("m", {}, due_offset_ns=2 * MS)

    found = simulate(
        (population(session=twice),),
        testing.open_loop(testing.constant(1), duration_ns=200 * MS),
        lambda clock: ScriptedTarget(clock, MS),
        during=lambda clock, engine: clock.at(2 * MS, engine.interrupt),
    )
    rows = [(row["sent_ns"], row["outcome"]) for row in found.rows]
    assert rows == [(0, Outcome.OK), (None, Outcome.CANCELLED)]


def found_end(ends):
    return len(ends) + 1


@given(sources=sources, warmup=st.integers(0, 50 * MS), shards=st.integers(2, 4))
def test_shards_together_do_what_one_engine_does(sources, warmup, shards):
    """Every session once, due when it would be: a server that never queues."""
    populations = tuple(population(f"p{i}") for i in range(len(sources)))
    schedule = Schedule(
        3, tuple(made(i, s) for i, s in enumerate(sources)), warmup, 200 * MS
    )

    def rows(shard):
        found = simulate(
            populations,
            schedule,
            lambda clock: ScriptedTarget(clock, 7 * MS),
            shard=shard,
            grace_ns=100 * MS,
        )
        keys = ("population", "user", "session", "due_ns", "done_ns")
        return [tuple(row[key] for key in keys) for row in found.rows]

    parts = [row for i in range(shards) for row in rows((i, shards))]
    assert sorted(parts) == sorted(rows((0, 1)))
