"""The server's side of Djinn's messages: requests in, replies out."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from djinnload.errors import RemoteProtocolError
from djinnload.spi import Tensor
from djinnload.wire.client import decode_bare, decode_v1
from djinnload.wire.envelope import (
    DICT,
    NONE,
    V2,
    bare_json,
    fields,
    joined,
    string,
    strings,
    v1,
    version,
)
from djinnload.wire.frames import Buffer, Frame, MessageType, pads
from djinnload.wire.payload import (
    U32,
    Cursor,
    bare,
    dims,
    dumps,
    loads,
    named,
    plain,
    size,
    view,
)

#: Fields of which any one means that a tail follows a registration's JSON.
_TAIL = ("_binary_protocol", "_has_binary_weights", "_architecture_data_size")


class ExecuteRequest(Struct, frozen=True):
    """An EXECUTE_MODEL, as the server sees it.

    Attributes:
        meta: The whole JSON object, unknown fields included.
    """

    meta: Mapping[str, Any]
    inputs: tuple[Tensor, ...]

    @property
    def fingerprint(self) -> str:
        """Return which model is meant."""
        return str(self.meta["fingerprint"])


class RegisterRequest(Struct, frozen=True):
    """A REGISTER_MODEL, as the server sees it.

    Attributes:
        architecture: Class name with its module path, as sent.
        weights: As sent; None: by id.
    """

    meta: Mapping[str, Any]
    model_id: str
    architecture: str
    config: Mapping[str, Any]
    fingerprint: str
    weights: tuple[Tensor, ...] | None


class WarmupRequest(Struct, frozen=True):
    """A WARMUP_GPU."""

    meta: Mapping[str, Any]


class CacheQuery(Struct, frozen=True):
    """A CACHE_QUERY."""

    identifiers: tuple[str, ...]


class InitRequest(Struct, frozen=True):
    """An INIT_MODEL."""

    fingerprint: str


class OtherRequest(Struct, frozen=True):
    """A message of a known type whose payload is not read, pickles among them."""

    kind: MessageType


Request = (
    ExecuteRequest
    | RegisterRequest
    | WarmupRequest
    | CacheQuery
    | InitRequest
    | OtherRequest
)


def decode_request(received: Frame) -> Request:
    """Return what *received* asks for.

    Raises:
        RemoteProtocolError: It cannot be read.
    """
    match received.kind:
        case MessageType.EXECUTE_MODEL:
            return _execute(Cursor(received.payload))
        case MessageType.REGISTER_MODEL:
            return _register(Cursor(received.payload))
        case MessageType.WARMUP_GPU:
            return WarmupRequest(decode_v1(received.payload))
        case MessageType.CACHE_QUERY:
            return CacheQuery(strings(decode_bare(received.payload), "identifiers"))
        case MessageType.INIT_MODEL:
            return InitRequest(string(decode_v1(received.payload), "fingerprint"))
        case _:
            return OtherRequest(received.kind)


def execute_reply(
    status: str,
    outputs: Sequence[Tensor] = (),
    metrics: Mapping[str, Any] | None = None,
    echo: Mapping[str, Any] | None = None,
    message: str = "",
) -> list[Buffer]:
    """Return the answer to an EXECUTE_MODEL: a dict of *outputs*, or nothing."""
    structure: dict[str, Any] = {"type": "NoneType"}
    if outputs:
        structure = {
            "keys": [tensor.name for tensor in outputs],
            "types": ["Tensor"] * len(outputs),
        }
    said: dict[str, Any] = {
        "status": status,
        "metrics": metrics or {},
        "result_structure": structure,
    }
    if message:
        said["message"] = message
    if echo:
        said["djinnload"] = echo
    tail: list[Buffer] = []
    for tensor in outputs:
        data = view(tensor)
        tail += (named(tensor.name) + bare(tensor, data), data)
    if outputs:
        tail[0] = U32.pack(len(outputs)) + bytes(tail[0])
    document = dumps(said)
    document += pads(6 + len(document) + sum(len(part) for part in tail))
    kind = bytes((DICT if outputs else NONE,))
    head = b"".join((b"\x02", U32.pack(len(document)), kind, document))
    return joined(MessageType.EXECUTE_MODEL, head, tail)


def v1_reply(kind: MessageType, fields: Mapping[str, Any]) -> list[Buffer]:
    """Return a v1 answer."""
    return v1(kind, fields)


def cache_reply(identifiers: Sequence[str] = ()) -> list[Buffer]:
    """Return the answer to a CACHE_QUERY."""
    return bare_json({"status": "success", "cached_identifiers": list(identifiers)})


def error_reply(message: str) -> list[Buffer]:
    """Return the answer to a request that could not be read."""
    return v1(MessageType.ERROR, {"status": "error", "message": message})


def _execute(cursor: Cursor) -> ExecuteRequest:
    version(cursor, V2)
    length = cursor.u32("JSON length")
    count = cursor.u32("count of tensors")
    meta = loads(cursor.document(length))
    string(meta, "fingerprint")
    keys = strings(meta, "tensor_keys")
    shapes, dtypes = meta.get("tensor_shapes"), meta.get("tensor_dtypes")
    if not isinstance(shapes, list) or not isinstance(dtypes, list):
        raise RemoteProtocolError(
            "tensor_shapes or tensor_dtypes is missing or no list"
        )
    if not len(keys) == len(set(keys)) == len(shapes) == len(dtypes) == count:
        raise RemoteProtocolError(f"{count} tensors, but the JSON describes others")
    inputs = []
    for key, shape, dtype in zip(keys, shapes, dtypes, strict=True):
        inputs.append(_input(cursor, key, dims(shape), plain(dtype)))
    if cursor.left:
        raise RemoteProtocolError(f"{cursor.left} bytes follow the last tensor")
    return ExecuteRequest(meta, tuple(inputs))


def _input(cursor: Cursor, key: str, shape: tuple[int, ...], dtype: str) -> Tensor:
    if (name := cursor.text("key of a tensor")) != key:
        raise RemoteProtocolError(f"tensor {name!r} where {key!r} belongs")
    return Tensor(name, shape, dtype, cursor.data(name, size(shape, dtype)))


def _register(cursor: Cursor) -> RegisterRequest:
    meta = fields(cursor)
    config = meta.get("config")
    if config is not None and not isinstance(config, dict):
        raise RemoteProtocolError("config is no object")
    return RegisterRequest(
        meta,
        string(meta, "model_id"),
        string(meta, "model_class"),
        config or {},
        string(meta, "fingerprint"),
        _tail(cursor, meta),
    )


def _tail(cursor: Cursor, meta: Mapping[str, Any]) -> tuple[Tensor, ...] | None:
    if not any(meta.get(name) for name in _TAIL):
        return None
    if code := cursor.u64("length of architecture_data"):
        raise RemoteProtocolError(f"{code} bytes of pickled code are not accepted")
    weights: list[Tensor] = []
    count = cursor.u32("count of weights")
    while len(weights) < count:
        weights.append(cursor.weight())
    if cursor.left:
        raise RemoteProtocolError(f"{cursor.left} bytes follow the last weight")
    return tuple(weights)
