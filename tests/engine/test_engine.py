"""Every sentence of the engine's contract, to the nanosecond, in simulated time."""

import pytest

from djinnload import testing
from djinnload.errors import PluginError
from djinnload.schedule import Open, Schedule
from djinnload.spi import Outcome, Reply, Request
from djinnload.testing import Answer, ScriptedTarget, population, simulate

MS = 1_000_000
S = 1_000 * MS


def run(session, *, rate=1.0, script=0, duration=1 * S, pop=None, **options):
    """Simulate one open population at an even pace."""
    target = options.pop("target", lambda c: ScriptedTarget(c, script))
    schedule = testing.open_loop(testing.constant(rate), duration_ns=duration)
    return simulate(
        (population(session=session, **(pop or {})),), schedule, target, **options
    )


def steps(*requests):
    """Return a session that yields *requests* whatever the replies."""

    def session(_):
        for request in requests:
            _ = yield request

    return session


def ask(**fields):
    return Request("none", {}, **fields)


def column(found, *names):
    """Return rows as tuples of some columns."""
    return [tuple(row[name] for name in names) for row in found.rows]


def test_one_request_a_session_at_its_due():
    """Due, ready, sent are equal when nothing is late; done is the reply's time."""
    found = run(testing.one_request, rate=10, script=7 * MS)
    assert column(found, "due_ns", "ready_ns", "sent_ns", "done_ns") == [
        (k * 100 * MS, k * 100 * MS, k * 100 * MS, k * 100 * MS + 7 * MS)
        for k in range(10)
    ]
    assert {row["session_end"] for row in found.rows} == {True}
    assert found.engine.tallies[0].done == 10
    assert found.engine.in_flight == 0


def test_the_next_request_is_asked_for_as_soon_as_the_reply_is_in():
    """Without offset and think time, due is the previous done."""
    found = run(steps(ask(step="prefill"), ask(step="decode")), script=5 * MS)
    assert column(found, "step", "due_ns", "done_ns", "session_end") == [
        ("prefill", 0, 5 * MS, False),
        ("decode", 5 * MS, 10 * MS, True),
    ]


def test_think_time_counts_from_the_previous_done():
    """It moves due, so it is no latency."""
    found = run(steps(ask(), ask(think_ns=30 * MS)), script=5 * MS)
    assert column(found, "due_ns", "sent_ns") == [(0, 0), (35 * MS, 35 * MS)]


def test_a_request_that_waits_for_the_previous_one_is_blocked_not_late():
    """An offset keeps its due; ready is when the previous reply was in."""
    chunks = [ask(due_offset_ns=k * 10 * MS) for k in range(3)]
    found = run(steps(*chunks), script=25 * MS)
    assert column(found, "due_ns", "ready_ns", "sent_ns", "done_ns") == [
        (0, 0, 0, 25 * MS),
        (10 * MS, 25 * MS, 25 * MS, 50 * MS),
        (20 * MS, 50 * MS, 50 * MS, 75 * MS),
    ]


def test_a_stalled_loop_is_late_and_the_schedule_is_not_moved():
    """Lateness is sent − ready; later sessions keep their dues."""

    def stall(clock, _):
        clock.at(50 * MS, lambda: clock.stall(200 * MS))

    found = run(testing.one_request, rate=10, duration=500 * MS, during=stall)
    assert column(found, "due_ns", "ready_ns", "sent_ns") == [
        (0, 0, 0),
        (100 * MS, 100 * MS, 250 * MS),
        (200 * MS, 200 * MS, 250 * MS),
        (300 * MS, 300 * MS, 300 * MS),
        (400 * MS, 400 * MS, 400 * MS),
    ]


def test_timeout_counts_from_due_and_the_late_reply_is_ignored():
    """One row, done at the timeout; the session goes on from there."""
    script = lambda _: Answer(500 * MS, late=True)  # noqa: E731
    found = run(
        steps(ask(), ask()), script=script, pop={"timeout_ns": 100 * MS}, grace_ns=S
    )
    assert column(found, "due_ns", "done_ns", "outcome") == [
        (0, 100 * MS, "timeout"),
        (100 * MS, 200 * MS, "timeout"),
    ]


