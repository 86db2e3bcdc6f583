"""What `check_workload` accepts, and each breach that it names."""

import itertools
import random
import time
from pathlib import Path

import pytest
from msgspec import Struct

from djinnload.errors import ScenarioError
from djinnload.spi import Outcome, Request, Tensor
from djinnload.testing import check_workload
from djinnload.workloads.echo import Echo
from djinnload.workloads.llm import Llm

X = Tensor("x", (2,), "uint8", b"ab")
SMALL = {"model": "gpt2-small-4l", "prompt_tokens": 4, "new_tokens": 3}


class Options(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Base:
    """Keeps the contract: one request of echo."""

    Options = Options

    def __init__(self, options, assets):
        assets.model("echo")

    def session(self, session):
        yield Request("echo", {"x": X})


def breach(kind, **arguments):
    with pytest.raises(AssertionError) as caught:
        check_workload(kind, **arguments)
    return str(caught.value)


def test_ours_pass():
    found = check_workload(Echo, {"payload": "64B", "requests": 3})
    assert (found.requests, found.units, found.input_bytes) == (24, 24.0, 24 * 64)
    assert found.models == ("echo",)
    llm = check_workload(Llm, SMALL)
    assert llm.requests == 8 * 3
    assert check_workload(Llm, SMALL).fingerprint == llm.fingerprint
    assert check_workload(Llm, SMALL, seed=2).fingerprint != llm.fingerprint


def test_the_fingerprint_is_pinned():
    # Of tokens drawn by numpy and chosen by random: a change of either shows here.
    assert check_workload(Llm, SMALL).fingerprint.startswith("56e7fa1c4935ffb1")


def test_hints_are_told():
    told = check_workload(Llm, SMALL, hints={"prompt_tokens": 7, "new_tokens": 2})
    assert told.requests == 8 * 2


def test_wrong_options_are_the_callers_error():
    with pytest.raises(ScenarioError, match="payloads"):
        check_workload(Echo, {"payloads": "64B"})


def test_options_must_be_strict():
    class Loose(Base):
        class Options(Struct):
            pass

    text = breach(Loose)
    assert "Options is not frozen" in text
    assert "Options takes unknown keys" in text


def session(function, **more):
    return type("Told", (Base,), {"session": function, **more})


def raises(self, session):
    yield Request("echo", {"x": X})
    raise RuntimeError("gone")


def endless(self, session):
    for _ in itertools.count():
        yield Request("echo", {"x": X})


def nonsense(self, session):
    yield "hello"


def silent(self, session):
    return
    yield


def unknown(self, session):
    yield Request("gpt5", {"x": X})


def short(self, session):
    yield Request("echo", {"x": Tensor("x", (3,), "float32", b"ab")})


def misnamed(self, session):
    yield Request("echo", {"y": X})


def strange(self, session):
    yield Request("echo", {"x": Tensor("x", (1,), "float33", b"ab")})


def sleeps(self, session):
    time.sleep(0)
    yield Request("echo", {"x": X})


def opens(self, session):
    Path(__file__).read_bytes()
    yield Request("echo", {"x": X})


def drifting(self, session):
    yield Request("echo", {"x": X}, units=1 + random.random())


def falling(self, session):
    yield Request("echo", {"x": X}, turn=1)
    yield Request("echo", {"x": X}, turn=0)


def fragile(self, session):
    reply = yield Request("echo", {"x": X})
    if reply.outcome is not Outcome.OK:
        raise ValueError("I expected better")


def fickle(self, session):
    reply = yield Request("echo", {"x": X}, due_offset_ns=0)
    if reply.outcome is Outcome.OK:
        yield Request("echo", {"x": X}, turn=1, due_offset_ns=1_000)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (raises, "session raises RuntimeError: gone"),
        (endless, "does not end"),
        (nonsense, "session yields str, not a Request"),
        (silent, "session 0 asks nothing"),
        (unknown, "asks 'gpt5', which it did not have from assets.model"),
        (short, "has 2 bytes; (3,) float32 is 12"),
        (misnamed, "calls itself 'x'"),
        (strange, "has the unknown dtype 'float33'"),
        (sleeps, "session sleeps"),
        (opens, "session opens a file"),
        (drifting, "built again with the same seed, it asks something else"),
        (falling, "turn fell from 1 to 0"),
        (fragile, "after a reply error: session raises ValueError"),
        (fickle, "turns with due_offset_ns change with the replies"),
    ],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_each_breach_is_named(told, says):
    assert says in breach(session(told))


class Hashing(Base):
    """Says what depends on the interpreter's own hash of text."""

    def session(self, session):
        yield Request("echo", {"x": X}, units=1 + hash("a") % 1000)


def test_another_process_must_say_the_same(monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    assert "in another process" in breach(Hashing)


def test_every_breach_is_listed_at_once():
    text = breach(session(opens, Options=type("Options", (Struct,), {})))
    assert text.count("\n- ") == 3
