"""Users who come, go and come back, to the nanosecond, in simulated time."""

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from scipy import stats

from djinnload import testing
from djinnload.scenarios.users import FOREVER, Level, most, stays
from djinnload.schedule import Closed, Open, Schedule, follower, following, starts
from djinnload.spi import Outcome, Reply
from djinnload.testing import Answer, ScriptedTarget, population, simulate

MS = 1_000_000
S = 1_000 * MS
ALPHA = 1e-6  #: Of each statistical test below.


def run(source, *, script=0, duration=10 * S, warmup=0, shard=(0, 1), **pop):
    schedule = Schedule(1, (source,), warmup, duration)
    return simulate(
        (population(**pop),),
        schedule,
        lambda clock: ScriptedTarget(clock, script),
        shard=shard,
        grace_ns=60 * S,
    )


def closed(users=0, *levels, think=None, stagger=0):
    users = users or most(levels)
    return Closed(users, ((0, 1.0),), think, levels=levels, stagger_ns=stagger)


def dues(found, warmup=0):
    """user → when its sessions were due, in ms after the start of measure."""
    by_user = {}
    for row in sorted(found.rows, key=lambda row: row["due_ns"]):
        by_user.setdefault(row["user"], []).append((row["due_ns"] - warmup) / MS)
    return by_user


UP = (Level(0, 8 * S, 2, 6), Level(8 * S, FOREVER, 6, 6))
DOWN = (Level(0, 6 * S, 4, 1), Level(6 * S, FOREVER, 1, 1))
STAGES = (Level(0, S, 1, 1), Level(S, 2 * S, 3, 3), Level(2 * S, 3 * S, 0, 0), Level(3 * S, 4 * S, 2, 2))  # fmt: skip


@pytest.mark.parametrize(
    ("levels", "user", "seconds"),
    [
        (UP, 1, [(0, FOREVER / S)]),
        (UP, 2, [(2, FOREVER / S)]),
        (UP, 5, [(8, FOREVER / S)]),
        (UP, 6, []),
        (DOWN, 0, [(0, FOREVER / S)]),
        (DOWN, 1, [(0, 6)]),
        (DOWN, 3, [(0, 2)]),
        (STAGES, 0, [(0, 2), (3, 4)]),
        (STAGES, 1, [(1, 2), (3, 4)]),
        (STAGES, 2, [(1, 2)]),
    ],
)
def test_who_came_last_leaves_first_in_equal_steps(levels, user, seconds):
    assert list(stays(levels, user)) == [(a * S, b * S) for a, b in seconds]


def test_those_who_come_together_are_spread_over_the_stagger():
    """Of the 4 at the beginning of warm-up a quarter apart; nobody comes to leave."""
    spread = [
        list(stays(DOWN, user, lead_ns=S, stagger_ns=400 * MS)) for user in range(4)
    ]
    assert [each[0][0] / MS for each in spread] == [-1000, -900, -800, -700]
    late = [list(stays(STAGES, user, stagger_ns=3 * S)) for user in range(3)]
    # Users 1 and 2 come at 1 s: user 2 would be there at 2.5 s, after it has to leave.
    assert late == [[(0, 2 * S), (3 * S, 4 * S)], [(S, 2 * S)], []]


def test_a_ramp_of_users_to_the_nanosecond():
    """Sessions of 1.5 s: who joins at 2, 4, 6 and 8 s has the first one then."""
    found = dues(run(closed(0, *UP), script=1_500 * MS, duration=9 * S))
    assert found[0] == found[1] == [0, 1500, 3000, 4500, 6000, 7500]
    assert found[2] == [2000, 3500, 5000, 6500, 8000]
    assert (found[4], found[5]) == ([6000, 7500], [8000])


def test_who_leaves_finishes_the_session_first():
    """User 3 leaves at 2 s in the middle of a session of 1.5 s; its row is ok."""
    found = run(closed(0, *DOWN), script=1_500 * MS, duration=9 * S)
    assert dues(found)[3] == [0, 1500]
    assert dues(found)[1] == [0, 1500, 3000, 4500]
    assert {row["outcome"] for row in found.rows} == {"ok"}
    assert found.engine.tallies[0].abandoned == 0


def test_who_comes_again_goes_on_counting_sessions():
    found = run(closed(0, *STAGES), script=300 * MS, duration=9 * S)
    assert dues(found)[2] == [1000, 1300, 1600, 1900]
    assert dues(found)[1] == [1000, 1300, 1600, 1900, 3000, 3300, 3600, 3900]
    numbers = [row["session"] for row in found.rows if row["user"] == 1]
    assert numbers == list(range(8))


def test_warmup_has_the_users_of_the_start():
    """Two of UP; those who join in measure have no session before."""
    found = run(closed(0, *UP), script=S, duration=5 * S, warmup=2 * S)
    by_user = dues(found, warmup=2 * S)
    assert by_user[0][0] == by_user[1][0] == -2000
    assert (by_user[2][0], by_user[3][0]) == (2000, 4000)
    phases = Counter(row["phase"] for row in found.rows)
    assert phases == {"warmup": 4, "measure": 5 + 5 + 3 + 1}


def test_staggered_users_start_one_after_the_other():
    found = run(closed(4, stagger=S), script=10 * S, warmup=3 * S)
    first = [times[0] for times in dues(found, warmup=3 * S).values()]
    assert first == [-3000, -2750, -2500, -2250]


