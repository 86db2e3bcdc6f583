"""Turns from rows, against a plain loop; values, ranks and rates at their edges."""

import math
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from djinnload.models.replay import CheckRow
from djinnload.recording.recorder import Recorder, read_samples, write_checks
from djinnload.sample import ROW, Header, Labels
from djinnload.stats import populations as stats
from djinnload.units import MS, SECOND

PLAIN = {
    "population": 0, "user": -1, "session": 0, "session_end": False, "turn": 0,
    "step": "decode", "seq": 0, "phase": "measure", "due_ns": 0, "ready_ns": 0,
    "sent_ns": 0, "first_ns": None, "done_ns": 0, "outcome": "ok", "error": "",
    "units": 1, "bytes_sent": 0, "bytes_received": 0, "metrics": {},
    "qos_class_resolved": "", "echo": {},
}  # fmt: skip
MANIFEST = {
    "populations": {
        "chat": {"loop": "open", "qos_class": "rt", "deadline_ns": 50 * MS},
    },
    "window": {"begin_ns": 0, "end_ns": SECOND},
    "sessions": {"chat": {"started": 3, "done": 2, "abandoned": 1}},
}


def fold(rows, checks=(), **changes):
    """Return the population of rows given by what differs from PLAIN."""
    labels = (Labels("chat", "llm", "rt", 50 * MS),)
    with TemporaryDirectory() as name:
        directory = Path(name)
        header = Header("all/a/r00", "all", "a", 0, labels)
        with Recorder(directory, header) as recorder:
            for seq, each in enumerate(rows):
                full = PLAIN | {"seq": seq} | each
                full["ready_ns"] = each.get("ready_ns", full["due_ns"])
                full["sent_ns"] = each.get("sent_ns", full["ready_ns"])
                recorder.append(tuple(full[column] for column in ROW))
        assert recorder.error is None
        write_checks(directory, 0, checks)
        table = read_samples(directory)
    return stats.populations(table, MANIFEST | changes)["chat"]


DIALOGUE = [
    {"turn": 0, "due_ns": 0, "done_ns": 10 * MS, "step": "prefill", "first_ns": 8 * MS,
     "metrics": {"queue_ns": 1e6, "exec_ns": 4e6}},
    {"turn": 0, "due_ns": 10 * MS, "done_ns": 13 * MS, "sent_ns": 11 * MS,
     "metrics": {"queue_ns": 0, "exec_ns": 2e6}},
    {"turn": 0, "due_ns": 13 * MS, "done_ns": 20 * MS, "ready_ns": 14 * MS},
    {"turn": 1, "due_ns": 30 * MS, "done_ns": 90 * MS, "session_end": True},
]  # fmt: skip


def test_a_turn_sums_its_requests():
    turns = fold(DIALOGUE).turns
    assert turns.number.tolist() == [0, 1]
    assert turns.latency_ns.tolist() == [20 * MS, 60 * MS]
    assert turns.service_ns.tolist() == [10 * MS + 2 * MS + 6 * MS, 60 * MS]
    assert turns.lateness_ns.tolist() == [MS, 0]
    assert turns.blocked_ns.tolist() == [MS, 0]
    assert turns.ttft_ns.tolist() == [10 * MS, 60 * MS]
    assert turns.units.tolist() == [3, 1]
    np.testing.assert_array_equal(turns.tpot_ns, [5 * MS, np.nan])
    # One request without the server's word makes the turn's sum unknown.
    assert np.isnan(turns.queue_ns).all()


def test_streaming_targets_have_their_first_token_earlier():
    turns = fold(DIALOGUE, streams=True).turns
    assert turns.ttft_ns.tolist() == [8 * MS, 60 * MS]
    np.testing.assert_array_equal(turns.tpot_ns, [6 * MS, np.nan])


def test_one_reply_as_a_whole_has_no_time_between_tokens():
    one = [{"done_ns": 5 * MS, "units": 16}]
    assert math.isnan(fold(one).turns.tpot_ns[0])
    tokens = fold([one[0] | {"first_ns": 2 * MS, "units": 4}], streams=True)
    assert tokens.turns.tpot_ns.tolist() == [MS]


def test_only_measure_counts():
    rows = [
        {"session": i, "phase": phase, "done_ns": i}
        for i, phase in enumerate(["warmup", "measure", "cooldown"])
    ]
    found = fold(rows)
    assert found.turns.done_ns.tolist() == [1]
    assert len(found.requests.due_ns) == 1
    nothing = fold([rows[0]])
    assert len(nothing.turns.due_ns) == 0
    assert nothing.sessions == {"started": 3, "done": 2, "abandoned": 1}
    assert stats.values(nothing, "latency").tolist() == []
    assert stats.in_system(nothing) == (0.0, 0)


