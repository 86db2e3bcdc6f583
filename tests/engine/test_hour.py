"""A simulated hour of three populations: one row a due request, whatever happens."""

from collections import defaultdict

from djinnload import testing
from djinnload.schedule import Open, Schedule
from djinnload.spi import Outcome, Reply, Request
from djinnload.testing import Answer, ScriptedTarget, population, simulate

MS = 1_000_000
S = 1_000 * MS
HOUR = 3600 * S
STALL = (1200 * S, 1230 * S)
CHUNKS = 10


def test_one_row_a_due_request_in_an_hour():  # noqa: C901 - one story
    """≥ 300,000 requests: steps, streams, a stalled loop, lost and late replies."""
    yielded = defaultdict(list)

    def chat(session):
        for k in range(4):
            step = "decode" if k else "prefill"
            yielded["chat", session.index].append(step)
            reply = yield Request("m", {}, step=step, last=k == 3)
            if reply.outcome is not Outcome.OK:
                return

    def stream(session):
        for k in range(CHUNKS):
            yielded["stream", session.index].append(k)
            yield Request("m", {}, step="chunk", turn=k, due_offset_ns=k * 200 * MS)

    def single(session):
        yielded["single", session.index].append(0)
        yield Request("m", {})

    calls = 0

    def script(call):
        nonlocal calls
        calls += 1
        if calls % 997 == 0:
            return Answer(0, reply=None)
        if calls % 1009 == 0:
            return Answer(30 * S, late=True)
        if calls % 503 == 0:
            return Answer(MS, Reply(Outcome.REFUSED, error="limit exceeded"))
        return Answer(3 * MS)

    names = ("chat", "stream", "single")
    sessions = (chat, stream, single)
    populations = tuple(
        population(n, s, timeout_ns=5 * S) for n, s in zip(names, sessions, strict=True)
    )
    rates = (10, 3, 50)
    schedule = Schedule(
        7, tuple(Open(i, testing.poisson(r)) for i, r in enumerate(rates)), 0, HOUR
    )
    found = simulate(
        populations,
        schedule,
        lambda clock: ScriptedTarget(clock, script, stalls=(STALL,)),
        grace_ns=20 * S,
        during=lambda c, _: c.at(2400 * S, lambda: c.stall(2 * S)),
    )
    assert found.engine.error is None
    rows = found.rows
    assert len(rows) >= 300_000
    by_session = defaultdict(list)
    for row in rows:
        by_session[names[row["population"]], row["session"]].append(row)
    # One row for each request that a generator yielded, and none that it did not:
    # every session started before the end, so all that was asked for fell due.
    assert {k: len(v) for k, v in by_session.items()} == {
        k: len(v) for k, v in yielded.items()
    }
    assert len({row["seq"] for row in rows}) == len(rows)
    streams = [v for (name, _), v in by_session.items() if name == "stream"]
    assert {len(v) for v in streams} == {CHUNKS}
    for row in rows:
        assert row["done_ns"] >= row["due_ns"]
        if row["sent_ns"] is not None:
            assert row["sent_ns"] >= row["ready_ns"] >= row["due_ns"]
    tallies = found.engine.tallies
    assert [t.started for t in tallies] == [
        sum(1 for name, _ in by_session if name == each) for each in names
    ]
    assert all(t.started == t.done + t.abandoned for t in tallies)
    outcomes = {row["outcome"] for row in rows}
    assert {"ok", "timeout", "refused"} <= outcomes
    # The loop's stall is lateness, the server's is not.
    late = [r for r in rows if r["sent_ns"] and r["sent_ns"] - r["ready_ns"] > 1 * S]
    assert late
    assert all(2400 * S <= r["sent_ns"] <= 2402 * S for r in late)


def test_an_open_loop_does_not_omit_what_it_could_not_send():
    """Ten seconds of a 10/s stream over a 5 s stall: the stall is in the percentiles.

    Sessions due k × 100 ms; the server answers nothing in the first 5 s of 50. What a
    closed loop would show as one slow request is 50 of 500, due evenly over the stall.
    """
    schedule = testing.open_loop(testing.constant(10), duration_ns=50 * S)
    found = simulate(
        (population(),),
        schedule,
        lambda clock: ScriptedTarget(clock, 1 * MS, stalls=((0, 5 * S),)),
        grace_ns=10 * S,
    )
    waits = sorted(r["done_ns"] - r["due_ns"] for r in found.rows)
    assert len(waits) == 500
    # The k-th waits 5 s − k × 100 ms + 1 ms: rank 495 of 500 is the fifth longest.
    assert waits[495 - 1] == 4_501 * MS
    assert waits[450 - 1] == 1 * MS
