"""Djinn's admission and QoS policy, by example; times are plain ns."""

import pytest

from djinnload.server.admission import Admission, resolve_class, slots_of
from djinnload.server.settings import Settings

MS = 1_000_000


def shares(realtime, interactive, batch):
    return {"realtime": realtime, "interactive": interactive, "batch": batch}


@pytest.mark.parametrize(
    ("given", "slots", "expected"),
    [
        (shares(0.1, 0.7, 0.2), 12, (2, 8, 2)),
        (shares(0.3, 0.5, 0.2), 4, (2, 2, 0)),
        (shares(0.1, 0.7, 0.2), 2, (1, 1, 0)),
        (shares(0.29, 0.71, 0), 100, (29, 71, 0)),
        (shares(1, 1, 1), 5, (2, 2, 1)),
        (shares(10, 70, 20), 12, (2, 8, 2)),
        (shares(0, 1, 0), 1, (1, 1, 0)),
        ({"batch": 1.0}, 3, (1, 0, 3)),
    ],
)
def test_slots(given, slots, expected):
    """floor(share ÷ total × slots), remainder from realtime down, realtime ≥ 1."""
    assert expected == tuple(slots_of(given, slots).values())


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "interactive"),
        ({"qos_class": "realtime"}, "realtime"),
        ({"qos_class": "BATCH"}, "batch"),
        ({"qos_class": "gold"}, "interactive"),
        ({"qos_class": "gold", "deadline_ms": 9}, "realtime"),
        ({"qos_class": 3}, "interactive"),
        ({"deadline_ms": 25}, "realtime"),
        ({"deadline_ms": 26}, "interactive"),
        ({"deadline_ms": 250}, "interactive"),
        ({"deadline_ms": 251}, "batch"),
        ({"deadline_ms": float("nan")}, "interactive"),
        ({"qos_class": "batch", "deadline_ms": 1}, "batch"),
        ({"qos_class": "realtime", "priority": 0}, "batch"),
        ({"qos_class": "realtime", "priority": 1}, "batch"),
        ({"qos_class": "realtime", "priority": "normal"}, "batch"),
        ({"qos_class": "batch", "priority": 2}, "interactive"),
        ({"qos_class": "batch", "priority": 3}, "realtime"),
        ({"qos_class": "batch", "priority": "Realtime"}, "realtime"),
        ({"qos_class": "realtime", "priority": 4}, "realtime"),
        ({"qos_class": "realtime", "priority": True}, "realtime"),
        ({"qos_class": "realtime", "priority": None}, "realtime"),
    ],
)
def test_class(fields, expected):
    """Priority before class before deadline before the default; nonsense is skipped."""
    assert expected == resolve_class(fields, "interactive")


def admission(policy="qos", slots=2, limit=1000, **more):
    thirds = tuple(shares(0.1, 0.7, 0.2).items())
    settings = Settings(
        policy=policy, slots=slots, shares=thirds, admission_limit=limit, **more
    )
    return Admission(settings)


def started(queue, now_ns=0):
    found = []
    while ticket := queue.start_next(now_ns):
        found.append(ticket)
    return found


def items(tickets):
    return [ticket.item for ticket in tickets]


def offer(queue, *names, now_ns=0):
    classes = {"r": "realtime", "i": "interactive", "b": "batch"}
    for name in names:
        assert queue.offer(name, classes[name[0]], now_ns) is None


def test_refusal():
    """The limit counts waiting and running together, in Djinn's words."""
    queue = admission(limit=10)
    offer(queue, *(f"b{i}" for i in range(10)))
    running = started(queue)
    text = "Concurrency limit exceeded: 10 active requests >= 10 limit"
    assert text == queue.offer("r", "realtime", 0)
    assert (queue.active, queue.waiting) == (10, 8)
    queue.finish(running[0])
    assert queue.offer("r", "realtime", 0) is None


def test_bounded_queue():
    """More waiting requests than the bound are refused, in words that say limit."""
    queue = admission(queue_limit=3)
    offer(queue, "i0", "i1")
    assert items(started(queue)) == ["i0", "i1"]
    offer(queue, "i2", "i3", "i4")
    text = queue.offer("i5", "interactive", 0)
    assert text == "Queue limit exceeded: 3 waiting requests >= 3 limit"


