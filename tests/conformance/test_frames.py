"""The codec against whole conversations recorded from a real Djinn server."""

import json
from pathlib import Path
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djinnload.errors import ConnectionLost, LocalProtocolError, RemoteProtocolError
from djinnload.spi import Tensor
from djinnload.wire import djinn as wire
from djinnload.wire.djinn import HEADER, FrameReader, MessageType, Spare
from djinnload.wire.frames import LONG

FRAMES = Path(__file__).parent.parent / "fixtures" / "frames"
NAMES = sorted(path.name.removesuffix(".bin") for path in FRAMES.glob("*.bin"))
READABLE = [name for name in NAMES if not name.startswith("unknown-type")]
EXECUTES = [
    name
    for name in NAMES
    if name.startswith("execute-") and name.endswith(".request") and "undec" not in name
]


def recorded(name: str) -> bytes:
    return (FRAMES / f"{name}.bin").read_bytes()


def whole(data: bytes) -> wire.Frame:
    found = FrameReader().feed(data)
    assert found is not None
    return found


def decode(name: str, frame: wire.Frame) -> object:
    if name.endswith(".request"):
        return wire.decode_request(frame)
    if frame.kind is MessageType.EXECUTE_MODEL:
        return wire.decode_execute_reply(frame.payload)
    if frame.kind is MessageType.CACHE_QUERY:
        return wire.decode_bare(frame.payload)
    return wire.decode_v1(frame.payload)


def request(name: str) -> wire.ExecuteRequest:
    found = wire.decode_request(whole(recorded(name)))
    assert isinstance(found, wire.ExecuteRequest)
    return found


def executed(**change: object) -> bytes:
    """An EXECUTE_MODEL payload, with one field of its JSON changed."""
    meta = {
        "fingerprint": "f",
        "tensor_keys": ["x"],
        "tensor_shapes": [[2]],
        "tensor_dtypes": ["torch.uint8"],
        **change,
    }
    document = json.dumps(meta).encode()
    return framed(v2(document, 1, pack(">I1sQ", 1, b"x", 2) + b"ab"))


def v2(document: bytes, count: int, tail: bytes) -> bytes:
    return pack(">BII", 2, len(document), count) + document + tail


def framed(payload: bytes, kind: int = 6) -> bytes:
    return pack(">BQ", kind, len(payload)) + payload


def replied(
    kind: int, tail: bytes, document: bytes = b'{"status": "success"}'
) -> bytes:
    return pack(">BIB", 2, len(document), kind) + document + tail


def tensor(shape: bytes, dtype: bytes, data: bytes) -> bytes:
    lead = pack(">I", len(shape)) + shape + pack(">I", len(dtype)) + dtype
    return lead + pack(">Q", len(data)) + data


@pytest.mark.parametrize("name", READABLE)
def test_reads_frames_in_any_pieces(name: str) -> None:
    data = recorded(name)
    one = FrameReader().feed(data)
    reader = FrameReader()
    pieces = [reader.feed(data[i : i + 1]) for i in range(len(data))]
    assert pieces[:-1] == [None] * (len(data) - 1)
    assert one is not None
    assert pieces[-1] is not None
    assert bytes(pieces[-1].payload) == bytes(one.payload) == data[9:]
    reader.eof()


