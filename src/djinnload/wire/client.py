"""The client's side of Djinn's messages: requests out, replies in."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from struct import Struct as Packing
from typing import Any

import msgspec
from msgspec import Struct

from djinnload.errors import RemoteProtocolError
from djinnload.spi import Tensor
from djinnload.wire.envelope import (
    DICT,
    NONE,
    TENSOR,
    TUPLE,
    V2,
    bare_json,
    fields,
    v1,
    version,
)
from djinnload.wire.frames import Buffer, MessageType, frame, pads
from djinnload.wire.payload import U32, U64, Cursor, dumps, loads, named, view

#: Version, length of the JSON, type of the result.
_FIXED = Packing(">BIB")
#: Contents of `djinnload` objects longer than this are not kept for interning.
_SMALL = 4096


class ExecuteReply(Struct, frozen=True):
    """What a server says to an EXECUTE_MODEL.

    Attributes:
        status: ``success`` or ``error``.
        metrics: The server's own, as it named them; empty on errors.
        echo: The reply's ``djinnload`` object; equal ones are the same object. Empty
            from a server that is not ours.
        outputs: Views of the payload; a lone tensor is called ``output``, a tuple's
            are called ``0``, ``1``, …
    """

    status: str
    message: str
    metrics: Mapping[str, Any]
    echo: Mapping[str, Any]
    outputs: Mapping[str, Tensor]


def tensor_fields(inputs: Sequence[Tensor]) -> dict[str, Any]:
    """Return the metadata that describes *inputs*."""
    return {
        "tensor_keys": [tensor.name for tensor in inputs],
        "tensor_shapes": [list(tensor.shape) for tensor in inputs],
        "tensor_dtypes": [f"torch.{tensor.dtype}" for tensor in inputs],
    }


def execute_request(meta: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[Buffer]:
    """Return an EXECUTE_MODEL: *meta* needs its ``fingerprint``, the rest is optional.

    Raises:
        LocalProtocolError: Not JSON, or a tensor that is not what it says.
    """
    head = {"fingerprint": meta["fingerprint"], "profile_id": None}
    return v2_request(dumps({**head, **tensor_fields(inputs), **meta}), inputs)


def v2_request(document: bytes, inputs: Sequence[Tensor]) -> list[Buffer]:
    """Return an EXECUTE_MODEL whose JSON is ready made, from a template."""
    parts: list[Buffer] = [b""]
    length = 9 + len(document)
    for tensor in inputs:
        data = view(tensor)
        lead = named(tensor.name) + U64.pack(len(data))
        length += len(lead) + len(data)
        parts[-1] = bytes(parts[-1]) + lead
        parts += (data, b"")
    document += pads(length)
    parts[0] = b"".join(
        (b"\x02", U32.pack(len(document)), U32.pack(len(inputs)), document, parts[0])
    )
    if len(parts) > 1:
        parts.pop()
    return frame(MessageType.EXECUTE_MODEL, parts)


def model_class(architecture: str, config: Mapping[str, Any]) -> str:
    """Return *architecture* with the module path that Djinn looks for."""
    if "." in architecture:
        return architecture
    kind = config.get("model_type")
    path = f"transformers.models.{kind}.modeling_{kind}" if kind else "transformers"
    return f"{path}.{architecture}"


def register_by_id(fingerprint: str, model_id: str, architecture: str) -> list[Buffer]:
    """Return a REGISTER_MODEL by which the server gets the model itself."""
    said: dict[str, Any] = {
        "type": "REGISTER_MODEL",
        "fingerprint": fingerprint,
        "model_id": model_id,
        "model_class": model_class(architecture, {}),
        "config": None,
        "revision": None,
        "descriptor": {"framework": "transformers", "ghost": True},
        "ghost": True,
        "weight_ids": [],
    }
    return v1(MessageType.REGISTER_MODEL, said)


def register_with_weights(
    fingerprint: str,
    architecture: str,
    config: Mapping[str, Any],
    weights: Sequence[Tensor],
) -> list[Buffer]:
    """Return a REGISTER_MODEL that carries *weights*; they are not copied."""
    full = model_class(architecture, config)
    said: dict[str, Any] = {
        "type": "REGISTER_MODEL",
        "fingerprint": fingerprint,
        "model_id": "",
        "model_class": full,
        "config": config,
        "descriptor": {
            "num_weights": len(weights),
            "model_class": full,
            "framework": "transformers",
            "config": config,
            "class_name": full.rpartition(".")[2],
        },
        "weight_ids": [tensor.name for tensor in weights],
        "_binary_protocol": True,
        "_has_binary_weights": True,
        "_has_binary_chunk": False,
    }
    return v1(MessageType.REGISTER_MODEL, said, _weights(weights))


def warmup() -> list[Buffer]:
    """Return a WARMUP_GPU."""
    return v1(MessageType.WARMUP_GPU, {"type": "WARMUP_GPU"})


def cache_query(identifiers: Sequence[str] = ()) -> list[Buffer]:
    """Return a CACHE_QUERY."""
    return bare_json({"identifiers": list(identifiers)})


class _ReplyFields(Struct, gc=False):
    status: str
    metrics: dict[str, Any] = {}
    message: str = ""
    djinnload: msgspec.Raw = msgspec.Raw(b"{}")


_reply_fields = msgspec.json.Decoder(_ReplyFields)


def decode_execute_reply(payload: Buffer) -> ExecuteReply:
    """Return what *payload*, of a frame of type EXECUTE_MODEL, says."""
    cursor = Cursor(payload)
    length, result = _fixed(cursor)
    try:
        said = _reply_fields.decode(cursor.document(length))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"reply's JSON: {error}") from error
    raw = bytes(said.djinnload)
    echo = _interned(raw) if len(raw) <= _SMALL else loads(raw)
    outputs = _outputs(cursor, result)
    return ExecuteReply(said.status, said.message, said.metrics, echo, outputs)


def _fixed(cursor: Cursor) -> tuple[int, int]:
    """Read what stands before the JSON; return its length and the result's type."""
    if cursor.end >= _FIXED.size:
        said, length, result = _FIXED.unpack_from(cursor.payload)
        if said == V2:
            cursor.at = _FIXED.size
            return length, result
    version(cursor, V2)
    return cursor.u32("JSON length"), cursor.u8("result type")


