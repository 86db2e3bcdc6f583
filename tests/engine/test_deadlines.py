"""An entry a session, not a request: each request still times out at its own time."""

from functools import partial

import pytest

from djinnload import deadlines, testing
from djinnload.spi import Request
from djinnload.testing import Answer, ScriptedTarget, population, simulate

MS = 1_000_000
LOST = Answer(0, None)


def session_of(*requests):
    def session(_):
        for fields in requests:
            _ = yield Request("none", {}, **fields)

    return session


def run(session, answers, *, sessions=1, timeout=100 * MS):
    """Simulate sessions 10 ms apart; each step is answered as *answers* say."""
    schedule = testing.open_loop(testing.constant(100), duration_ns=sessions * 10 * MS)
    return simulate(
        (population(session=session, timeout_ns=timeout),),
        schedule,
        partial(ScriptedTarget, script=lambda call: answers[call.request.step]),
        grace_ns=10_000 * MS,
    )


def times(found):
    return [(row["due_ns"], row["done_ns"], str(row["outcome"])) for row in found.rows]


def test_a_later_request_times_out_at_its_own_time():
    """Two that were answered came before it; their entry is no reason to give up."""
    found = run(
        session_of({"step": "a"}, {"step": "a"}, {"step": "b"}, {"step": "a"}),
        {"a": Answer(40 * MS), "b": LOST},
    )
    assert times(found) == [
        (0, 40 * MS, "ok"),
        (40 * MS, 80 * MS, "ok"),
        (80 * MS, 180 * MS, "timeout"),
        (180 * MS, 220 * MS, "ok"),
    ]


def test_a_request_that_was_due_before_the_last_one_times_out_before_it_would_have():
    found = run(
        session_of(
            {"step": "a", "due_offset_ns": 50 * MS}, {"step": "b", "due_offset_ns": 0}
        ),
        {"a": Answer(5 * MS), "b": LOST},
    )
    assert times(found) == [(50 * MS, 55 * MS, "ok"), (0, 100 * MS, "timeout")]


@pytest.mark.parametrize("slack", [0, 1024])
def test_who_thinks_while_stale_entries_are_thrown_out_is_watched_again(
    slack, monkeypatch
):
    """500 sessions, one in ten of whose second requests is lost after a pause."""
    monkeypatch.setattr(deadlines, "_SLACK", slack)
    seen = []

    class Target(ScriptedTarget):
        def submit(self, call, on_reply):
            seen.append(call.timeout_at_ns)
            return super().submit(call, on_reply)

    def session(it):
        yield Request("none", {}, step="a")
        step = "b" if it.index % 10 == 0 else "a"
        yield Request("none", {}, step=step, think_ns=30 * MS)

    answers = {"a": Answer(2 * MS), "b": LOST}
    found = simulate(
        (population(session=session, timeout_ns=70 * MS),),
        testing.open_loop(testing.constant(1000), duration_ns=500 * MS),
        lambda clock: Target(clock, lambda call: answers[call.request.step]),
        grace_ns=1000 * MS,
    )
    lost = [row for row in found.rows if row["outcome"] == "timeout"]
    assert len(found.rows) == len(seen) == 1000
    assert [row["session"] for row in lost] == list(range(0, 500, 10))
    assert {row["done_ns"] - row["due_ns"] for row in lost} == {70 * MS}


def test_sessions_that_are_over_are_not_kept_until_their_requests_would_time_out():
    """10,000 with a timeout of a minute: not one in ten has an entry at the end."""
    sizes = []
    schedule = testing.open_loop(testing.constant(10_000), duration_ns=1000 * MS)

    def look(clock, engine):
        clock.at(999 * MS, lambda: sizes.append(len(engine._deadlines._heap)))

    simulate(
        (population(timeout_ns=60_000 * MS),),
        schedule,
        partial(ScriptedTarget, script=MS),
        during=look,
    )
    assert sizes[0] <= 1100