def test_realtime_overtakes():
    """A free slot goes to the highest class that is under its limit."""
    queue = admission(slots=2)
    offer(queue, "i0", "b0")
    first = started(queue)
    assert items(first) == ["i0", "b0"]
    offer(queue, "b1", "i1", "i2", "r0")
    queue.finish(first[1])
    assert items(started(queue)) == ["r0"]


def test_class_at_its_limit():
    """A class at its limit lets a lower class under its own go first."""
    queue = admission(slots=12)
    offer(queue, *(f"r{i}" for i in range(3)), "i0", "b0")
    # Two realtime are its limit; then interactive, batch; then the third realtime,
    # since every class with work is at its limit or has none.
    assert items(started(queue)) == ["r0", "r1", "i0", "b0", "r2"]


def test_all_at_their_limits():
    """A slot is never left free: over the limits the highest waiting class goes."""
    queue = admission(slots=2)
    offer(queue, "b0", "b1")
    assert items(started(queue)) == ["b0", "b1"]


def test_escalation():
    """A head that has waited the delay goes over its class's limit, to the ns."""
    for waited, expected in ((300 * MS - 1, "b1"), (300 * MS, "r1")):
        queue = admission(slots=12, escalation_delay_ns=300 * MS)
        offer(queue, "r0", "r0", *("i0",) * 8, "b0", "b0")
        running = started(queue)
        offer(queue, "r1", "b1")
        queue.finish(running[-1])
        assert [expected] == items(started(queue, waited))


def test_escalation_keeps_the_order_of_classes():
    """An old batch head does not pass a realtime request that is under its limit."""
    queue = admission(slots=2, escalation_delay_ns=1)
    offer(queue, "i0", "i1", "b0")
    running = started(queue)
    offer(queue, "r0", now_ns=10 * MS)
    queue.finish(running[0])
    assert items(started(queue, 20 * MS)) == ["r0"]


def test_fcfs():
    """One FIFO over the same slots, whatever the class."""
    queue = admission("fcfs", slots=2)
    offer(queue, "b0", "b1", "b2", "i0", "r0")
    running = started(queue, 5)
    assert items(running) == ["b0", "b1"]
    assert [(t.arrived_ns, t.started_ns) for t in running] == [(0, 5), (0, 5)]
    queue.finish(running[0])
    queue.finish(running[1])
    assert items(started(queue)) == ["b2", "i0"]


def test_none():
    """Without a policy nothing waits; the admission limit still holds."""
    queue = admission("none", slots=1, limit=50)
    offer(queue, *(f"b{i}" for i in range(50)))
    assert len(started(queue)) == 50
    assert queue.offer("r", "realtime", 0) is not None


@pytest.mark.parametrize("policy", ["qos", "fcfs"])
def test_decodes_that_are_told_apart_go_before_prefills(policy):
    """Within a class, in order; prefills only wait until their head has escalated."""
    queue = admission(policy, slots=1, escalation_delay_ns=300 * MS)
    offer(queue, "i0")
    (running,) = started(queue)
    offer(queue, "i1", "i2", now_ns=1)
    for name in ("i3", "i4"):
        assert queue.offer(name, "interactive", 2, decode=True) is None
    assert (queue.active, queue.waiting) == (5, 4)
    order = []
    for now in (10, 20, 1 + 300 * MS, 1 + 300 * MS):
        queue.finish(running)
        (running,) = started(queue, now)
        order.append(running.item)
    assert order == ["i3", "i4", "i1", "i2"]

    queue = admission(policy, slots=1, escalation_delay_ns=300 * MS)
    offer(queue, "i0")
    (running,) = started(queue)
    offer(queue, "i1", now_ns=1)
    assert queue.offer("i2", "interactive", 2, decode=True) is None
    queue.finish(running)
    assert items(started(queue, 1 + 300 * MS)) == ["i1"]


def test_decodes_of_a_class_do_not_overtake_a_higher_class():
    """Phases order a class within itself; classes come first."""
    queue = admission(slots=1)
    offer(queue, "b0")
    (running,) = started(queue)
    assert queue.offer("b1", "batch", 0, decode=True) is None
    offer(queue, "r0", "i0")
    queue.finish(running)
    assert items(started(queue)) == ["r0"]
