"""The stall experiment in simulated time: the server stalls 10 s in 60, at 100/s.

The truth is known from the schedule: what is due at t within the stall waits until its
end. A loop that waits for each reply before it sends the next sees one long request.
"""

import numpy as np
import pytest

from djinnload import testing
from djinnload.schedule import starts
from djinnload.stats import populations as stats
from simulated_kit import MS, S, measured  # tests/, by conftest.py

SECONDS, SERVICE = 60, 5 * MS
STALL = (20 * S, 30 * S)


def truth(due, end, service):
    """Latencies that the schedule demands of a server with room for all."""
    waits = np.where((due >= STALL[0]) & (due < STALL[1]), end - due, 0)
    return waits + service


@pytest.mark.parametrize("process", [testing.constant, testing.poisson])
@pytest.mark.parametrize("q", [0.5, 0.9, 0.99])
def test_percentiles_are_those_of_the_schedule(tmp_path, process, q):
    schedule = testing.open_loop(process(100), duration_ns=SECONDS * S)
    due = np.array([each.offset_ns for each in starts(schedule)])
    samples, _ = measured(tmp_path, schedule, SERVICE, stalls=(STALL,), grace_ns=20 * S)
    assert len(samples.turns.due_ns) == len(due) > 5500
    found = stats.nearest_rank(np.sort(samples.turns.latency_ns), q)
    wanted = stats.nearest_rank(np.sort(truth(due, STALL[1], SERVICE)), q)
    assert found == pytest.approx(wanted, rel=0.02)
    if process is testing.constant and q == 0.99:
        # Rank 5,940 of 6,000: the 61st of the stall, due 600 ms after it began.
        assert found == 9_400 * MS + SERVICE


def test_a_closed_loop_omits_the_stall(tmp_path):
    """What tools say that wait for the reply: one slow request, a p99 of 5 ms."""
    schedule = testing.closed(
        1, duration_ns=SECONDS * S, think=lambda _: 10 * MS - SERVICE
    )
    samples, _ = measured(
        tmp_path, schedule, SERVICE, loop="closed", stalls=(STALL,), grace_ns=20 * S
    )
    latency = np.sort(samples.turns.latency_ns)
    assert stats.nearest_rank(latency, 0.99) == SERVICE
    assert int((latency > 1 * S).sum()) == 1
