"""A run of any length keeps nothing a request: blocks of memory, before and after."""

import sys
import time

import pytest

from djinnload import engine, testing
from djinnload.clock import SimulatedClock
from djinnload.recording.recorder import Recorder
from djinnload.sample import Header, Labels
from djinnload.schedule import Closed, Open, Schedule
from djinnload.spi import Outcome, Reply, Request
from djinnload.testing import Answer, ScriptedTarget, population

MS = 1_000_000
S = 1_000 * MS
#: Of simulated time in each part: 80,000 requests.
PART = 80 * S
LABELS = tuple(Labels(name, "none", "interactive", None) for name in ("open", "closed"))


class Forgetful(ScriptedTarget):
    """Does not take note of the sessions that ended."""

    def end_session(self, session_id):
        pass


def session(_):
    for step in ("prefill", "decode"):
        reply = yield Request("m", {}, step=step)
        if reply.outcome is not Outcome.OK:
            return


def script(call):
    """Lose one call in a hundred; no two replies are alike."""
    script.calls += 1
    if script.calls % 100 == 0:
        return Answer(0, reply=None)
    n = float(script.calls)
    return Answer(
        5 * MS, Reply(Outcome.OK, metrics={"queue_ns": n}, bytes_sent=script.calls)
    )


@pytest.mark.timeout(120)
def test_nothing_is_kept_of_a_request_that_is_over(tmp_path):
    """Sessions, deadlines, timeouts, users' pauses, rows, live counts, dictionaries."""
    script.calls = 0
    sources = (
        Open(0, testing.poisson(400)),
        Closed(2, ((1, 1.0),), lambda rng: round(rng.expovariate(1 / MS))),
    )
    populations = tuple(
        population(each.name, session, timeout_ns=50 * MS) for each in LABELS
    )
    clock, blocks, rows = SimulatedClock(), [], []
    header = Header("all/default/r00", "all", "default", 0, LABELS)
    with Recorder(tmp_path, header) as recorder:
        running = engine.start(
            Schedule(1, sources, 0, 10 * PART),
            populations,
            clock=clock,
            target=Forgetful(clock, script),
            record=recorder.append,
            begin_ns=0,
            grace_ns=S,
            session_prefix="long",
        )
        for part in range(1, 4):
            clock.run(part * PART)
            waiting = recorder._channel.rows
            until = time.monotonic() + 30
            while waiting and time.monotonic() < until:
                time.sleep(0.05)
            assert not waiting
            rows.append(script.calls)
            blocks.append(sys.getallocatedblocks())
        running.interrupt()
    assert recorder.error is None
    # The first part fills what is bounded; the next ones may add no more than noise.
    assert rows[2] - rows[1] > 50_000
    assert blocks[2] - blocks[1] < 2_000