@pytest.mark.parametrize("outcome", ["error", "timeout", "refused", "dropped"])
def test_what_is_not_ok_ranks_as_infinite(outcome):
    bad = {"session": 1, "due_ns": 1, "done_ns": 2, "outcome": outcome, "sent_ns": None}
    found = fold([{"done_ns": 3 * MS}, bad, {"session": 2, "due_ns": 2, "done_ns": 9}])
    for metric in ("latency", "service", "lateness", "ttft"):
        assert np.isinf(stats.values(found, metric)).tolist() == [False, True, False]
    assert stats.values(found, "error").tolist() == [0, 1, 0]
    assert stats.values(found, "miss").tolist() == [0, 1, 0]
    assert stats.goodput(found) == 2


def test_a_wrong_answer_is_not_ok():
    found = fold([{"done_ns": 5}], [CheckRow(0, "a", False, 2.0, "differs")])
    assert found.requests.outcome.tolist() == ["wrong"]
    assert not found.turns.ok[0]
    assert found.requests.verified.tolist() == [False]


def test_a_late_answer_is_a_miss_but_no_error():
    found = fold([{"done_ns": 51 * MS}, {"session": 1, "done_ns": 50 * MS}])
    assert stats.values(found, "miss").tolist() == [1, 0]
    assert stats.values(found, "error").tolist() == [0, 0]
    assert stats.goodput(found) == 1


def test_undefined_values_are_left_out():
    found = fold(DIALOGUE)
    assert stats.values(found, "tpot").tolist() == [5 * MS]
    assert stats.values(found, "queue").tolist() == []
    # The server never said: one failure must not look like a measurement.
    failed = [*DIALOGUE, {"session": 9, "outcome": "error", "done_ns": 1}]
    assert stats.values(fold(failed), "queue").tolist() == []
    with pytest.raises(ValueError, match="no metric 'latencies'"):
        stats.values(found, "latencies")


def test_bytes_are_of_a_turn_for_each_unit_of_its_work():
    heavy = [each | {"bytes_sent": 30, "bytes_received": 6} for each in DIALOGUE]
    found = fold(heavy)
    assert found.turns.bytes_sent.tolist() == [90, 30]
    assert stats.values(found, "bytes_sent").tolist() == [30, 30]
    assert stats.values(found, "bytes_received").tolist() == [6, 6]
    assert stats.values(found, "bytes").tolist() == [36, 36]
    two = fold([heavy[0] | {"units": 4}, heavy[3] | {"session": 1}])
    assert stats.values(two, "bytes").tolist() == [9, 36]
    lost = fold([*heavy, {"session": 9, "due_ns": 99 * MS, "outcome": "timeout"}])
    assert stats.values(lost, "bytes").tolist() == [36, 36, np.inf]


def test_requests_by_step():
    found = fold(DIALOGUE)
    assert stats.values(found, "request_latency", "prefill").tolist() == [10 * MS]
    assert stats.values(found, "request_latency").tolist() == [
        10 * MS, 3 * MS, 7 * MS, 60 * MS,
    ]  # fmt: skip


def test_sessions_that_did_not_end_are_left_out_unless_they_failed():
    rows = [
        *DIALOGUE,
        {"session": 1, "due_ns": 1, "done_ns": 5},
        {"session": 2, "due_ns": 2, "done_ns": 5, "outcome": "timeout"},
    ]
    assert stats.values(fold(rows), "session").tolist() == [90 * MS, math.inf]