def test_deadlines_of_several_populations_keep_their_own_times():
    """One heap, whichever order the timeouts come in."""
    schedule = Schedule(
        1, tuple(Open(i, testing.constant(1)) for i in range(3)), 0, 1 * S
    )
    populations = tuple(
        population(f"p{i}", timeout_ns=ns * MS) for i, ns in enumerate((300, 100, 200))
    )
    lost = lambda _: Answer(0, reply=None)  # noqa: E731
    found = simulate(
        populations, schedule, lambda c: ScriptedTarget(c, lost), grace_ns=S
    )
    assert column(found, "done_ns", "population") == [
        (100 * MS, 1),
        (200 * MS, 2),
        (300 * MS, 0),
    ]


def test_what_expires_while_blocked_was_never_sent():
    """`timeout`, sent null, ready null."""
    chunks = [ask(due_offset_ns=k * 10 * MS) for k in range(3)]
    replies = iter([90 * MS, 1 * MS, 1 * MS])
    found = run(
        steps(*chunks),
        script=lambda _: Answer(next(replies)),
        pop={"timeout_ns": 70 * MS},
        grace_ns=S,
    )
    # The first is cut at 70 ms: the second, due at 10, has 10 ms left.
    assert column(found, "due_ns", "sent_ns", "done_ns", "outcome") == [
        (0, 0, 70 * MS, "timeout"),
        (10 * MS, 70 * MS, 71 * MS, "ok"),
        (20 * MS, 71 * MS, 72 * MS, "ok"),
    ]
    replies = iter([90 * MS, 90 * MS, 90 * MS])
    found = run(
        steps(ask(), ask(due_offset_ns=0), ask(due_offset_ns=0)),
        script=lambda _: Answer(next(replies)),
        pop={"timeout_ns": 70 * MS},
        grace_ns=S,
    )
    assert column(found, "due_ns", "ready_ns", "sent_ns", "outcome") == [
        (0, 0, 0, "timeout"),
        (0, None, None, "timeout"),
        (0, None, None, "timeout"),
    ]


def test_over_max_in_flight_is_dropped_at_once_and_counted():
    """Never delayed, never sent; later ones have room again."""
    found = run(
        testing.one_request,
        rate=100,
        duration=50 * MS,
        script=25 * MS,
        max_in_flight=2,
        grace_ns=S,
    )
    by_due = sorted(column(found, "due_ns", "sent_ns", "outcome"))
    assert by_due == [
        (0, 0, "ok"),
        (10 * MS, 10 * MS, "ok"),
        (20 * MS, None, "dropped"),
        (30 * MS, 30 * MS, "ok"),
        (40 * MS, 40 * MS, "ok"),
    ]
    assert found.engine.tallies[0].dropped == 1


def test_grace_cancels_what_is_in_flight():
    """At end + grace; the session is abandoned, not done."""
    found = run(
        testing.one_request,
        rate=2,
        script=lambda _: Answer(10 * S),
        grace_ns=100 * MS,
        pop={"timeout_ns": 60 * S},
    )
    assert column(found, "due_ns", "done_ns", "outcome") == [
        (0, 1100 * MS, "cancelled"),
        (500 * MS, 1100 * MS, "cancelled"),
    ]
    tally = found.engine.tallies[0]
    assert (tally.started, tally.done, tally.abandoned) == (2, 0, 2)


def test_overdue_chunks_of_a_stalled_stream_each_give_a_row():
    """26 chunks, a server that stalls: none vanishes, none is invented."""
    chunks = [ask(due_offset_ns=k * 100 * MS, turn=k) for k in range(40)]
    found = run(
        steps(*chunks), script=lambda _: Answer(0, reply=None), grace_ns=1_550 * MS
    )
    # Grace is over at 2,550 ms: chunks 0 to 25 fell due, 26 to 39 did not.
    assert [k * 100 * MS for k in range(26)] == [r["due_ns"] for r in found.rows]
    assert {row["outcome"] for row in found.rows} == {"cancelled"}
    assert [row["sent_ns"] for row in found.rows] == [0] + [None] * 25
    assert [row["phase"] for row in found.rows] == ["measure"] * 10 + ["cooldown"] * 16
    assert [row["session_end"] for row in found.rows] == [False] * 25 + [True]
    assert found.engine.tallies[0].abandoned == 1


def test_a_session_that_only_waits_at_the_end_gives_no_row():
    """It is counted as abandoned."""
    found = run(steps(ask(), ask(think_ns=60 * S)), grace_ns=1 * S)
    assert len(found.rows) == 1
    assert found.engine.tallies[0].abandoned == 1


