"""The codec under random messages, random pieces and random damage."""

from contextlib import suppress
from itertools import pairwise
from math import prod
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from djinnload.errors import RemoteProtocolError
from djinnload.spi import Tensor
from djinnload.wire import djinn as wire
from djinnload.wire.djinn import Frame, FrameReader, MessageType

FRAMES = sorted((Path(__file__).parent.parent / "fixtures" / "frames").glob("*.bin"))
SIZES = {"float32": 4, "float16": 2, "int64": 8, "int32": 4, "bool": 1}

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | names,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3)
    ),
    max_leaves=6,
)
extras = st.dictionaries(names.map(lambda name: f"x{name}"), documents, max_size=4)


@st.composite
def tensors(draw: st.DrawFn, name: str) -> Tensor:
    dtype = draw(st.sampled_from(sorted(SIZES)))
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=4)))
    n = prod(shape) * SIZES[dtype]
    return Tensor(name, shape, dtype, draw(st.binary(min_size=n, max_size=n)))


several = st.lists(names, unique=True, max_size=4).flatmap(
    lambda found: st.tuples(*(tensors(name) for name in found))
)


def received(parts: list[wire.Buffer], cuts: list[int]) -> Frame:
    data = b"".join(parts)
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    reader = FrameReader()
    found = None
    for begin, end in pairwise(edges):
        assert found is None
        found = reader.feed(data[begin:end])
    assert found is not None
    assert reader.surplus == 0
    return found


def same(one: Tensor, other: Tensor) -> bool:
    head = (one.name, one.shape, one.dtype) == (other.name, other.shape, other.dtype)
    return head and bytes(one.data) == bytes(other.data)


cuts = st.lists(st.integers(0, 10**6), max_size=8)


@settings(max_examples=60, deadline=None)
@given(fingerprint=names, extra=extras, inputs=several, cuts=cuts)
def test_executes_come_back(fingerprint, extra, inputs, cuts) -> None:
    parts = wire.execute_request({"fingerprint": fingerprint, **extra}, inputs)
    found = wire.decode_request(received(parts, cuts))
    assert isinstance(found, wire.ExecuteRequest)
    assert found.fingerprint == fingerprint
    assert {key: found.meta[key] for key in extra} == extra
    assert all(map(same, found.inputs, inputs))
    assert len(found.inputs) == len(inputs)


@settings(max_examples=60, deadline=None)
@given(outputs=several, metrics=extras, echo=extras, message=names, cuts=cuts)
def test_replies_come_back(outputs, metrics, echo, message, cuts) -> None:
    parts = wire.execute_reply("success", outputs, metrics, echo, message)
    found = wire.decode_execute_reply(received(parts, cuts).payload)
    assert (found.metrics, found.echo, found.message) == (metrics, echo, message)
    assert all(map(same, found.outputs.values(), outputs))
    assert len(found.outputs) == len(outputs)


@settings(max_examples=40, deadline=None)
@given(weights=several, config=extras, cuts=cuts)
def test_registrations_come_back(weights, config, cuts) -> None:
    parts = wire.register_with_weights("f", "GPT2LMHeadModel", config, weights)
    found = wire.decode_request(received(parts, cuts))
    assert isinstance(found, wire.RegisterRequest)
    assert found.config == config
    assert found.weights is not None
    assert all(map(same, found.weights, weights))
    by_id = wire.decode_request(received(wire.register_by_id("f", "m", "A"), cuts))
    assert isinstance(by_id, wire.RegisterRequest)
    assert (by_id.model_id, by_id.weights) == ("m", None)


def decode_as_anything(payload: memoryview) -> None:
    for kind in MessageType:
        with suppress(RemoteProtocolError):
            wire.decode_request(Frame(kind, payload))
    for decode in (wire.decode_execute_reply, wire.decode_v1, wire.decode_bare):
        with suppress(RemoteProtocolError):
            decode(payload)


@settings(max_examples=300, deadline=None)
@given(
    path=st.sampled_from(FRAMES),
    damage=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 30_000),
)
def test_damaged_messages_raise_one_error_only(path, damage, cut) -> None:
    data = bytearray(path.read_bytes())
    for at, value in damage:
        if at < len(data):
            data[at] = value
    with suppress(RemoteProtocolError):
        FrameReader().feed(bytes(data))
    decode_as_anything(memoryview(bytes(data))[9:][:cut])


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_noise_raises_one_error_only(data) -> None:
    with suppress(RemoteProtocolError):
        FrameReader().feed(data)
    decode_as_anything(memoryview(data))
