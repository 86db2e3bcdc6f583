"""Turn by turn: what the summary says is what the rows say, turn for turn."""

import pytest
from msgspec import structs

from djinnload.health.work import unequal
from djinnload.spi import Outcome, Reply, Request
from djinnload.stats import populations as stats
from djinnload.summary import numbers, turns
from djinnload.testing import Answer, constant, open_loop
from health_kit import cell
from simulated_kit import MS, S, measured  # tests/, by conftest.py

TURNS, EVERY = 3, 100 * MS
SERVICE = (20 * MS, 150 * MS, 30 * MS)


def streaming(_):
    """Three turns of two requests, due 100 ms apart."""
    for turn in range(TURNS):
        yield Request("m", {}, turn=turn, due_offset_ns=turn * EVERY)
        yield Request("m", {}, turn=turn)


def answer(failing=False):
    """The first request of turn k takes SERVICE[k], and has had 10 × k tokens."""

    def script(call):
        turn, first = call.request.turn, call.request.due_offset_ns is not None
        reply = Reply(
            Outcome.ERROR if failing and turn == TURNS - 1 else Outcome.OK,
            metrics={"reused_tokens": 10.0 * turn + (0 if first else 1)},
            bytes_sent=100 * (turn + 1),
            bytes_received=7,
        )
        return Answer(SERVICE[turn] if first else 0, reply)

    return script


def seen(tmp_path, failing=False):
    samples, _ = measured(
        tmp_path,
        open_loop(constant(1), duration_ns=4 * S),
        answer(failing),
        session=streaming,
    )
    return samples


def means(listed, name):
    return [each[f"{name}_ms"]["mean"] for each in listed]


def test_turns_are_told_apart(tmp_path):
    samples = seen(tmp_path / "a")
    listed = numbers.pooled([samples, samples])["by_turn"]
    assert [each["turn"] for each in listed] == [0, 1, 2]
    assert [each["n"] for each in listed] == [8, 8, 8]
    # The third waits 50 ms for the second, which is the server's, and is not late.
    assert means(listed, "latency") == [20, 150, 80]
    assert means(listed, "ttft") == [20, 150, 80]
    assert means(listed, "blocked") == [0, 0, 50]
    assert means(listed, "lateness") == [0, 0, 0]
    # Of the first request: what came before the turn.
    assert [each["reused_tokens"] for each in listed] == [0, 10, 20]
    assert [each["bytes"] for each in listed] == [
        {"sent": 200 * (k + 1), "received": 14} for k in range(TURNS)
    ]


def test_a_stream_that_is_behind_keeps_the_order_of_its_requests(tmp_path):
    """The third turn is due before the second one's last request."""
    behind = seen(tmp_path / "a")
    due = behind.requests.turn[:6].tolist()
    assert due == [0, 0, 1, 2, 1, 2]
    order, starts = stats.by_session(behind.requests)
    assert behind.requests.turn[order].tolist() == [0, 0, 1, 1, 2, 2] * 4
    assert starts.tolist() == [0, 6, 12, 18]
    # From done to ready: 80 ms before the second turn, never less than none.
    assert numbers.time_split([behind])["idle"] == 80 / 5
    keeps_up, _ = measured(
        tmp_path / "b", open_loop(constant(1), duration_ns=4 * S), session=streaming
    )
    pair = [cell(behind, arm="slow"), cell(keeps_up, arm="fast")]
    assert list(unequal(pair, {"baseline": "fast"})) == []


@pytest.mark.parametrize(
    ("failing", "deadline", "misses"),
    [(False, 160, [0, 0, 0]), (False, 79, [0, 4, 4]), (True, 160, [0, 0, 4])],
)
def test_a_turn_that_is_late_or_not_ok_is_a_miss(tmp_path, failing, deadline, misses):
    samples = seen(tmp_path, failing)
    samples = structs.replace(samples, deadline_ns=deadline * MS)
    listed = numbers.pooled([samples])["by_turn"]
    assert [each["misses"] for each in listed] == misses
    assert [each["latency_ms"]["n"] for each in listed] == [4, 4, 0 if failing else 4]
    assert listed[2]["blocked_ms"]["n"] == 4  # of all that were sent


def test_one_turn_is_all_that_there_is(tmp_path):
    samples, _ = measured(tmp_path, open_loop(constant(5), duration_ns=2 * S), 3 * MS)
    whole = numbers.pooled([samples])
    (only,) = whole["by_turn"]
    assert only["latency_ms"] == whole["latency_ms"]
    assert only["n"] == whole["n"] == 10
    assert only["reused_tokens"] is None


def test_no_turn_is_no_line(tmp_path):
    samples, _ = measured(
        tmp_path, open_loop(constant(1), duration_ns=S), session=lambda _: iter(())
    )
    assert turns.by_turn([samples], {}) == []