def test_turns_due_after_the_end_are_cooldown():
    """A turn has the phase of its first request, whatever its later ones."""
    session = steps(
        ask(turn=0, step="a"),
        ask(turn=0, step="b", think_ns=2 * S),
        ask(turn=1, step="c"),
    )
    found = run(session, grace_ns=10 * S)
    assert column(found, "step", "phase") == [
        ("a", "measure"),
        ("b", "measure"),
        ("c", "cooldown"),
    ]


def test_warmup_has_its_own_numbers_and_negative_indices():
    """The measured schedule is the same with and without warm-up."""

    def dues(warmup):
        schedule = testing.open_loop(
            testing.poisson(50), duration_ns=1 * S, warmup_ns=warmup
        )
        found = simulate((population(),), schedule, ScriptedTarget)
        return [
            (row["due_ns"] - warmup, row["session"])
            for row in found.rows
            if row["phase"] == "measure"
        ], [row["session"] for row in found.rows if row["phase"] == "warmup"]

    with_warmup, before = dues(500 * MS)
    assert dues(0) == (with_warmup, [])
    assert [-1 - k for k in range(len(before))] == before
    assert len(before) > 5


def test_an_interrupt_keeps_what_was_measured_and_ends_once():
    """In flight: cancelled; nothing follows."""
    ends = []
    found = run(
        testing.one_request,
        rate=10,
        script=150 * MS,
        during=lambda c, e: c.at(225 * MS, e.interrupt),
        on_end=lambda: ends.append(1),
    )
    assert column(found, "due_ns", "done_ns", "outcome") == [
        (0, 150 * MS, "ok"),
        (100 * MS, 225 * MS, "cancelled"),
        (200 * MS, 225 * MS, "cancelled"),
    ]
    assert ends == [1]


def test_closed_users_think_between_sessions():
    """The next session is due when the last is done and the pause is over."""
    schedule = testing.closed(2, duration_ns=100 * MS, think=lambda _: 15 * MS)
    found = simulate(
        (population(),), schedule, lambda c: ScriptedTarget(c, 10 * MS), grace_ns=S
    )
    for user in (0, 1):
        mine = [r for r in found.rows if r["user"] == user]
        assert [k * 25 * MS for k in range(4)] == [r["due_ns"] for r in mine]
        assert list(range(4)) == [r["session"] for r in mine]


def test_a_closed_user_does_not_spin_on_a_dead_server():
    """After a session that was not ok it waits at least `retry`."""
    dead = Answer(0, Reply(Outcome.ERROR, error="refused"))
    found = simulate(
        (population(retry_ns=100 * MS),),
        testing.closed(1, duration_ns=1 * S),
        lambda c: ScriptedTarget(c, lambda _: dead),
    )
    assert [k * 100 * MS for k in range(10)] == [r["due_ns"] for r in found.rows]


def test_a_mix_draws_each_session_by_weight():
    """Calibration: closed users over several populations."""
    schedule = testing.closed(4, duration_ns=20 * S, mix={0: 1.0, 1: 3.0})
    found = simulate(
        (population("a"), population("b")),
        schedule,
        lambda c: ScriptedTarget(c, 20 * MS),
    )
    share = sum(row["population"] for row in found.rows) / len(found.rows)
    # 4,000 draws, standard error 0.0068; alpha 1e-6 two-sided is 4.9 of them.
    assert abs(share - 0.75) < 0.034


def test_the_server_forgets_each_session_once():
    """`end_session` after the last reply, also of abandoned ones."""
    made = []

    def target(clock):
        made.append(ScriptedTarget(clock, 700 * MS))
        return made[0]

    found = run(testing.one_request, rate=4, target=target, grace_ns=100 * MS)
    assert len(made[0].ended) == len(set(made[0].ended)) == 4
    assert found.engine.tallies[0].abandoned == 2


