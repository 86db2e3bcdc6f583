"""What holds for Djinn's policy whatever is offered and whenever it finishes."""

from hypothesis import given
from hypothesis import strategies as st

from djinnload.server.admission import Admission, slots_of
from djinnload.server.settings import CLASSES, Settings

weights = st.floats(0, 10, allow_subnormal=False)
shares = st.tuples(weights, weights, weights).filter(lambda w: sum(w) > 1e-3)
moves = st.lists(
    st.tuples(st.integers(0, 50), st.sampled_from([*CLASSES, "finish"])), max_size=120
)


@given(shares, st.integers(1, 64))
def test_slots_add_up(given_shares, slots):
    """All slots are dealt; only realtime's own one may come on top."""
    found = slots_of(dict(zip(CLASSES, given_shares, strict=True)), slots)
    assert found["realtime"] >= 1
    assert slots <= sum(found.values()) <= slots + 1
    assert all(value >= 0 for value in found.values())


settings = st.builds(
    lambda weights, **rest: Settings(
        shares=tuple(zip(CLASSES, weights, strict=True)), **rest
    ),
    shares,
    policy=st.sampled_from(["qos", "fcfs"]),
    slots=st.integers(1, 6),
    escalation_delay_ns=st.integers(0, 100),
    admission_limit=st.integers(1, 40),
)


@given(settings, moves, st.randoms(use_true_random=False))
def test_any_traffic(settings, script, rng):
    """Slots and limit hold, no slot idles while one waits, FIFO within a class."""
    queue, now, running = Admission(settings), 0, []
    offered, began, finished = [], [], 0
    for gap, move in script:
        now += gap
        if move == "finish":
            if running:
                queue.finish(running.pop(rng.randrange(len(running))))
                finished += 1
        else:
            inside = len(offered) - finished
            refused = queue.offer(len(offered), move, now) is not None
            assert refused == (inside >= settings.admission_limit)
            if not refused:
                offered.append(move)
        while (ticket := queue.start_next(now)) is not None:
            running.append(ticket)
            began.append(ticket)
        assert len(running) <= settings.slots
        assert queue.waiting == 0 or len(running) == settings.slots
        assert queue.active == len(offered) - finished
        assert sum(queue.running.values()) == len(running)
    for name in CLASSES:
        order = [ticket.item for ticket in began if ticket.qos_class == name]
        assert sorted(order) == order
    if settings.policy == "fcfs":
        assert list(range(len(began))) == [ticket.item for ticket in began]


@given(moves, st.integers(1, 4))
def test_everything_ends(script, slots):
    """When nothing more comes, all that was admitted has run, each once."""
    queue, order = Admission(Settings(slots=slots, admission_limit=1000)), []
    names = [move for _, move in script if move != "finish"]
    for index, name in enumerate(names):
        assert queue.offer(index, name, index) is None
    while (ticket := queue.start_next(len(names))) is not None:
        order.append(ticket.item)
        queue.finish(ticket)
    assert list(range(len(names))) == sorted(order)
    assert queue.active == 0