@pytest.mark.parametrize("name", READABLE)
def test_a_frame_that_ends_early_is_lost(name: str) -> None:
    data = recorded(name)
    step = max(1, len(data) // 400)
    for end in range(0, len(data), step):
        reader = FrameReader()
        assert reader.feed(data[:end]) is None
        with pytest.raises(ConnectionLost):
            reader.eof()


@pytest.mark.parametrize("name", READABLE)
def test_a_payload_cut_anywhere_is_refused(name: str) -> None:
    if "undecodable.request" in name:
        pytest.skip("its payload is nonsense whole")
    frame = whole(recorded(name))
    payload = bytes(frame.payload)
    ends = range(len(payload)) if len(payload) < 4000 else range(0, len(payload), 41)
    # Where a count may include what is not written, no tensor at all is well-formed.
    allowed = 6 + int.from_bytes(payload[1:5]) + 4
    for end in ends:
        if name.endswith("reply") and end == allowed and frame.kind == 6:
            continue
        with pytest.raises(RemoteProtocolError):
            decode(name, wire.Frame(frame.kind, memoryview(payload[:end])))


@pytest.mark.parametrize("name", READABLE)
def test_bytes_after_a_frame_are_counted(name: str) -> None:
    reader = FrameReader()
    frame = reader.feed(recorded(name) + b"more")
    assert frame is not None
    assert bytes(frame.payload) == recorded(name)[9:]
    assert reader.surplus == 4


@pytest.mark.parametrize(
    "name",
    [n for n in READABLE if n.startswith(("execute", "reg")) and "undec" not in n],
)
def test_bytes_after_the_last_tensor_are_refused(name: str) -> None:
    if name.startswith("register") and name.endswith("reply"):
        pytest.skip("v1 replies may have a tail")
    frame = whole(recorded(name))
    with pytest.raises(RemoteProtocolError, match="follow"):
        decode(name, wire.Frame(frame.kind, memoryview(bytes(frame.payload) + b"!")))


@pytest.mark.parametrize("name", EXECUTES)
def test_writes_executes_as_recorded(name: str) -> None:
    found = request(name)
    own = {
        k: v
        for k, v in found.meta.items()
        if not k.startswith("tensor_") and k != "profile_id"
    }
    assert b"".join(wire.execute_request(own, found.inputs)) == recorded(name)


@pytest.mark.parametrize("name", ["register-weights", "register-again"])
def test_writes_registrations_as_recorded(name: str) -> None:
    found = wire.decode_request(whole(recorded(f"{name}.request")))
    assert isinstance(found, wire.RegisterRequest)
    assert found.weights is not None
    made = wire.register_with_weights(
        "fp-tiny", "GPT2LMHeadModel", found.config, found.weights
    )
    assert b"".join(made) == recorded(f"{name}.request")


def test_writes_the_rest_as_recorded() -> None:
    assert b"".join(wire.warmup()) == recorded("warmup.request")
    assert b"".join(wire.cache_query(["a"])) == recorded("cache-query.request")
    assert b"".join(wire.cache_reply()) == recorded("cache-query.reply")


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in NAMES
        if n.startswith("execute-") and "reply" in n and "undec" not in n
    ],
)
def test_writes_replies_as_recorded(name: str) -> None:
    found = wire.decode_execute_reply(whole(recorded(name)).payload)
    made = wire.execute_reply(
        found.status,
        tuple(found.outputs.values()),
        found.metrics,
        message=found.message,
    )
    assert b"".join(made) == recorded(name)


@pytest.mark.parametrize("name", ["register-weights", "register-again", "warmup"])
def test_writes_v1_replies_as_recorded(name: str) -> None:
    frame = whole(recorded(f"{name}.reply"))
    made = wire.v1_reply(frame.kind, wire.decode_v1(frame.payload))
    assert b"".join(made) == recorded(f"{name}.reply")


def test_writes_errors_as_recorded() -> None:
    frame = whole(recorded("execute-undecodable.reply"))
    message = wire.decode_v1(frame.payload)["message"]
    assert b"".join(wire.error_reply(message)) == recorded("execute-undecodable.reply")


def test_what_was_recorded_means_what_it_says() -> None:
    found = wire.decode_execute_reply(whole(recorded("execute-realtime.reply")).payload)
    assert found.status == "success"
    assert found.metrics["qos_class"] == "realtime"
    logits = found.outputs["logits"]
    assert (logits.shape, logits.dtype, logits.nbytes) == ((1, 8, 32), "float32", 1024)
    registered = wire.decode_request(whole(recorded("register-weights.request")))
    assert isinstance(registered, wire.RegisterRequest)
    assert registered.weights is not None
    assert len(registered.weights) == 17
    assert registered.weights[0].shape == (32, 16)


def test_tensors_are_views_of_the_payload() -> None:
    payload = whole(recorded("execute-batch.reply")).payload
    logits = wire.decode_execute_reply(payload).outputs["logits"]
    assert isinstance(logits.data, memoryview)
    assert logits.data.obj is payload.obj
    sent = bytearray(8)
    parts = wire.execute_request(
        {"fingerprint": "f"}, [Tensor("x", (1,), "int64", sent)]
    )
    assert any(isinstance(p, memoryview) and p.obj is sent for p in parts)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"),
        (b"H", "HTTP"),
        (recorded("unknown-type.request"), "0x42"),
        (b"\x15\x03\x01\x00\x02", "0x15"),
        (pack(">BQ", 6, 0), "not allowed"),
        (pack(">BQ", 6, 2**26), "not allowed"),
        (pack(">BQ", 6, 2**30), "not allowed"),
        (pack(">BQ", 6, 10 * 2**30 + 1), "limit"),
        (pack(">BQ", 6, 2**64 - 1), "limit"),
    ],
)
def test_refuses_hostile_headers(data: bytes, match: str) -> None:
    with pytest.raises(RemoteProtocolError, match=match):
        FrameReader().feed(data)


def test_a_declared_length_is_not_yet_memory() -> None:
    reader = FrameReader()
    assert reader.feed(pack(">BQ", 6, 9 * 2**30) + b"x") is None
    assert len(reader.room()) < 2**26
    with pytest.raises(RemoteProtocolError, match="limit of 100"):
        FrameReader(limit=100).feed(pack(">BQ", 6, 101))