@pytest.mark.parametrize(
    ("session", "reason"),
    [
        (steps("no request"), "yielded str, not a Request"),
        (steps(None), "yielded NoneType, not a Request"),
        (steps(ask(turn=2), ask(turn=1)), "turn fell from 2 to 1"),
        (steps(ask(think_ns=1, due_offset_ns=1)), "together with due_offset_ns"),
        (steps(ask(think_ns=-1)), "think_ns below 0"),
        (steps(ask(due_offset_ns=-5)), "due_offset_ns below 0"),
        (steps(ask(units=0)), "units 0"),
        (lambda _: iter_raising(), "raised ZeroDivisionError"),
    ],
)
def test_a_workload_that_breaks_its_contract_ends_the_run(session, reason):
    """The error names the plugin; what else is in flight is cancelled, not lost."""
    schedule = testing.open_loop(
        testing.constant(10), testing.constant(2), duration_ns=1 * S
    )
    ends = []
    found = simulate(
        (population("good"), population("bad", lambda s: delayed(session, s))),
        schedule,
        lambda c: ScriptedTarget(c, 150 * MS),
        on_end=lambda: ends.append(1),
    )
    assert isinstance(found.engine.error, PluginError)
    assert reason in str(found.engine.error)
    assert str(found.engine.error).startswith("test: session")
    assert ends == [1]
    outcomes = {row["outcome"] for row in found.rows if row["population"] == 0}
    assert outcomes == {"ok", "cancelled"}


def delayed(session, described):
    """First a request that is fine, then whatever *session* does."""
    yield ask()
    yield ask()
    yield from session(described)


def iter_raising():
    yield ask(turn=1 // 0)


def test_a_target_that_answers_inside_submit_is_told_so():
    """`submit` never calls on_reply before it returns."""

    class Eager:
        Options = None
        streams = False

        def submit(self, call, on_reply):
            on_reply(Reply(Outcome.OK))
            return lambda: None

        def end_session(self, session_id):
            pass

    found = run(testing.one_request, target=lambda _: Eager())
    assert "before submit returned" in str(found.engine.error)
    assert [row["outcome"] for row in found.rows] == ["cancelled"]


def test_a_submit_that_raises_is_an_error_row():
    """And the run goes on."""

    class Broken(ScriptedTarget):
        def submit(self, call, on_reply):
            raise OSError("no more files")

    found = run(testing.one_request, rate=3, target=Broken)
    assert (
        column(found, "outcome", "error")
        == [("error", "submit raised OSError: no more files")] * 3
    )
    assert found.engine.error is None


def test_a_generator_that_never_stops_at_the_end_is_bounded(monkeypatch):
    """Overdue requests without end are the plugin's error."""
    monkeypatch.setattr("djinnload.engine._SWEEP_LIMIT", 100)

    def forever(_):
        while True:
            yield ask(due_offset_ns=0)

    found = run(forever, script=lambda _: Answer(0, reply=None))
    assert "never stops yielding" in str(found.engine.error)
    assert len(found.rows) == 100


def test_random_numbers_are_the_sessions_own():
    """A function of (seed, population, user, index), the same in every process."""
    drawn = {}

    def session(described):
        drawn[described.index] = described.rng.random()
        yield ask()

    run(session, rate=3)
    again = dict(drawn)
    run(session, rate=6)
    assert again.items() <= drawn.items()
    assert drawn[0] == 0.7342815256756073


def test_sessions_that_ask_for_nothing_follow_each_other_without_nesting():
    """A closed user starts the next session in the reply's callback, not so these."""

    def session(described):
        if described.index % 5000 == 0:
            yield ask()

    found = simulate(
        (population(session=session),),
        testing.closed(1, duration_ns=20 * MS),
        lambda clock: ScriptedTarget(clock, 5 * MS),
    )
    assert column(found, "session", "due_ns", "sent_ns") == [
        (k * 5000, k * 5 * MS, k * 5 * MS) for k in range(4)
    ]
    assert found.engine.tallies[0].started == 15_001


def test_a_session_is_asked_before_it_is_due_and_counts_only_when_it_is():
    """The first request is ready when due; a session never due leaves nothing."""
    asked, closed = [], []

    def session(described):
        asked.append(described.index)
        try:
            yield ask()
        finally:
            closed.append(described.index)

    def during(clock, running):
        assert asked == [0]
        clock.at(150 * MS, running.interrupt)

    found = run(session, rate=10, script=7 * MS, during=during)
    assert column(found, "session", "due_ns") == [(0, 0), (1, 100 * MS)]
    assert asked == closed == [0, 1, 2]
    assert found.engine.tallies[0].started == found.engine.tallies[0].done == 2
    assert found.engine.tallies[0].abandoned == 0
