"""So many sessions of each user, however long they take, in simulated time."""

import itertools
from collections import Counter

import pytest

from djinnload.scenarios.users import FOREVER
from djinnload.schedule import Closed, Open, Schedule, starts
from djinnload.spi import Outcome, Reply
from djinnload.testing import (
    Answer,
    ScriptedTarget,
    constant,
    poisson,
    population,
    simulate,
)

MS = 1_000_000
S = 1_000 * MS


def closed(users, think=None, stagger=0):
    return Closed(users, ((0, 1.0),), think, stagger_ns=stagger)


def of(sessions, *sources, warmup=0):
    return Schedule(1, sources, warmup, FOREVER, sessions)


def run(schedule, *, script=5 * MS, shard=(0, 1), first_seq=0, **pop):
    names = ("chat", "batch")[: len(schedule.sources)]
    return simulate(
        tuple(population(name, **pop) for name in names),
        schedule,
        lambda clock: ScriptedTarget(clock, script),
        shard=shard,
        first_seq=first_seq,
        grace_ns=0,
    )


def per_user(found):
    return Counter(row["user"] for row in found.rows if row["phase"] == "measure")


@pytest.mark.parametrize("sessions", [1, 2, 7])
@pytest.mark.parametrize("users", [1, 3])
def test_every_user_has_exactly_so_many_and_then_it_is_over(users, sessions):
    found = run(of(sessions, closed(users)))
    assert per_user(found) == dict.fromkeys(range(users), sessions)
    assert found.engine.tallies[0].done == users * sessions
    # One after the other, without a pause: the last reply ends it.
    assert found.engine.ended_ns == sessions * 5 * MS


def test_users_who_pause_or_come_late_are_waited_for():
    found = run(of(3, closed(2, lambda _: 40 * MS, stagger=20 * MS)))
    assert per_user(found) == {0: 3, 1: 3}
    assert found.engine.ended_ns == 10 * MS + 3 * 5 * MS + 2 * 40 * MS


def test_the_slowest_population_ends_it():
    found = run(of(4, Closed(2, ((0, 1.0),)), Open(1, constant(10.0))))
    counts = Counter(row["population"] for row in found.rows)
    assert counts == {0: 8, 1: 4}
    last = max(row["due_ns"] for row in found.rows)
    assert found.engine.ended_ns == last + 5 * MS


def test_streams_of_arrivals_have_so_many_each():
    found = run(of(5, Open(0, poisson(50.0), users=3)))
    assert per_user(found) == {0: 5, 1: 5, 2: 5}
    longer = Schedule(1, (Open(0, poisson(50.0), users=3),), 0, 10 * S)
    drawn = [s for s in starts(longer) if s.session < 5]
    assert [s.offset_ns for s in drawn] == sorted(row["due_ns"] for row in found.rows)


def test_a_session_that_fails_or_times_out_counts():
    def script(call):
        number = int(call.session_id.rpartition("-")[2])
        if number == 1:
            return Answer(0, reply=None)  # lost
        bad = Reply(Outcome.ERROR, error="no")
        return Answer(MS, bad) if number == 2 else Answer(MS)

    found = run(of(4, closed(1)), script=script, timeout_ns=S, retry_ns=100 * MS)
    assert [row["outcome"] for row in found.rows] == ["ok", "timeout", "error", "ok"]
    # After each that was not ok the user waits for `retry`.
    assert found.engine.ended_ns == S + 3 * MS + 2 * 100 * MS


def test_a_time_of_warmup_goes_before_so_many_sessions():
    found = run(of(3, closed(2), warmup=33 * MS))
    phases = Counter((row["phase"], row["user"]) for row in found.rows)
    assert phases == {(p, u): n for u in (0, 1) for p, n in (("warmup", 7), ("measure", 3))}  # fmt: skip


def test_so_many_sessions_of_warmup_are_another_schedule_with_numbers_of_their_own():
    schedule = of(2, closed(2), Open(1, poisson(100.0)))
    warm = run(schedule.warmup_of(3))
    assert {row["phase"] for row in warm.rows} == {"warmup"}
    numbers = sorted((r["population"], r["user"], r["session"]) for r in warm.rows)
    users = [(0, u, k) for u in (0, 1) for k in (-3, -2, -1)]
    assert numbers == [*users, (1, -1, -3), (1, -1, -2), (1, -1, -1)]
    assert [tally.started for tally in warm.engine.tallies] == [0, 0]
    # What follows it is the same as without it, but for the numbers of its requests.
    after = run(schedule, first_seq=warm.engine.next_seq)
    alone = run(schedule)
    assert [r["seq"] for r in after.rows] == [r["seq"] + 9 for r in alone.rows]
    assert [{**r, "seq": 0} for r in after.rows] == [
        {**r, "seq": 0} for r in alone.rows
    ]


def test_a_warmup_of_sessions_goes_before_a_time_too():
    schedule = Schedule(1, (closed(1),), 0, 50 * MS)
    assert len(run(schedule.warmup_of(4)).rows) == 4
    assert len(run(schedule).rows) == 10


@pytest.mark.parametrize("workers", [2, 3])
def test_shards_have_the_users_of_one_process_together(workers):
    schedule = of(3, closed(2), Open(1, poisson(100.0)))
    parts = [run(schedule, shard=(i, workers)) for i in range(workers)]
    whole = run(schedule)
    key = ("population", "user", "session", "due_ns")
    rows = itertools.chain(*(part.rows for part in parts))
    assert sorted(tuple(r[k] for k in key) for r in rows) == sorted(
        tuple(r[k] for k in key) for r in whole.rows
    )


def test_a_worker_without_users_is_over_at_once():
    found = run(of(3, closed(1)), shard=(1, 2))
    assert found.rows == []
    assert found.engine.ended_ns == 0


def test_an_interrupt_ends_it_before():
    found = simulate(
        (population(),),
        of(1000, closed(1)),
        lambda clock: ScriptedTarget(clock, 5 * MS),
        during=lambda clock, engine: clock.at(52 * MS, engine.interrupt),
    )
    assert Counter(r["outcome"] for r in found.rows) == {"ok": 10, "cancelled": 1}
    assert found.engine.ended_ns == 52 * MS
