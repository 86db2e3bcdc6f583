"""What pacing promises on the real clock: never early, never re-anchored, sockets first.

No upper bound on lateness is asserted: that is the host's, and measured by `bench`.
"""

import asyncio
import socket
import sys
from itertools import pairwise

import pytest
import uvloop

from djinnload import engine, testing
from djinnload.clock import NEAR_NS, RealClock, monotonic_ns
from djinnload.schedule import Closed, Open, Schedule, starts
from djinnload.testing import ScriptedTarget, population

MS = 1_000_000
S = 1_000 * MS
#: Default, and the precise mode of the command.
MODES = pytest.mark.parametrize("early_ns", [0, 100_000], ids=["timerfd", "precise"])


LOOPS = pytest.mark.parametrize(
    "loop_factory",
    [asyncio.new_event_loop, uvloop.new_event_loop],
    ids=["asyncio", "uvloop"],
)


def drive(schedule, *, early_ns, stall=None, loop_factory=uvloop.new_event_loop):
    """Rows of *schedule* on the real clock, against a target on the same clock.

    *stall*, (after ns, for ns): the loop is blocked for that long.
    """

    async def main():
        loop, ended, rows = asyncio.get_running_loop(), asyncio.Event(), []
        with RealClock(loop, early_ns=early_ns) as clock:
            begin = clock.now() + 20 * MS + schedule.warmup_ns
            if stall is not None:
                after, length = stall
                clock.at(begin + after, lambda: block(begin + after + length))
            engine.start(
                schedule,
                (population(),),
                clock=clock,
                target=ScriptedTarget(clock, MS),
                record=rows.append,
                begin_ns=begin,
                grace_ns=S,
                session_prefix="real",
                on_end=ended.set,
            )
            await asyncio.wait_for(ended.wait(), 60)
            polled = clock.polled_ns
        return testing.Simulation(rows, None, None).rows, begin, polled

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(main())


def block(until):
    while monotonic_ns() < until:
        pass


def poisson(rate=400, duration=S):
    return Schedule(3, (Open(0, testing.poisson(rate)),), 100 * MS, duration)


@LOOPS
@MODES
def test_no_request_is_early_and_every_due_is_the_schedules(early_ns, loop_factory):
    """400 a second for a second: sent ≥ due of each, dues to the nanosecond."""
    schedule = poisson()
    rows, begin, _ = drive(schedule, early_ns=early_ns, loop_factory=loop_factory)
    assert len(rows) > 300
    assert min(row["sent_ns"] - row["due_ns"] for row in rows) >= 0
    assert sorted(row["due_ns"] - begin for row in rows) == [
        start.offset_ns for start in starts(schedule)
    ]


@MODES
def test_no_request_of_a_user_is_early(early_ns):
    """Pauses count from the end of the last session; staggered starts from the plan."""
    think = lambda rng: rng.randrange(5 * MS)  # noqa: E731
    source = Closed(4, ((0, 1.0),), think, stagger_ns=40 * MS)
    rows, begin, _ = drive(Schedule(3, (source,), 0, 400 * MS), early_ns=early_ns)
    assert len(rows) > 100
    assert min(row["sent_ns"] - row["due_ns"] for row in rows) >= 0
    first = sorted(row["due_ns"] - begin for row in rows if row["session"] == 0)
    assert first == [0, 10 * MS, 20 * MS, 30 * MS]
    for user in range(4):
        mine = [row for row in rows if row["user"] == user]
        assert all(b["due_ns"] >= a["done_ns"] for a, b in pairwise(mine))


@MODES
def test_a_schedule_that_is_behind_is_never_moved(early_ns):
    """A loop blocked for 300 ms: what was due meanwhile is sent late, in its order.

    Not dropped, not spread out, and what is due afterwards keeps its time.
    """
    schedule = poisson()
    stall = 200 * MS, 300 * MS
    rows, begin, _ = drive(schedule, early_ns=early_ns, stall=stall)
    dues = [start.offset_ns for start in starts(schedule)]
    assert sorted(row["due_ns"] - begin for row in rows) == dues
    hit = [row for row in rows if stall[0] < row["due_ns"] - begin < sum(stall)]
    assert len(hit) == sum(stall[0] < due < sum(stall) for due in dues) > 50
    sent = [row["sent_ns"] - begin for row in sorted(hit, key=lambda r: r["due_ns"])]
    assert min(sent) >= sum(stall)
    assert sent == sorted(sent)
    assert min(row["sent_ns"] - row["due_ns"] for row in rows) >= 0