def test_a_long_payload_grows_as_it_comes() -> None:
    data = bytes(range(256)) * 2**18  # 64 MiB − 1 of it
    payload = data[:-1]
    reader = FrameReader()
    reader.feed(pack(">BQ", 6, len(payload)))
    frame, at = None, 0
    while frame is None:
        with reader.room() as room:
            n = min(len(room), 2**22, len(payload) - at)
            room[:n] = payload[at : at + n]
        at += n
        frame = reader.filled(n)
    assert frame.payload == payload


BOMB = b'{"fingerprint": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"


@pytest.mark.parametrize(
    "data",
    [
        framed(b"\x02"),
        framed(v2(b"{}", 0, b"")),
        framed(v2(b"[]", 0, b"")),
        framed(v2(b"\xff\xfe", 0, b"")),
        framed(v2(BOMB, 0, b"")),
        framed(pack(">BII", 2, 2**32 - 1, 0) + b"{}"),
        framed(pack(">BII", 2, 2, 2**32 - 1) + b"{}"),
        executed(fingerprint=3),
        executed(tensor_keys="x"),
        executed(tensor_keys=["y"]),
        executed(tensor_keys=["x", "x"]),
        executed(tensor_shapes=[[3]]),
        executed(tensor_shapes=[[-1, -2]]),
        executed(tensor_shapes=[[2.0]]),
        executed(tensor_shapes=[[True, 2]]),
        executed(tensor_shapes=[[10**30]]),
        executed(tensor_shapes=[[1] * 100]),
        executed(tensor_shapes=[2]),
        executed(tensor_dtypes=["torch.complex64"]),
        executed(tensor_dtypes=[None]),
        framed(pack(">BI", 1, 2) + b"{}", 5),
        framed(recorded("warmup.request")[9:], 5),
        framed(b'{"identifiers": [1]}', 4),
        framed(b"{}", 4),
    ],
)
def test_refuses_hostile_requests(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        wire.decode_request(whole(data))


def test_refuses_code_in_a_registration() -> None:
    data = recorded("register-weights.request")
    at = 9 + 5 + int.from_bytes(data[10:14])
    bad = data[:at] + pack(">Q", 1) + data[at + 8 :]
    with pytest.raises(RemoteProtocolError, match="pickled code"):
        wire.decode_request(whole(bad))


@pytest.mark.parametrize(
    "payload",
    [
        replied(0, b""),
        replied(5, b""),
        replied(4, b"x"),
        replied(4, b"", b"[]"),
        replied(4, b"", b"{}"),
        replied(4, b"", b'{"status": 1}'),
        replied(4, b"", b'{"status": "success", "djinnload": 3}'),
        replied(4, b"", BOMB),
        replied(1, tensor(b"[2]", b"torch.uint8", b"abc")),
        replied(1, tensor(b"[-2]", b"torch.uint8", b"ab")),
        replied(1, tensor(b"[" * 3000, b"torch.uint8", b"ab")),
        replied(1, tensor(b"2", b"torch.uint8", b"ab")),
        replied(1, tensor(b"[2]", b"torch.\xff", b"ab")),
        replied(1, tensor(b"[" + b"9" * 4000 + b"]", b"torch.uint8", b"ab")),
        replied(1, pack(">I", 2**32 - 1)),
        replied(1, pack(">I3sI11sQ", 3, b"[2]", 11, b"torch.uint8", 2**63)),
        replied(2, pack(">II", 1, 2**32 - 1)),
        replied(2, pack(">II1s", 1, 1, b"\xff") + tensor(b"[1]", b"torch.int8", b"a")),
        replied(
            2,
            pack(">I", 2)
            + 2 * (pack(">I1s", 1, b"a") + tensor(b"[1]", b"torch.int8", b"a")),
        ),
    ],
)
def test_refuses_hostile_replies(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        wire.decode_execute_reply(payload)


def test_reads_every_result_type() -> None:
    one = tensor(b"[1, 2]", b"torch.int8", b"ab")
    lone = wire.decode_execute_reply(replied(1, one))
    assert lone.outputs["output"].shape == (1, 2)
    pair = wire.decode_execute_reply(replied(3, pack(">I", 2) + one + one))
    assert list(pair.outputs) == ["0", "1"]
    # Djinn counts entries that are no tensors and does not write them.
    short = wire.decode_execute_reply(replied(3, pack(">I", 7) + one))
    assert list(short.outputs) == ["0"]
    named = wire.decode_execute_reply(replied(2, pack(">II1s", 9, 1, b"k") + one))
    assert bytes(named.outputs["k"].data) == b"ab"
    empty = wire.decode_execute_reply(replied(1, tensor(b"[0, 2]", b"torch.int8", b"")))
    assert empty.outputs["output"].nbytes == 0


def test_equal_echoes_are_one_object() -> None:
    echo = {"policy": "qos", "behaviours": {"result": "needed"}}
    made = b"".join(wire.execute_reply("success", echo=echo))
    first, second = (wire.decode_execute_reply(bytes(made[9:])) for _ in range(2))
    assert first.echo == echo
    assert first.echo is second.echo


def test_pads_a_length_that_djinn_refuses() -> None:
    base = {"fingerprint": "f"}
    size = 67_000_000
    parts = wire.execute_request(base, [Tensor("x", (size,), "uint8", bytes(size))])
    lead = sum(len(part) for part in parts) - size
    n = 2**26 - (lead - 9)
    parts = wire.execute_request(base, [Tensor("x", (n,), "uint8", bytes(n))])
    data = b"".join(parts)
    assert len(data) - 9 == 2**26 + 1
    found = wire.decode_request(whole(data))
    assert isinstance(found, wire.ExecuteRequest)
    assert found.inputs[0].nbytes == n


@pytest.mark.parametrize(
    "bad",
    [
        Tensor("x", (2,), "int64", b"1234"),
        Tensor("x", (4,), "complex64", b"1234"),
        Tensor("x", (2,), "uint8", memoryview(b"1234")[::2]),
        Tensor("\ud800", (1,), "uint8", b"1"),
    ],
)
def test_does_not_send_nonsense(bad: Tensor) -> None:
    with pytest.raises(LocalProtocolError):
        wire.execute_request({"fingerprint": "f"}, [bad])
    with pytest.raises(LocalProtocolError):
        wire.execute_request({"fingerprint": {1, 2}}, [])
    with pytest.raises(LocalProtocolError):
        wire.frame(MessageType.ERROR, [b""])


def received(spare, fill, n):
    """The payload of a frame of *n* bytes, all *fill*, that comes in pieces."""
    reader = FrameReader(spare=spare)
    reader.feed(HEADER.pack(MessageType.EXECUTE_MODEL, n) + bytes([fill]) * 1000)
    frame = None
    while frame is None:
        with reader.room() as room:
            got = min(len(room), 170_000)
            room[:got] = bytes([fill]) * got
        frame = reader.filled(got)
    return frame.payload


def test_a_long_payloads_buffer_is_used_again_only_when_nobody_looks():
    """As long as any view of it lives, its bytes stay; then the same memory serves."""
    spare, n = Spare(5 * LONG), 2 * LONG

    def receive(fill):
        return received(spare, fill, n)

    first = receive(1)
    part = first[10:20]
    owner = id(first.obj)
    del first
    second = receive(2)
    assert id(second.obj) != owner
    assert bytes(part) == bytes([1]) * 10
    assert bytes(second) == bytes([2]) * n
    del part
    third = receive(3)
    assert id(third.obj) == owner
    assert bytes(third) == bytes([3]) * n
    assert bytes(second) == bytes([2]) * n


def test_a_buffer_serves_payloads_of_about_its_length():
    """Longer, shorter, longer: each is whole, of its own length, and all in one memory."""
    spare, owners = Spare(20 * LONG), set()
    for fill, n in enumerate((LONG, LONG + 9999, LONG, 2 * LONG - 1, LONG + 1)):
        payload = received(spare, fill, n)
        assert bytes(payload) == bytes([fill]) * n
        owners.add(id(payload.obj))
        del payload
    assert len(owners) == 1
    assert id(received(spare, 7, 5 * LONG).obj) not in owners


def test_spare_buffers_are_bounded():
    """The oldest go first; short ones and those over the limit are not kept."""
    spare = Spare(6 * LONG)
    for size in (LONG - 1, LONG, 2 * LONG, 4 * LONG, 8 * LONG):
        spare.keep(bytearray(size))
    assert spare.take(LONG) is None
    assert spare.take(8 * LONG) is None
    assert len(spare.take(4 * LONG)) == 4 * LONG
    assert spare.take(4 * LONG + 1) is None
    assert len(spare.take(2 * LONG)) == 2 * LONG


@given(st.lists(st.integers(1, 9), max_size=6), st.integers(1, 9))
def test_the_spare_buffer_that_is_nearest_is_taken(sizes, n):
    """Of those that are over half as long, and not twice; the oldest of equals."""
    spare = Spare(10**9)
    for size in sizes:
        spare.keep(bytearray(size * LONG))
    near = [size for size in sizes if size < 2 * n < 4 * size]
    found = spare.take(n * LONG)
    if not near:
        assert found is None
    else:
        assert len(found) == min(near, key=lambda size: abs(size - n)) * LONG
