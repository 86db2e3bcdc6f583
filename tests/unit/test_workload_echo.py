"""Workload echo: what it sends, and that other bytes are noticed."""

from random import Random

import msgspec
import pytest

from djinnload.errors import ScenarioError
from djinnload.models.assets import ModelAssets
from djinnload.spi import Outcome, Reply, Session, Tensor, Workload
from djinnload.units import Duration, Size
from djinnload.workloads.echo import Echo

OK = Reply(Outcome.OK)


def echo(*, seed=1, **options):
    return Echo(Echo.Options(**options), ModelAssets(seed))


def requests(workload, reply=OK, index=0, user=-1):
    generator = workload.session(Session(Random(0), user, index))
    sent = [next(generator)]
    while True:
        try:
            sent.append(generator.send(reply))
        except StopIteration:
            return sent


def test_is_a_workload():
    assert isinstance(echo(), Workload)


def test_session():
    sent = requests(echo(payload=Size(100), requests=3, think=Duration(5), units=2.5))
    assert [r.think_ns for r in sent] == [0, 5, 5]
    assert {(r.model, r.units, r.state) for r in sent} == {("echo", 2.5, None)}
    assert {r.inputs["payload"].nbytes for r in sent} == {100}
    assert {r.inputs["payload"].shape for r in sent} == {(100,)}


def test_gives_up_after_a_failure():
    assert len(requests(echo(requests=3), Reply(Outcome.ERROR))) == 1


def test_seeded():
    one, same, other = (requests(echo(seed=seed)) for seed in (1, 1, -2))
    assert one == same != other


def test_sessions_and_users_send_different_payloads():
    workload = echo(requests=2)
    sent = [
        bytes(request.inputs["payload"].data)
        for user, index in ((0, 0), (0, 1), (9, 0), (9, -2))
        for request in requests(workload, index=index, user=user)
    ]
    assert len(set(sent)) == 8


def test_shape():
    sent = requests(echo(payload=Size(6), shape=(2, 3)))
    assert sent[0].inputs["payload"].shape == (2, 3)
    with pytest.raises(ScenarioError, match="are 6 bytes, but payload is 7"):
        echo(payload=Size(7), shape=(2, 3))


def test_nothing_to_send():
    with pytest.raises(ScenarioError, match="nothing to send"):
        echo(payload=Size(0))


@pytest.mark.parametrize(
    "bad", [{"requests": 0}, {"units": 0}, {"x": 1}, {"shape": [0]}]
)
def test_bounds(bad):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bad, Echo.Options)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"data": b"abce"}, "payload came back with other bytes"),
        ({"data": b"abcde"}, "payload came back with other bytes"),
        ({"shape": (2, 2)}, "payload came back as uint8 (2, 2)"),
        ({"dtype": "int8"}, "payload came back as int8 (4,)"),
        (None, "no output payload"),
    ],
)
def test_verify(changes, reason):
    workload = echo(payload=Size(4))
    sent = Tensor("payload", (4,), "uint8", b"abcd")
    request = msgspec.structs.replace(requests(workload)[0], inputs={"payload": sent})
    got = (
        {} if changes is None else {"payload": msgspec.structs.replace(sent, **changes)}
    )
    found = workload.verify(request, Reply(Outcome.OK, got), None)
    assert (found.ok, found.reason) == (not reason, reason)
