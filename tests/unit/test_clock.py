"""Both clocks fire in order and never early."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from djinnload.clock import RealClock, SimulatedClock, monotonic_ns


@given(st.lists(st.integers(0, 100)))
def test_simulated_time_fires_in_due_order(dues):
    """Equal dues keep the order of the calls; each fires exactly at its due."""
    clock, fired = SimulatedClock(), []
    for number, due in enumerate(dues):
        clock.at(due, lambda n=number: fired.append((clock.now(), n)))
    assert len(dues) == clock.run()
    assert sorted((due, number) for number, due in enumerate(dues)) == fired


def test_a_stall_makes_callbacks_late_not_lost():
    """What was due meanwhile fires afterwards, in order."""
    clock, fired = SimulatedClock(), []
    for due in (10, 20, 30):
        clock.at(due, lambda d=due: fired.append((d, clock.now())))
    clock.stall(25)
    clock.run()
    assert fired == [(10, 25), (20, 25), (30, 30)]


def test_at_never_calls_back_inside_the_call():
    """Not even when it is due already."""
    clock, fired = SimulatedClock(100), []
    clock.at(1, lambda: fired.append(1))
    assert fired == []
    clock.run()
    assert fired == [1]


def test_the_real_clock_is_never_early_and_keeps_the_order():
    """200 dues, armed backwards, over 50 ms."""

    async def main():
        loop = asyncio.get_running_loop()
        ended, fired = asyncio.Event(), []
        with RealClock(loop) as clock:
            start = clock.now() + 5_000_000

            def fire(due):
                fired.append((due, monotonic_ns()))
                if len(fired) == 200:
                    ended.set()

            for number in reversed(range(200)):
                due = start + number * 250_000
                clock.at(due, lambda due=due: fire(due))
            await asyncio.wait_for(ended.wait(), 30)
        return fired

    fired = asyncio.run(main())
    assert sorted(due for due, _ in fired) == [due for due, _ in fired]
    assert all(at >= due for due, at in fired)