@pytest.mark.parametrize("shards", [2, 3])
def test_shards_partition_users_who_come_and_go(shards):
    """Each user stays with one worker; together they have all rows of one."""
    think = lambda rng: rng.randrange(100 * MS)  # noqa: E731

    def rows(shard):
        source = closed(0, *STAGES, think=think, stagger=90 * MS)
        found = run(source, script=70 * MS, warmup=S, shard=shard)
        return [(row["user"], row["session"], row["due_ns"]) for row in found.rows]

    parts = [rows((i, shards)) for i in range(shards)]
    assert sorted(row for part in parts for row in part) == sorted(rows((0, 1)))
    users = [{user for user, *_ in part} for part in parts]
    assert not set.intersection(*users[:2])


def partly_open(rate=50, returning=0.5, **fields):
    return Open(0, testing.poisson(rate), returning=returning, **fields)


def test_a_user_comes_back_after_the_session_and_the_pause():
    """Arrivals as of the open population; the k-th user's sessions in a chain."""
    source = partly_open(think=lambda _: 40 * MS)
    found = run(source, script=10 * MS, duration=4 * S)
    schedule = Schedule(1, (Open(0, testing.poisson(50)),), 0, 4 * S)
    by_user = dues(found)
    assert [by_user[user][0] for user in sorted(by_user)] == [
        start.offset_ns / MS for start in starts(schedule)
    ]
    assert list(by_user)[:3] == [0, 1, 2]
    gaps = {round(b - a, 6) for times in by_user.values() for a, b in pairwise(times)}
    assert gaps == {50}
    by_session = Counter(row["session"] for row in found.rows)
    assert by_session[0] > by_session[1] > by_session[2] > 0


def test_the_number_of_sessions_of_a_user_is_geometric():
    """Chi-square over 1, 2, 3, 4 and more sessions of about 5,000 users at p = 0.6."""
    found = run(partly_open(rate=500, returning=0.6), duration=10 * S)
    counts = Counter(len(times) for times in dues(found).values())
    total = sum(counts.values())
    seen = [counts[1], counts[2], counts[3]]
    law = [0.4, 0.24, 0.144]
    assert (
        stats.chisquare(
            [*seen, total - sum(seen)], [p * total for p in [*law, 1 - sum(law)]]
        ).pvalue
        > ALPHA
    )


def test_a_session_that_was_not_ok_is_followed_no_sooner_than_retry():
    source = partly_open(rate=20, returning=0.9)
    found = run(
        source,
        script=lambda _: Answer(0, Reply(Outcome.REFUSED)),
        duration=3 * S,
        retry_ns=200 * MS,
    )
    times = max(dues(found).values(), key=len)
    assert len(times) > 3
    assert {round(b - a, 6) for a, b in pairwise(times)} == {200}


def test_users_of_warmup_may_come_back_in_measure():
    """They have numbers of their own, and the measured arrivals do not move."""
    source = partly_open(returning=0.8, think=lambda _: 300 * MS)
    found = run(source, duration=2 * S, warmup=S)
    before = [row for row in found.rows if row["user"] < -1]
    assert {row["phase"] for row in before} == {"warmup", "measure"}
    alone = run(source, duration=2 * S)

    def arrived(simulation, warmup):
        return [
            (row["user"], row["due_ns"] - warmup)
            for row in simulation.rows
            if row["user"] >= 0 and row["session"] == 0
        ]

    assert arrived(found, S) == arrived(alone, 0)
    keys = [(row["user"], row["session"]) for row in found.rows]
    assert len(set(keys)) == len(keys)


def test_a_pause_is_of_the_user_and_the_session():
    """Equal for equal numbers whatever was asked before; others differ."""
    think = lambda rng: round(rng.expovariate(1 / S))  # noqa: E731
    schedule = Schedule(
        7,
        (Closed(9, ((0, 1.0),), think, name="a"), partly_open(think=think, name="b")),
        0,
        FOREVER,
    )

    def due(source, user, session):
        return following(schedule, source, user, session, done_ns=0)

    drawn = {(u, s): due(0, u, s).offset_ns for u in range(5) for s in range(5)}
    assert len(set(drawn.values())) == 25
    keys = list(drawn)
    Random(1).shuffle(keys)
    assert {key: due(0, *key).offset_ns for key in keys} == drawn
    returns = [due(1, user, 0) is not None for user in range(200)]
    assert returns == [due(1, user, 0) is not None for user in range(200)]
    assert 50 < sum(returns) < 150


@pytest.mark.parametrize("source", [closed(3), closed(3, think=lambda _: MS)])
def test_the_quick_follower_says_what_the_slow_one_says(source):
    """At the bounds of warm-up and measure, before and after."""
    schedule = Schedule(1, (source,), 2 * S, S)
    quick = follower(schedule, 0)
    for done in (-2 * S, -MS - 1, -MS, -1, 0, 1, S - MS - 1, S - MS, S - 1, S):
        for session in (-7, -1, 0, 6):
            for retry in (0, MS):
                slow = following(schedule, 0, 2, session, done_ns=done, retry_ns=retry)
                assert quick(2, session, done, retry) == slow
    assert follower(Schedule(1, (Open(0, testing.constant(1)),), 0, S), 0) is None


def test_a_million_users_start_in_order():
    source = closed(0, Level(0, 100 * S, 0, 10**6), Level(100 * S, FOREVER, 0, 0))
    schedule = Schedule(1, (source,), 0, S)
    found = [start.offset_ns for start in starts(schedule)]
    # The 10,000-th comes at 1 s, which is the end.
    assert len(found) == 9_999
    assert found == sorted(found)
