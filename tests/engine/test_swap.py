"""Clock and target are all that changes between a simulation and the real thing."""

import asyncio
import gc
from functools import partial

from djinnload import engine, testing
from djinnload.clock import RealClock, SimulatedClock
from djinnload.spi import TargetPlan
from djinnload.targets.null import Null

MS = 1_000_000


def drive(clock, target, on_end):
    rows = []
    schedule = testing.open_loop(testing.poisson(200), duration_ns=100 * MS)
    begin = clock.now() + 10 * MS
    engine.start(
        schedule, (testing.population(),), clock=clock, target=target,
        record=rows.append, begin_ns=begin, grace_ns=10**9, session_prefix="s",
        on_end=on_end,
    )  # fmt: skip
    return rows, begin


async def real():
    ended, null = asyncio.Event(), Null(None)
    with RealClock(asyncio.get_running_loop()) as clock:
        await null.open(TargetPlan(""), clock)
        rows, begin = drive(clock, null, ended.set)
        await asyncio.wait_for(ended.wait(), 30)
    return sorted(row[8] - begin for row in rows)


def test_the_same_dues_in_real_and_simulated_time():
    clock = SimulatedClock()
    rows, begin = drive(clock, testing.ScriptedTarget(clock, MS), lambda: None)
    clock.run()
    assert sorted(row[8] - begin for row in rows) == asyncio.run(real())


def test_a_settled_request_leaves_the_collector_nothing():
    def cancelled(known):
        return known[0]()

    class Circular(testing.ScriptedTarget):
        def submit(self, call, on_reply):
            cancel = super().submit(call, on_reply)
            # Knows what to call back, as a target's own record of the call does.
            return partial(cancelled, (cancel, on_reply))

    gc.collect()
    gc.disable()
    try:
        schedule = testing.open_loop(testing.constant(1000), duration_ns=1000 * MS)
        found = testing.simulate(
            (testing.population(),), schedule, lambda clock: Circular(clock, 1000)
        )
        assert len(found.raw) == 1000
        assert gc.collect() < 100
    finally:
        gc.enable()