def decode_v1(payload: Buffer) -> dict[str, Any]:
    """Return the fields of a v1 payload; what follows its JSON is not looked at."""
    return fields(Cursor(payload))


def decode_bare(payload: Buffer) -> dict[str, Any]:
    """Return the fields of a payload that is nothing but JSON (CACHE_QUERY)."""
    cursor = Cursor(payload)
    return loads(cursor.document(cursor.left))


def _weights(weights: Sequence[Tensor]) -> list[Buffer]:
    no_code = U64.pack(0)  # architecture_data would be a pickle
    tail: list[Buffer] = [no_code + U32.pack(len(weights))]
    for tensor in weights:
        data = view(tensor)
        shape = b"".join(U32.pack(n) for n in (len(tensor.shape), *tensor.shape))
        dtype = named(f"torch.{tensor.dtype}")
        tail += (named(tensor.name) + shape + dtype + U64.pack(len(data)), data)
    return tail


@lru_cache(maxsize=256)
def _interned(raw: bytes) -> Mapping[str, Any]:
    return loads(raw)


def _outputs(cursor: Cursor, result: int) -> dict[str, Tensor]:
    if result == NONE:
        found: dict[str, Tensor] = {}
    elif result == TENSOR:
        found = {"output": cursor.tensor("output")}
    elif result in (DICT, TUPLE):
        found = _several(cursor, named_ones=result == DICT)
    else:
        raise RemoteProtocolError(f"no result has type {result}")
    if cursor.left:
        raise RemoteProtocolError(f"{cursor.left} bytes follow the result")
    return found


def _several(cursor: Cursor, *, named_ones: bool) -> dict[str, Tensor]:
    count = cursor.u32("count of tensors")
    found: dict[str, Tensor] = {}
    # The count includes entries that are no tensors, and those are not written.
    while cursor.at < cursor.end and len(found) < count:
        tensor = cursor.named() if named_ones else cursor.tensor(str(len(found)))
        if tensor.name in found:
            raise RemoteProtocolError(f"tensor {tensor.name!r} comes twice")
        found[tensor.name] = tensor
    return found