def test_after_an_interrupt_cancelled_turns_are_left_out():
    rows = [*DIALOGUE, {"turn": 2, "due_ns": 91 * MS, "done_ns": 92 * MS,
                        "outcome": "cancelled"}]  # fmt: skip
    assert len(fold(rows).turns.due_ns) == 3
    window = {"begin_ns": 0, "end_ns": SECOND, "finished_ns": SECOND // 2}
    cut = fold(rows, interrupted=True, window=window)
    assert len(cut.turns.due_ns) == 2
    assert len(cut.requests.due_ns) == 4
    assert cut.window_ns == (0, SECOND // 2)


def test_in_system_is_weighted_by_time():
    rows = [
        {"session": 0, "due_ns": -SECOND, "done_ns": SECOND // 2},
        {"session": 1, "due_ns": SECOND // 2, "done_ns": 3 * SECOND},
    ]
    # One leaves as the other comes: never two.
    assert stats.in_system(fold(rows)) == (1.0, 1)
    rows.append({"session": 2, "due_ns": 0, "done_ns": SECOND})
    assert stats.in_system(fold(rows)) == (2.0, 2)


@pytest.mark.parametrize(
    ("n", "q", "rank"),
    [(20, 0.95, 19), (100, 0.99, 99), (101, 0.99, 100), (1, 0.5, 1), (2, 0.5, 1),
     (1000, 1 - 0.001, 999), (3, 0.0, 1), (3, 1.0, 3), (10_000, 0.999, 9990)],
)  # fmt: skip
def test_nearest_rank(n, q, rank):
    assert stats.nearest_rank(np.arange(1, n + 1), q) == rank


def test_the_rank_is_never_rounded():
    values = np.array([1000.0] * 59 + [1e6])
    assert stats.nearest_rank(values, 0.99) == 1e6
    assert stats.nearest_rank(values, 0.98) == 1000.0


@pytest.mark.parametrize(
    ("x", "n", "upper"),
    [(0, 59, 1 - 0.05 ** (1 / 59)), (0, 299, 1 - 0.05 ** (1 / 299)), (5, 5, 1.0),
     (0, 0, 1.0)],
)  # fmt: skip
def test_clopper_pearson(x, n, upper):
    assert stats.clopper_pearson_upper(x, n) == pytest.approx(upper)
    # Seen from the other side it is the same bound.
    assert stats.clopper_pearson_lower(n - x, n) == pytest.approx(1 - upper)


def test_clopper_pearson_inverts_the_binomial():
    from scipy.stats import binom

    upper = stats.clopper_pearson_upper(7, 100)
    assert binom.cdf(7, 100, upper) == pytest.approx(0.05)
    lower = stats.clopper_pearson_lower(7, 100)
    assert binom.sf(6, 100, lower) == pytest.approx(0.05)
    assert stats.clopper_pearson_upper(7.5, 100.5) > upper


def test_blocks_and_n_eff_at_their_edges():
    assert stats.blocks(np.arange(19.0)) is None
    assert stats.blocks(np.arange(1000.0)) is None
    assert stats.n_eff(np.empty(0)) == 0
    assert stats.n_eff(np.ones(500)) == 500
    assert stats.n_eff(np.full(500, np.inf)) == 500
    assert stats.n_eff(np.arange(1000.0)) < 20
    white = np.random.default_rng(1).normal(size=1000)
    assert len(stats.blocks(white)) == 1000
    assert stats.n_eff(white) == 1000
    # A third of the time is one long failure: no better than a few values.
    failed = np.where(np.arange(1000) < 300, np.inf, white)
    assert stats.n_eff(failed) < 20


def test_intervals_that_nobody_can_give():
    assert stats.percentile_interval(np.arange(10.0), 0.5) is None
    assert stats.mean_interval(np.array([1.0, np.inf] * 50)) is None
    assert stats.repeat_interval([1.0, 2.0, 3.0, 4.0]) is None
    assert stats.repeat_interval([1.0, 2.0, 3.0, 4.0, math.inf]) is None
    low, high = stats.repeat_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (low + high) / 2 == pytest.approx(3)
    assert high - 3 == pytest.approx(2.776 * math.sqrt(2.5 / 5), rel=1e-3)


request = st.fixed_dictionaries(
    {
        "user": st.integers(0, 1),
        "session": st.integers(0, 2),
        "turn": st.integers(0, 2),
        "due_ns": st.integers(0, 50),
        "took": st.integers(0, 50),
        "outcome": st.sampled_from(["ok", "ok", "ok", "timeout", "wrong"]),
        "phase": st.sampled_from(["measure", "measure", "warmup", "cooldown"]),
        "units": st.integers(1, 3),
        "bytes_sent": st.integers(0, 2**40),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(request, max_size=40))
def test_turns_are_what_a_plain_loop_makes(drawn):
    rows = [
        {k: v for k, v in r.items() if k != "took"}
        | {"done_ns": r["due_ns"] + r["took"]}
        for r in drawn
    ]
    found = fold(rows)
    groups = defaultdict(list)
    for each in rows:
        if each["phase"] == "measure":
            groups[each["user"], each["session"], each["turn"]].append(each)
    expected = sorted(
        (
            min(r["due_ns"] for r in group),
            max(r["done_ns"] for r in group),
            all(r["outcome"] == "ok" for r in group),
            sum(r["units"] for r in group),
            sum(r["bytes_sent"] for r in group),
            sum(r["done_ns"] - r["due_ns"] for r in group),
        )
        for group in groups.values()
    )
    t = found.turns
    columns = (t.due_ns, t.done_ns, t.ok, t.units, t.bytes_sent, t.service_ns)
    assert sorted(zip(*(c.tolist() for c in columns), strict=True)) == expected
    assert (np.diff(t.due_ns) >= 0).all()
    assert len(found.requests.due_ns) == sum(map(len, groups.values()))
    begin, end = found.window_ns
    due_to_done = sum(done - due for due, done, *_ in expected)
    assert stats.in_system(found)[0] * (end - begin) == pytest.approx(due_to_done)