@MODES
def test_polling_is_for_the_last_15_us(early_ns, monkeypatch):
    """Of 200 waits; in precise mode, woken 100 µs early, it is often needed."""
    asked, poll = [], RealClock._poll

    def counted(clock, until_ns):
        asked.append(until_ns - clock.now())
        poll(clock, until_ns)

    monkeypatch.setattr(RealClock, "_poll", counted)
    schedule = Schedule(3, (Open(0, testing.constant(500)),), 0, 400 * MS)
    rows, _, polled = drive(schedule, early_ns=early_ns)
    assert len(rows) == 200
    assert all(each <= NEAR_NS for each in asked)
    if early_ns:
        assert polled > 0
        assert asked


def test_what_waking_takes_is_learned():
    """No more than a quarter of the wake-ups come sooner than it says."""

    async def main():
        loop, ended, sooner = asyncio.get_running_loop(), asyncio.Event(), []
        with RealClock(loop) as clock:
            start = clock.now() + MS
            wake = clock._wake

            def woken():
                sooner.append(clock.now() - clock._expires < clock._early)
                wake()
                assert 0 <= clock._early <= NEAR_NS

            loop.remove_reader(clock._timer.fd)
            loop.add_reader(clock._timer.fd, woken)
            for number in range(1000):
                clock.at(start + number * 500_000, lambda: None)
            clock.at(start + 1000 * 500_000, ended.set)
            await asyncio.wait_for(ended.wait(), 30)
            return clock._early, sooner

    early, sooner = asyncio.run(main())
    # Steps of 100 up and 300 down, between 0 and the most.
    assert early > 0
    assert sum(sooner[400:]) <= (600 * 100 + NEAR_NS) / (100 + 300)


def test_the_precise_mode_goes_round_once_at_a_time():
    """A round a time, however long it waits: each that is over makes the next."""

    async def main():
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        asked, most = [], 0
        with RealClock(loop, early_ns=20 * MS) as clock:
            come_back, call_soon = clock._come_back, loop.call_soon

            def counted():
                asked.pop()
                come_back()

            def soon(callback, *args, **options):
                nonlocal most
                if callback is counted:
                    asked.append(1)
                    most = max(most, len(asked))
                return call_soon(callback, *args, **options)

            clock._come_back, loop.call_soon = counted, soon
            clock.at(clock.now() + 50 * MS, done.set)
            await asyncio.wait_for(done.wait(), 30)
        return most

    assert asyncio.run(main()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="a timerfd is Linux's")
def test_the_loop_watches_an_absolute_timerfd():
    async def main():
        loop = asyncio.get_running_loop()
        with RealClock(loop) as clock:
            fired = asyncio.Event()
            due = clock.now() + 30 * MS
            clock.at(due, fired.set)
            with open(f"/proc/self/fdinfo/{clock._timer.fd}") as info:  # noqa: ASYNC230, PTH123
                told = info.read()
            await asyncio.wait_for(fired.wait(), 30)
            assert clock.now() >= due
        return told

    told = asyncio.run(main())
    assert "clockid: 1" in told  # CLOCK_MONOTONIC
    # TFD_TIMER_ABSTIME is 1; no interval: each due is set by itself.
    assert "settime flags: 01" in told
    assert "it_interval: (0, 0)" in told


@MODES
def test_sockets_are_read_between_bursts(early_ns):
    """1,000 are due at once: at most 100 run before a socket is read."""

    async def main():
        loop, done, fired, seen = asyncio.get_running_loop(), asyncio.Event(), [], []
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs, RealClock(loop, early_ns=early_ns) as clock:
            loop.add_reader(ours, lambda: (ours.recv(9), seen.append(len(fired))))
            begin = clock.now() + 10 * MS
            clock.at(begin, lambda: theirs.send(b"x"))
            for k in range(1_000):
                clock.at(begin + k, lambda: fired.append(None))
            clock.at(begin + 1_000, done.set)
            block(begin + 1_000)  # the loop is late for all of them at once
            await asyncio.wait_for(done.wait(), 30)
            loop.remove_reader(ours)
        return seen, fired

    seen, fired = asyncio.run(main())
    assert len(fired) == 1_000
    assert seen[0] <= 200
